"""Winograd's algorithm gives what the convolution gives, and its gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mlpconv.backends.pytorch import convolutions, winograd
from mlpconv.backends.pytorch.convolutions import Convolution, Convolutions
from mlpconv.backends.pytorch.private_api import FakeTensorMode
from mlpconv.backends.pytorch.winograd import Tiling


def random_tensors(seed, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def exact(x, weight, bias, padding, gradient):
    """The output and the gradients of the convolution in float64."""
    leaves = [each.double().requires_grad_() for each in (x, weight, bias)]
    y = F.conv2d(leaves[0], leaves[1], leaves[2], padding=padding)
    y.backward(gradient.double())
    return [y.detach(), *(leaf.grad for leaf in leaves)]


def relative_error(found, expected):
    return float((found.double() - expected).norm() / expected.norm())


@given(
    kernel=st.integers(3, 6),
    outputs=st.integers(2, 6),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    images=st.integers(1, 3),
    rows=st.sampled_from([1, 7, 192]),
    seed=st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_outputs_and_gradients_agree_with_the_convolution(kernel, outputs, height, width, padding, images, rows, seed):
    outputs = min(outputs, 9 - kernel)
    size = height + kernel - 1 - 2 * padding[0], width + kernel - 1 - 2 * padding[1]
    if min(size) < 1:
        return
    x, weight, bias, gradient = random_tensors(
        seed, (images, 4, *size), (5, 4, kernel, kernel), (5,), (images, 5, height, width)
    )
    tiling = Tiling(outputs, kernel, -(-height // outputs), -(-width // outputs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "ROWS", rows)
        y = winograd.convolve(x, weight, bias, padding, tiling)
        found = [y, *winograd.gradients(gradient, x, weight, True, padding, tiling)]
    for one, expected in zip(found, exact(x, weight, bias, padding, gradient), strict=True):
        assert one.shape == expected.shape
        # A gradient of few values may nearly vanish, so the error counts against values of size 1.
        assert float((one.double() - expected).abs().max()) < 2e-4 * max(float(expected.abs().max()), 1)


@pytest.mark.parametrize(
    ("weight", "size", "largest"),
    [
        pytest.param((256, 96, 5, 5), (25, 25), 1e-5, id="the-chapters-second-block-at-224"),
        pytest.param((256, 96, 5, 5), (15, 15), 1e-5, id="the-chapters-second-block-at-131"),
        pytest.param((384, 256, 3, 3), (12, 12), 6e-6, id="the-chapters-third-block-at-224"),
        pytest.param((384, 256, 3, 3), (7, 7), 1.5e-5, id="the-chapters-third-block-at-131"),
        pytest.param((384, 256, 3, 3), (5, 5), 5e-6, id="the-chapters-third-block-at-99"),
        pytest.param((256, 96, 5, 5), (7, 7), 5e-6, id="the-chapters-second-block-at-70"),
    ],
)
def test_the_error_is_at_most_as_documented(weight, size, largest):
    outputs, inputs, kernel, _ = weight
    x, w, bias, gradient = random_tensors(0, (8, inputs, *size), weight, (outputs,), (8, outputs, *size))
    padding = kernel // 2, kernel // 2
    tiling = winograd.tiling(weight, (1, 1), 128, size)
    assert tiling is not None
    y = winograd.convolve(x, w, bias, padding, tiling)
    found = [y, *winograd.gradients(gradient, x, w, True, padding, tiling)]
    for one, expected in zip(found, exact(x, w, bias, padding, gradient), strict=True):
        assert relative_error(one, expected) < largest


@pytest.mark.parametrize(
    ("weight", "stride", "batch", "size", "expected"),
    [
        pytest.param((256, 96, 5, 5), (1, 1), 128, (25, 25), Tiling(5, 5, 5, 5), id="the-chapters-second-block"),
        pytest.param((384, 256, 3, 3), (1, 1), 128, (7, 7), Tiling(7, 3, 1, 1), id="the-chapters-third-block-at-131"),
        pytest.param((384, 256, 3, 3), (1, 1), 128, (3, 3), Tiling(3, 3, 1, 1), id="a-map-of-one-tile"),
        pytest.param((256, 96, 5, 5), (2, 2), 128, (25, 25), None, id="with-a-stride"),
        pytest.param((256, 96, 5, 3), (1, 1), 128, (25, 25), None, id="a-kernel-that-is-not-square"),
        pytest.param((96, 96, 1, 1), (1, 1), 128, (53, 53), None, id="of-one-position"),
        pytest.param((32, 16, 3, 3), (1, 1), 128, (28, 28), None, id="with-few-channels"),
        pytest.param((256, 96, 5, 5), (1, 1), 1, (25, 25), None, id="of-one-image"),
        pytest.param((64, 64, 11, 11), (1, 1), 128, (25, 25), None, id="of-a-large-kernel"),
    ],
)
def test_it_is_used_where_it_is_faster(weight, stride, batch, size, expected):
    assert winograd.tiling(weight, stride, batch, size) == expected


def test_a_block_in_float32_uses_it(monkeypatch):
    x, weight, bias = random_tensors(0, (128, 96, 15, 15), (256, 96, 5, 5), (256,))
    x = x.to(memory_format=torch.channels_last)
    weight /= weight[0].numel() ** 0.5

    def run():
        leaves = [each.clone().requires_grad_() for each in (x, weight, bias)]
        y = Convolutions([Convolution(lambda: (leaves[1], leaves[2]), (1, 1), (2, 2))])(leaves[0])
        (y * torch.arange(y.numel()).view_as(y).cos()).sum().backward()
        return [y.detach(), *(torch.Tensor(leaf.grad) for leaf in leaves)]

    calls = []
    original = winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda *args: calls.append(1) or original(*args))
    fast = run()
    assert calls
    monkeypatch.setattr(convolutions.winograd, "tiling", lambda *args: None)
    for one, other in zip(fast, run(), strict=True):
        assert relative_error(one, other.double()) < 1e-5


def test_a_trace_of_the_memory_leaves_nothing_behind():
    x, weight = random_tensors(0, (128, 96, 9, 9), (64, 96, 3, 3))
    tiling = Tiling(2, 3, 5, 5)
    winograd._matrices.cache_clear()
    with FakeTensorMode() as mode:
        winograd.convolve(mode.from_tensor(x), mode.from_tensor(weight), None, (1, 1), tiling)
    y = winograd.convolve(x, weight, None, (1, 1), tiling)
    torch.testing.assert_close(y, F.conv2d(x, weight, padding=1), atol=1e-3, rtol=1e-3)
