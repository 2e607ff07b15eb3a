"""Network in Network (Lin, Chen, Yan 2013, arXiv:1312.4400) and its variants."""

from mlpconv.arch.layers import (
    AnyLayer,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    MaxPool2d,
    ReLU,
    Size,
)
from mlpconv.arch.network import Block, Network
from mlpconv.errors import NetworkError
from mlpconv.models.registry import register_model


def nin_block(
    channels: int | tuple[int, ...],
    kernel_size: Size,
    stride: Size = 1,
    padding: Size = 0,
    mlp: int = 2,
    norm: bool = False,
) -> Block:
    """An mlpconv layer: a convolution, then 1×1 convolutions, each with ReLU.

    The layers are named conv, relu, mlp1, relu1, mlp2, relu2 …

    Args:
        channels: Output channels: one number for all, or one for each of the 1 + ``mlp`` convolutions.
        kernel_size: Kernel of the first convolution.
        stride: Stride of the first convolution.
        padding: Padding of the first convolution.
        mlp: Number of 1×1 convolutions.
        norm: Whether each convolution has batch normalization before its ReLU, and therefore no bias.

    Raises:
        NetworkError: The number of channels given is neither 1 nor 1 + ``mlp``.

    Example:
        >>> import mlpconv
        >>> block = mlpconv.nin_block(96, kernel_size=11, stride=4)
        >>> list(block.layers)
        ['conv', 'relu', 'mlp1', 'relu1', 'mlp2', 'relu2']
        >>> block.layers["conv"]
        Conv2d(out_channels=96, kernel_size=11, stride=4, padding=0, bias=True, depthwise=False)
    """
    widths = (channels,) * (1 + mlp) if isinstance(channels, int) else tuple(channels)
    if len(widths) != 1 + mlp:
        raise NetworkError(f"nin_block: {len(widths)} widths for {1 + mlp} convolutions; give one or {1 + mlp}")
    layers: dict[str, AnyLayer] = {}
    for index, width in enumerate(widths):
        suffix = str(index or "")
        layers[f"mlp{index}" if index else "conv"] = (
            Conv2d(width, 1, bias=not norm) if index else Conv2d(width, kernel_size, stride, padding, bias=not norm)
        )
        if norm:
            layers[f"norm{suffix}"] = BatchNorm2d()
        layers[f"relu{suffix}"] = ReLU()
    return Block(**layers)


@register_model(source="Dive into Deep Learning, section 8.3, Network in Network (NiN)")
def nin(num_classes: int = 10, input_channels: int = 1) -> Network:
    """The chapter's network."""
    return Network(
        nin_block(96, kernel_size=11, stride=4),
        MaxPool2d(3, stride=2),
        nin_block(256, kernel_size=5, padding=2),
        MaxPool2d(3, stride=2),
        nin_block(384, kernel_size=3, padding=1),
        MaxPool2d(3, stride=2),
        Dropout(0.5),
        nin_block(num_classes, kernel_size=3, padding=1),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=input_channels,
        input_size=224,
    )


@register_model(
    source="Min Lin's NIN-ImageNet in the Caffe model zoo (gist d802a5849de39225bcc6); pooling rounds up, as Caffe does"
)
def nin_imagenet(num_classes: int = 1000, input_channels: int = 3) -> Network:
    """The network of the Caffe model zoo for ImageNet, on which the chapter's network is based."""
    return Network(
        nin_block(96, kernel_size=11, stride=4),
        MaxPool2d(3, stride=2, ceil_mode=True),
        nin_block(256, kernel_size=5, padding=2),
        MaxPool2d(3, stride=2, ceil_mode=True),
        nin_block(384, kernel_size=3, padding=1),
        MaxPool2d(3, stride=2, ceil_mode=True),
        Dropout(0.5),
        nin_block((1024, 1024, num_classes), kernel_size=3, padding=1),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=input_channels,
        input_size=224,
    )


_PAPER = "Lin, Chen, Yan 2013 (arXiv:1312.4400), as imgclsmob builds it (osmr/imgclsmob, nin_cifar.py)"


@register_model(source=_PAPER)
def nin_cifar10(num_classes: int = 10, input_channels: int = 3) -> Network:
    """The paper's network for CIFAR-10."""
    return _paper(num_classes, input_channels)


@register_model(source=_PAPER)
def nin_cifar100(num_classes: int = 100, input_channels: int = 3) -> Network:
    """The paper's network for CIFAR-100."""
    return _paper(num_classes, input_channels)


