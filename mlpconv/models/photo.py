"""The network for few photographs, whose start weights come with the package."""

from mlpconv.arch.layers import Conv2d, Dropout, Flatten, GlobalAvgPool2d, ReLU6
from mlpconv.arch.network import Block, Network
from mlpconv.models.registry import register_model


@register_model(
    source="the first thirteen blocks of EfficientNet-Lite0 (Tan, Le 2019, arXiv:1905.11946; ReLU6 and no squeeze and "
    "excitation), written as NiN blocks"
)
def nin_photo(num_classes: int = 10, input_channels: int = 3) -> Network:
    """A NiN for few photographs; its start weights come with the package. Made for them, not for random weights."""
    return Network(
        Block(conv=Conv2d(32, 3, stride=2, padding=1), relu=ReLU6()),
        _mlpconv(32, 3, 1, (16, 96)),
        _mlpconv(96, 3, 2, (24, 144 + 48)),
        _mlpconv(144 + 48, 3, 1, (24, 144)),
        _mlpconv(144, 5, 2, (40, 240 + 80)),
        _mlpconv(240 + 80, 5, 1, (40, 240)),
        _mlpconv(240, 3, 2, (80, 480 + 160)),
        _mlpconv(480 + 160, 3, 1, (80, 480 + 160)),
        _mlpconv(480 + 160, 3, 1, (80, 480)),
        _mlpconv(480, 5, 1, (112, 672 + 224)),
        _mlpconv(672 + 224, 5, 1, (112, 672 + 224)),
        _mlpconv(672 + 224, 5, 1, (112, 672)),
        _mlpconv(672, 5, 2, (192, 1152 + 384)),
        _mlpconv(1152 + 384, 5, 1, (192,)),
        Dropout(0.2),
        Block(conv=Conv2d(num_classes, 1)),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=input_channels,
        input_size=193,
    )


def _mlpconv(channels: int, kernel_size: int, stride: int, widths: tuple[int, ...]) -> Block:
    """A depthwise convolution with ReLU6, then a 1×1 convolution to few channels and one to many, with ReLU6.

    The second term of a sum such as 144 + 48 is the channels that carry what the residual connection of EfficientNet
    carries: x and -x, which the next block adds to its few channels again.
    """
    block = Block(
        conv=Conv2d(channels, kernel_size, stride, kernel_size // 2, depthwise=True),
        relu=ReLU6(),
        mlp1=Conv2d(widths[0], 1),
    )
    if len(widths) == 1:
        return block
    return Block(**block.layers, mlp2=Conv2d(widths[1], 1), relu2=ReLU6())
