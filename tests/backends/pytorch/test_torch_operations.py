"""Operations that carry out several layers at once: the outputs and gradients of those layers, one after the other."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Dropout, Flatten, GlobalAvgPool2d, MaxPool2d, ReLU, ReLU6
from mlpconv.arch.network import Network
from mlpconv.backends.pytorch import convolutions
from mlpconv.backends.pytorch.activations import OverwritingReLU6
from mlpconv.backends.pytorch.backend import TorchBackend
from mlpconv.backends.pytorch.convolutions import Convolution, Convolutions
from mlpconv.backends.pytorch.forward import operations
from mlpconv.backends.pytorch.pooling import PooledReLU


def gradients(run, x, module):
    """What ``run`` gives for x, and the gradients of x and of the module's parameters."""
    x = x.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
    output = run(x)
    module.zero_grad()
    (output.float() * torch.arange(output.numel()).view_as(output).cos()).sum().backward()
    return [output.detach(), x.grad, *(parameter.grad.clone() for parameter in module.parameters())]


ACTIVATIONS = {"none": nn.Identity(), "relu": nn.ReLU(), "relu6": nn.ReLU6()}


@st.composite
def rows(draw):
    """Convolutions in a row as (kernel, stride, padding, channels, bias, activation), and the size of a map they fit
    on; 0 channels: depthwise."""
    count = draw(st.integers(1, 4))
    each = st.tuples(
        st.sampled_from([1, 1, 3, 5]),
        st.integers(1, 2),
        st.integers(0, 2),
        st.integers(1, 20) | st.just(0),
        st.booleans(),
        st.sampled_from(list(ACTIVATIONS)),
    )
    convolutions, side = draw(st.lists(each, min_size=count, max_size=count)), draw(st.integers(30, 41))
    size = side - 3
    for kernel, stride, padding, *_ in convolutions:
        assume(size + 2 * padding >= kernel)
        size = (size + 2 * padding - kernel) // (1 if kernel == 1 else stride) + 1
    return convolutions, side


@given(rows(), st.sampled_from([1, 2, 3, 16]))
@settings(max_examples=60)
def test_consecutive_convolutions_agree_with_the_layers(drawn, batch):
    settings_of, side = drawn
    torch.manual_seed(side)
    modules, steps, channels = [], [], 16
    for kernel, stride, padding, out, bias, activation in settings_of:
        stride = 1 if kernel == 1 else stride  # oneDNN issue 6035: a strided 1×1 convolution of few channels
        groups, before, channels = 1 if out else channels, channels, out or channels
        layer = nn.Conv2d(before, channels, kernel, stride, padding, groups=groups, bias=bias)
        modules += [layer, ACTIVATIONS[activation]]
        parameters = lambda layer=layer: (layer.weight, layer.bias)  # noqa: E731
        steps.append(Convolution(parameters, (stride, stride), (padding, padding), activation, groups))
    module = nn.Sequential(*modules)
    x = 4 * torch.randn(batch, 16, side, side - 3)  # some values above 6
    assert convolutions.is_fused(x)
    expected, found = gradients(module, x, module), gradients(Convolutions(steps), x, module)
    for one, other in zip(found, expected, strict=True):
        # Rounding can open or close a ReLU whose input is almost zero: it moves single gradients, not their norm.
        assert (one - other).norm() <= 5e-3 * other.norm() + 1e-5
    with torch.no_grad():
        torch.testing.assert_close(Convolutions(steps)(x), expected[0], rtol=1e-3, atol=1e-3)


def test_in_bfloat16_gradients_have_the_type_of_the_parameters():
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 32, 1)
    run = Convolutions([Convolution(lambda: (layer.weight, layer.bias), (1, 1), (0, 0), "relu")])
    x = torch.randn(4, 16, 9, 9)
    exact = gradients(lambda y: torch.relu(layer(y)), x, layer)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(run, x, layer)
    # An output that rounding brings below 0 loses its gradient, so that single values differ.
    assert [each.dtype for each in found] == [torch.bfloat16, *[torch.float32] * 3]
    for one, other in zip(found, exact, strict=True):
        assert (one.float() - other).norm() < 0.1 * other.norm()


def test_the_gradient_of_another_operation_is_not_overwritten():
    layer = nn.Conv2d(3, 4, 1)
    run = Convolutions([Convolution(lambda: (layer.weight, layer.bias), (1, 1), (0, 0), "relu")])
    output = run(torch.randn(2, 3, 5, 5))
    given_gradient = torch.ones_like(output)
    output.backward(given_gradient)
    assert (output == 0).any()  # where the ReLU gives 0, its gradient is 0
    assert torch.equal(given_gradient, torch.ones_like(output))


