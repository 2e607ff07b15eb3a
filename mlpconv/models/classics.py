"""The networks that the chapter compares NiN with, as Dive into Deep Learning defines them."""

from mlpconv.arch.layers import AvgPool2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sigmoid
from mlpconv.arch.network import Block, Network
from mlpconv.models.registry import register_model


@register_model(source="Dive into Deep Learning, section 7.6, LeNet; after LeCun et al. 1998")
def lenet(num_classes: int = 10, input_channels: int = 1) -> Network:
    """LeNet with sigmoids and average pooling."""
    return Network(
        Conv2d(6, 5, padding=2),
        Sigmoid(),
        AvgPool2d(2, stride=2),
        Conv2d(16, 5),
        Sigmoid(),
        AvgPool2d(2, stride=2),
        Flatten(),
        Linear(120),
        Sigmoid(),
        Linear(84),
        Sigmoid(),
        Linear(num_classes),
        input_channels=input_channels,
        input_size=28,
    )


@register_model(source="Dive into Deep Learning, section 8.1, AlexNet; after Krizhevsky et al. 2012")
def alexnet(num_classes: int = 10, input_channels: int = 1) -> Network:
    """AlexNet in one stream, for gray images of 224×224."""
    return Network(
        Conv2d(96, 11, stride=4, padding=1),
        ReLU(),
        MaxPool2d(3, stride=2),
        Conv2d(256, 5, padding=2),
        ReLU(),
        MaxPool2d(3, stride=2),
        Conv2d(384, 3, padding=1),
        ReLU(),
        Conv2d(384, 3, padding=1),
        ReLU(),
        Conv2d(256, 3, padding=1),
        ReLU(),
        MaxPool2d(3, stride=2),
        Flatten(),
        Linear(4096),
        ReLU(),
        Dropout(0.5),
        Linear(4096),
        ReLU(),
        Dropout(0.5),
        Linear(num_classes),
        input_channels=input_channels,
        input_size=224,
    )


def vgg_block(convolutions: int, channels: int) -> Block:
    """A VGG block: 3×3 convolutions, each with ReLU, then a 2×2 max pooling.

    Args:
        convolutions: Number of convolutions.
        channels: Output channels of each.
    """
    layers = {}
    for index in range(1, convolutions + 1):
        layers |= {f"conv{index}": Conv2d(channels, 3, padding=1), f"relu{index}": ReLU()}
    return Block(**layers, pool=MaxPool2d(2, stride=2))


@register_model(
    source="Dive into Deep Learning, section 8.2, Networks Using Blocks (VGG); after Simonyan, Zisserman 2014"
)
def vgg11(num_classes: int = 10, input_channels: int = 1) -> Network:
    """VGG-11."""
    return Network(
        vgg_block(1, 64),
        vgg_block(1, 128),
        vgg_block(2, 256),
        vgg_block(2, 512),
        vgg_block(2, 512),
        Flatten(),
        Linear(4096),
        ReLU(),
        Dropout(0.5),
        Linear(4096),
        ReLU(),
        Dropout(0.5),
        Linear(num_classes),
        input_channels=input_channels,
        input_size=224,
    )
