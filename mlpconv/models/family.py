"""A family of Network in Network by VGG's rules: the depth counts layers with weights, as VGG's names do."""

from mlpconv.arch.layers import Conv2d, Dropout, Flatten, GlobalAvgPool2d, MaxPool2d
from mlpconv.arch.network import Block, Network
from mlpconv.models.nin import nin_block
from mlpconv.models.registry import register_model

_SOURCE = (
    "mlpconv's own, after VGG-{} (Simonyan, Zisserman 2014, arXiv:1409.1556): the chapter's exercise; "
    "with batch normalisation"
)
WIDTHS = (64, 128, 256, 512, 512)


@register_model(source=_SOURCE.format(11))
def nin11(num_classes: int = 10, input_channels: int = 1) -> Network:
    """NiN-11: stages of 1, 1, 2, 2, 2 convolutions, as VGG-11's, and a last block of three."""
    return _family((1, 1, 2, 2, 2), num_classes, input_channels)


@register_model(source=_SOURCE.format(16))
def nin16(num_classes: int = 10, input_channels: int = 1) -> Network:
    """NiN-16: stages of 2, 2, 3, 3, 3 convolutions, as VGG-16's, and a last block of three."""
    return _family((2, 2, 3, 3, 3), num_classes, input_channels)


@register_model(source=_SOURCE.format(19))
def nin19(num_classes: int = 10, input_channels: int = 1) -> Network:
    """NiN-19: stages of 2, 2, 4, 4, 4 convolutions, as VGG-19's, and a last block of three."""
    return _family((2, 2, 4, 4, 4), num_classes, input_channels)


def _family(convolutions: tuple[int, ...], num_classes: int, input_channels: int) -> Network:
    """VGG's stages, each one 3×3 convolution and then 1×1 ones; in place of its three fully connected layers an
    mlpconv layer whose last convolution gives the maps of the classes."""
    stages: list[Block | MaxPool2d] = []
    for count, width in zip(convolutions, WIDTHS, strict=True):
        stages += [nin_block(width, kernel_size=3, padding=1, mlp=count - 1, norm=True), MaxPool2d(2, stride=2)]
    return Network(
        *stages,
        Dropout(0.5),
        nin_block(512, kernel_size=3, padding=1, mlp=1, norm=True),
        Block(conv=Conv2d(num_classes, 1)),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=input_channels,
        input_size=224,
    )