@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 1),
    ceil_mode=st.booleans(),
    batch=st.sampled_from([1, 5, 16, 37]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    activation=st.sampled_from(["relu", "relu6"]),
)
@settings(max_examples=60)
def test_pooling_with_an_activation_agrees_with_the_two_layers(
    kernel, stride, padding, ceil_mode, batch, dtype, activation
):
    pool = nn.MaxPool2d(kernel, stride, min(padding, kernel // 2), ceil_mode=ceil_mode)
    # Few different values, so that windows hold several largest ones, and some hold none above 0, or one above 6.
    x = torch.from_numpy(np.random.default_rng(kernel).integers(-8, 9, (batch, 5, 11, 9))).to(dtype)
    expected = gradients(lambda y: ACTIVATIONS[activation](pool(y)), x, pool)
    swapped = gradients(lambda y: pool(ACTIVATIONS[activation](y)), x, pool)
    found = gradients(PooledReLU(pool, activation), x, pool)
    for one, other, third in zip(found, swapped, expected, strict=True):
        assert torch.equal(one, third)
        assert torch.equal(other, third)


DROPPING = Network(Conv2d(4, 1), Dropout(0.3), GlobalAvgPool2d(), Flatten(), Dropout(0.5), input_size=50)


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    module = TorchBackend().native(DROPPING)
    generator = torch.Generator().manual_seed(3)
    _, on_map, _, _, on_vector = operations(DROPPING, module, (1, 50, 50), generator)
    for drop, p, shape in ((on_map, 0.3, (64, 4, 50, 50)), (on_vector, 0.5, (2048, 64))):
        x = torch.ones(shape).requires_grad_()
        y = drop(x)
        y.sum().backward()
        assert y.unique().tolist() == pytest.approx([0, 1 / (1 - p)])
        assert torch.equal(x.grad, y.detach())
        assert abs(float((y == 0).float().mean()) - p) < 0.01
        module.eval()
        assert drop(x) is x
        module.train()


def test_dropout_differs_between_layers_and_steps_but_not_between_equal_seeds():
    module = TorchBackend().native(DROPPING)
    generator = torch.Generator()
    _, drop, *_ = operations(DROPPING, module, (1, 50, 50), generator)
    masks = []
    for seed in (1, 1, 2):
        generator.manual_seed(seed)
        masks += [drop(torch.ones(2, 4, 9, 9)), drop(torch.ones(2, 4, 9, 9))]
    assert torch.equal(masks[0], masks[2])
    assert torch.equal(masks[1], masks[3])
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[4])
    assert not torch.equal(masks[0][0], masks[0][1])
    assert not torch.equal(masks[0][:, 0], masks[0][:, 1])


def test_an_mlpconv_block_and_its_pooling_are_one_operation_each():
    network = Network(
        Conv2d(4, 3),
        ReLU(),
        Conv2d(4, 1),
        ReLU(),
        MaxPool2d(2),
        Conv2d(3, 1),
        GlobalAvgPool2d(),
        Flatten(),
        input_size=12,
    )
    found = operations(network, TorchBackend().native(network), (1, 12, 12))
    assert [type(each) for each in found[:3]] == [Convolutions, PooledReLU, Convolutions]
    assert [each.activation for each in found[0].convolutions] == ["relu", "none"]


def test_a_second_relu_after_pooling_keeps_the_gradient():
    network = Network(Conv2d(3, 1), ReLU(), MaxPool2d(2, stride=2), ReLU(), GlobalAvgPool2d(), Flatten(), input_size=8)
    module = TorchBackend().native(network)
    steps = operations(network, module, (1, 8, 8))

    def run(x):
        for step in steps:
            x = step(x)
        return x

    x = torch.randn(2, 1, 8, 8)
    for one, other in zip(gradients(run, x, module), gradients(module, x, module), strict=True):
        torch.testing.assert_close(one, other)


def test_relu6_overwrites_the_output_of_a_normalization():
    network = Network(
        Conv2d(4, 3),
        BatchNorm2d(),
        ReLU6(),
        Conv2d(4, 3, depthwise=True),
        BatchNorm2d(),
        ReLU6(),
        MaxPool2d(2),
        Flatten(),
        input_size=8,
    )
    module = TorchBackend().native(network)
    for name, parameter in module.named_parameters():
        if "norm" in name:
            nn.init.uniform_(parameter, -1, 9)
    steps = operations(network, module, (1, 8, 8))
    assert [type(each) for each in steps] == [
        Convolutions,
        nn.BatchNorm2d,
        OverwritingReLU6,
        Convolutions,
        nn.BatchNorm2d,
        PooledReLU,
        nn.Flatten,
    ]

    def run(x):
        for step in steps:
            x = step(x)
        return x

    x = torch.randn(3, 1, 8, 8)
    found, expected = gradients(run, x, module), gradients(module, x, module)
    assert expected[0].max() == 6
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