@register_model(source=_PAPER)
def nin_svhn(num_classes: int = 10, input_channels: int = 3) -> Network:
    """The paper's network for SVHN, the same as for CIFAR-10, as in imgclsmob."""
    return _paper(num_classes, input_channels)


def _paper(num_classes: int, input_channels: int) -> Network:
    return Network(
        nin_block((192, 160, 96), kernel_size=5, padding=2),
        MaxPool2d(3, stride=2, padding=1),
        Dropout(0.5),
        nin_block(192, kernel_size=5, padding=2),
        AvgPool2d(3, stride=2, padding=1),
        Dropout(0.5),
        nin_block((192, 192, num_classes), kernel_size=3, padding=1),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=input_channels,
        input_size=32,
    )


@register_model(
    source="mlpconv's own, after the paper: NiN for images of 28×28, with batch normalisation (arXiv:1502.03167)"
)
def nin_28(num_classes: int = 10, input_channels: int = 1) -> Network:
    """A NiN for 28×28 images, without enlarging them."""
    return _native(num_classes, input_channels, 28)


@register_model(
    source="mlpconv's own, after the paper: NiN for images of 32×32, with batch normalisation (arXiv:1502.03167)"
)
def nin_32(num_classes: int = 10, input_channels: int = 3) -> Network:
    """A NiN for 32×32 images, without enlarging them."""
    return _native(num_classes, input_channels, 32)


def _native(num_classes: int, input_channels: int, size: int) -> Network:
    return Network(
        nin_block((96, 64, 64), kernel_size=5, padding=2, norm=True),
        MaxPool2d(3, stride=2, padding=1),
        nin_block(128, kernel_size=3, padding=1, norm=True),
        MaxPool2d(3, stride=2, padding=1),
        nin_block(192, kernel_size=3, padding=1, norm=True),
        Dropout(0.3),
        Block(conv=Conv2d(num_classes, 1)),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=input_channels,
        input_size=size,
    )


@register_model(
    source="mlpconv's own, after the paper: NiN for training fast on a processor, with batch normalisation "
    "(arXiv:1502.03167)"
)
def nin_fast(num_classes: int = 10, input_channels: int = 1) -> Network:
    """A NiN that learns most in the first epoch: 1×1 convolutions on large maps, most channels on small ones."""
    return _narrow(((16, 16, 32), (64, 64), (128, 128), (192,)), num_classes, input_channels)


@register_model(
    source="mlpconv's own: `nin_fast` with fewer channels and one block less, with batch normalisation "
    "(arXiv:1502.03167)"
)
def nin_tiny(num_classes: int = 10, input_channels: int = 1) -> Network:
    """A NiN that needs seconds for an epoch on a processor."""
    return _narrow(((8, 16), (32, 32), (64, 64)), num_classes, input_channels)


def _narrow(widths: tuple[tuple[int, ...], ...], num_classes: int, input_channels: int) -> Network:
    """Blocks of the given widths with max pooling between them, then the class maps."""
    layers: list[Block | MaxPool2d] = []
    for width in widths:
        layers += [nin_block(width, kernel_size=3, padding=1, mlp=len(width) - 1, norm=True), MaxPool2d(2, stride=2)]
    return Network(
        *layers[:-1],
        Block(conv=Conv2d(num_classes, 1)),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=input_channels,
        input_size=28,
    )


@register_model(
    source="mlpconv's own: NiN for photographs, with a strided stem and batch normalisation (arXiv:1502.03167)"
)
def nin_96(num_classes: int = 10, input_channels: int = 3) -> Network:
    """A NiN for photographs of 96×96."""
    return Network(
        nin_block((32, 32), kernel_size=5, stride=2, padding=2, mlp=1, norm=True),
        nin_block((64, 64), kernel_size=3, stride=2, padding=1, mlp=1, norm=True),
        nin_block((128, 128, 128), kernel_size=3, stride=2, padding=1, norm=True),
        nin_block((160, 160), kernel_size=3, padding=1, mlp=1, norm=True),
        nin_block((256, 256, 256), kernel_size=3, stride=2, padding=1, norm=True),
        nin_block((224, 448), kernel_size=3, padding=1, mlp=1, norm=True),
        Dropout(0.2),
        Block(conv=Conv2d(num_classes, 1)),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=input_channels,
        input_size=96,
    )
