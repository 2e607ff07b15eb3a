"""A family of Network in Network designed like VGG; the number in a name is the number of layers with weights."""

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
    """NiN-11: stages of 1, 1, 2, 2, 2 convolutions, like VGG-11, and a last block of three."""
    return _family((1, 1, 2, 2, 2), num_classes, input_channels)


@register_model(source=_SOURCE.format(16))
def nin16(num_classes: int = 10, input_channels: int = 1) -> Network:
    """NiN-16: stages of 2, 2, 3, 3, 3 convolutions, like VGG-16, and a last block of three."""
    return _family((2, 2, 3, 3, 3), num_classes, input_channels)


@register_model(source=_SOURCE.format(19))
def nin19(num_classes: int = 10, input_channels: int = 1) -> Network:
    """NiN-19: stages of 2, 2, 4, 4, 4 convolutions, like VGG-19, and a last block of three."""
    return _family((2, 2, 4, 4, 4), num_classes, input_channels)


def _family(convolutions: tuple[int, ...], num_classes: int, input_channels: int) -> Network:
    """The stages of VGG, each one 3×3 convolution followed by 1×1 convolutions.

    Instead of the three fully connected layers of VGG it has an mlpconv layer whose last convolution computes the class
    maps.
    """
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
