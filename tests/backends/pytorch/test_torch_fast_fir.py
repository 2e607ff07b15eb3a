"""The fast FIR algorithm gives what the convolution gives, and its gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mlpconv.backends.pytorch import convolutions, fast_fir
from mlpconv.backends.pytorch.convolutions import Convolution, Convolutions
from support.precision import needs_bfloat16


def direct(x, weight, bias):
    return F.conv2d(x, weight, bias)


def direct_gradients(gradient, x, weight, bias):
    found = torch.ops.aten.convolution_backward(
        gradient, x, weight, [len(weight)], (1, 1), (0, 0), (1, 1), False, (0, 0), 1, (True, True, bias)
    )
    return tuple(found)


@given(kernel_rows=st.integers(2, 9), rows=st.integers(2, 12), padding=st.integers(0, 3), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_outputs_and_gradients_agree_with_the_convolution(kernel_rows, rows, padding, seed):
    height = rows + kernel_rows - 1 - 2 * padding
    if height < 1:
        return
    generator = torch.Generator().manual_seed(seed)
    x, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((2, 3, height, 4), (5, 3, kernel_rows, 2), (5,))
    )
    leaves = [each.clone().requires_grad_() for each in (x, weight, bias)]
    expected = F.conv2d(leaves[0], leaves[1], leaves[2], padding=(padding, 0))
    gradient = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    expected.backward(gradient)
    torch.testing.assert_close(fast_fir.convolve(x, weight, bias, padding, direct), expected.detach())
    found = fast_fir.gradients(gradient, x, weight, True, padding, direct_gradients)
    for one, leaf in zip(found, leaves, strict=True):
        torch.testing.assert_close(one, leaf.grad)


@pytest.mark.parametrize(("kernel_rows", "rows", "expected"), [(5, 2, 11), (5, 26, 107), (5, 25, 101), (4, 26, 80)])
def test_row_products(kernel_rows, rows, expected):
    assert fast_fir.row_products(kernel_rows, rows) == expected


@pytest.mark.parametrize(
    ("weight", "stride", "rows", "expected"),
    [
        pytest.param((256, 96, 5, 5), (1, 1), 25, True, id="the-chapters-second-block"),
        pytest.param((256, 96, 5, 5), (1, 1), 15, False, id="on-a-small-map"),
        pytest.param((256, 96, 5, 5), (2, 2), 25, False, id="with-a-stride"),
        pytest.param((256, 384, 3, 3), (1, 1), 25, False, id="of-three-rows"),
        pytest.param((256, 64, 5, 5), (1, 1), 25, False, id="with-few-channels"),
    ],
)
def test_it_is_used_where_it_is_faster(weight, stride, rows, expected):
    assert fast_fir.suits(weight, stride, rows) is expected


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=needs_bfloat16)])
def test_it_is_equally_exact_in_a_block(dtype, monkeypatch):
    torch.manual_seed(0)
    x = torch.rand(1, 96, 26, 27).to(memory_format=torch.channels_last)
    weight, bias = torch.randn(256, 96, 5, 5) * 0.02, torch.randn(256)

    def run(dtype):
        leaves = [x.detach().to(dtype).requires_grad_(), weight.clone().requires_grad_(), bias.clone().requires_grad_()]
        y = Convolutions([Convolution(lambda: (leaves[1], leaves[2]), (1, 1), (1, 2), "relu")])(leaves[0])
        (y.float() * torch.arange(y.numel()).view_as(y).cos()).sum().backward()
        return [y.detach().double(), *(torch.Tensor(leaf.grad).double() for leaf in leaves)]

    calls = []
    original = fast_fir.convolve
    monkeypatch.setattr(convolutions.fast_fir, "convolve", lambda *args: calls.append(1) or original(*args))
    fast = run(dtype)
    assert calls
    monkeypatch.setattr(convolutions.fast_fir, "suits", lambda *args: False)
    plain, exact = run(dtype), run(torch.float64)
    for one, other, truth in zip(fast, plain, exact, strict=True):
        error, plain_error = ((each - truth).norm() / truth.norm() for each in (one, other))
        assert error < 2.5 * plain_error + 1e-6
