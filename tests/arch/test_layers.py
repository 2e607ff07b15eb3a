import math

import msgspec
import pytest

from mlpconv.arch.layer_json import fields
from mlpconv.arch.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Linear,
    MaxPool2d,
    by,
    pair,
)
from mlpconv.errors import NetworkError


def test_a_window_is_one_number_or_two():
    assert pair(3) == pair((3, 3)) == (3, 3)
    assert by(3) == by((3, 3)) == "3×3"
    assert by((1, 11)) == "1×11"


def test_fields_have_the_given_values():
    assert fields(Conv2d(96, 11, stride=4)) == {"out_channels": 96, "kernel_size": 11, "stride": 4}
    assert fields(Conv2d(4, 3, depthwise=True)) == {"out_channels": 4, "kernel_size": 3, "depthwise": True}
    assert fields(BatchNorm2d()) == {}
    assert fields(AvgPool2d(3, count_include_pad=False)) == {"kernel_size": 3, "count_include_pad": False}


def test_layers_compare_by_value():
    layer = Conv2d(4, 3)
    assert layer == Conv2d(4, kernel_size=3)
    assert hash(layer) == hash(Conv2d(4, 3))
    assert layer != Conv2d(4, 3, padding=1)
    assert MaxPool2d(2) != AvgPool2d(2)
    with pytest.raises(AttributeError):
        layer.stride = 2  # type: ignore[misc]
    assert msgspec.structs.replace(layer, stride=2) == Conv2d(4, 3, stride=2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Conv2d(0, 3), ["Conv2d", "out_channels", "at least 1", "not 0"]),
        (lambda: Conv2d(2**31, 3), ["Conv2d", "out_channels", "below 2³¹", "2147483648"]),
        (lambda: Conv2d(4, 0), ["Conv2d", "kernel_size", "at least 1", "not 0"]),
        (lambda: Conv2d(4, (3, 0)), ["Conv2d", "kernel_size", "(3, 0)"]),
        (lambda: Conv2d(4, 3.0), ["Conv2d", "kernel_size", "whole", "3.0"]),  # type: ignore[arg-type]
        (lambda: Conv2d(True, 3), ["Conv2d", "out_channels", "whole", "True"]),
        (lambda: Conv2d(4, 3, stride=0), ["Conv2d", "stride", "not 0"]),
        (lambda: Conv2d(4, 3, padding=-1), ["Conv2d", "padding", "at least 0", "-1"]),
        (lambda: MaxPool2d(0), ["MaxPool2d", "kernel_size", "not 0"]),
        (lambda: AvgPool2d(2, stride=(1, 0)), ["AvgPool2d", "stride", "(1, 0)"]),
        (lambda: MaxPool2d(3, padding=2), ["MaxPool2d", "padding 2×2", "half", "3×3"]),
        (lambda: AvgPool2d((4, 1), padding=(2, 1)), ["AvgPool2d", "padding 2×1", "4×1"]),
        (lambda: Dropout(1.0), ["Dropout", "below 1", "1.0"]),
        (lambda: Dropout(-0.1), ["Dropout", "at least 0", "-0.1"]),
        (lambda: Dropout(math.nan), ["Dropout", "nan"]),
        (lambda: BatchNorm2d(eps=0.0), ["BatchNorm2d", "eps", "above 0", "0.0"]),
        (lambda: BatchNorm2d(eps=math.inf), ["BatchNorm2d", "eps", "finite", "inf"]),
        (lambda: BatchNorm2d(momentum=1.5), ["BatchNorm2d", "momentum", "from 0 to 1", "1.5"]),
        (lambda: BatchNorm2d(momentum=math.nan), ["BatchNorm2d", "momentum", "nan"]),
        (lambda: Linear(0), ["Linear", "out_features", "at least 1", "not 0"]),
    ],
)
def test_an_invalid_layer_is_refused_with_a_message(make, words):
    with pytest.raises(NetworkError) as caught:
        make()
    assert [word for word in words if word not in str(caught.value)] == []


def test_pooling_allows_padding_up_to_half_the_window():
    assert MaxPool2d(2, padding=1).padding == 1
    assert MaxPool2d(4, padding=2).padding == 2
