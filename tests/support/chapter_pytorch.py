"""The chapter's networks, and those it is compared with, as its PyTorch editions write them."""

import warnings

import torch
from torch import nn


def conv(channels, out, kernel_size, **options):
    """A convolution as the older edition writes it, with input channels, or lazily as the newer one does (None)."""
    if channels is None:
        return nn.LazyConv2d(out, kernel_size, **options)
    return nn.Conv2d(channels, out, kernel_size, **options)


def linear(features, out):
    return nn.LazyLinear(out) if features is None else nn.Linear(features, out)


def nin_block(channels, out, kernel_size, stride, padding):
    inner = None if channels is None else out
    return nn.Sequential(
        conv(channels, out, kernel_size, stride=stride, padding=padding),
        nn.ReLU(),
        conv(inner, out, 1),
        nn.ReLU(),
        conv(inner, out, 1),
        nn.ReLU(),
    )


def nin(lazy, classes=10):
    def given(channels):
        return None if lazy else channels

    return nn.Sequential(
        nin_block(given(1), 96, 11, 4, 0),
        nn.MaxPool2d(3, stride=2),
        nin_block(given(96), 256, 5, 1, 2),
        nn.MaxPool2d(3, stride=2),
        nin_block(given(256), 384, 3, 1, 1),
        nn.MaxPool2d(3, stride=2),
        nn.Dropout(0.5),
        nin_block(given(384), classes, 3, 1, 1),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
    )


def lenet(lazy, classes=10):
    def given(channels):
        return None if lazy else channels

    return nn.Sequential(
        conv(given(1), 6, 5, padding=2),
        nn.Sigmoid(),
        nn.AvgPool2d(2, stride=2),
        conv(given(6), 16, 5),
        nn.Sigmoid(),
        nn.AvgPool2d(2, stride=2),
        nn.Flatten(),
        linear(given(400), 120),
        nn.Sigmoid(),
        linear(given(120), 84),
        nn.Sigmoid(),
        linear(given(84), classes),
    )


def alexnet(lazy, classes=10):
    def given(channels):
        return None if lazy else channels

    return nn.Sequential(
        conv(given(1), 96, 11, stride=4, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        conv(given(96), 256, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        conv(given(256), 384, 3, padding=1),
        nn.ReLU(),
        conv(given(384), 384, 3, padding=1),
        nn.ReLU(),
        conv(given(384), 256, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Flatten(),
        linear(given(6400), 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        linear(given(4096), 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        linear(given(4096), classes),
    )


def vgg11(lazy, classes=10, size=224):
    blocks, channels = [], 1
    for count, out in ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512)):
        layers = []
        for _ in range(count):
            layers += [conv(None if lazy else channels, out, 3, padding=1), nn.ReLU()]
            channels = out
        blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2, stride=2)))

    def given(features):
        return None if lazy else features

    return nn.Sequential(
        *blocks,
        nn.Flatten(),
        linear(given(512 * (size // 32) ** 2), 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        linear(given(4096), 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        linear(given(4096), classes),
    )


class Classifier(nn.Module):
    """The newer edition's models hold their layers as ``net``."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


def build_network(build, lazy, side, **options):
    """The network in evaluation mode; a lazy one has its weights from a first batch."""
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Lazy modules are a new feature")
        net = build(lazy, **options).eval()
    with torch.no_grad():
        net(torch.zeros(1, 1, side, side))
    return net


def lenet_state() -> dict[str, torch.Tensor]:
    """New weights of the chapter's LeNet, by its own names."""
    return build_network(lenet, False, 28).state_dict()
