"""1×1 convolutions with a stride: oneDNN's own gradient of their weight writes past its memory (oneDNN issue 6035)."""

import pytest

torch = pytest.importorskip("torch")

from mlpconv.arch.layers import Conv2d, ReLU  # noqa: E402
from mlpconv.arch.network import Block, Network  # noqa: E402
from mlpconv.backends.pytorch.convolutions import Convolutions  # noqa: E402
from mlpconv.backends.pytorch.forward import operations  # noqa: E402
from mlpconv.backends.pytorch.network import native  # noqa: E402


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("stride", "padding"), [((1, 3), 0), ((2, 1), (1, 0)), (2, 0), (3, (0, 2))])
def test_the_results_are_those_of_the_module_and_no_such_convolution_reaches_onednn(stride, padding, memory_format):
    network = Network(
        Block(conv=Conv2d(3, 5, padding=2), relu=ReLU(), strided=Conv2d(7, 1, stride, padding), last=Conv2d(2, 1)),
        input_channels=1,
        input_size=23,
    )
    module = native(network)
    x = torch.randn(4, 1, 23, 23).contiguous(memory_format=memory_format)
    steps = operations(network, module, (1, 23, 23))
    for step in steps:
        if isinstance(step, Convolutions):
            for convolution in step.convolutions:
                weight, _ = convolution.parameters()
                assert convolution.stride == (1, 1) or weight.shape[2:] != (1, 1)
    results = []
    for compute in (module, lambda x: _all(steps, x)):
        module.zero_grad()
        y = compute(x)
        (y * torch.arange(y.numel()).view(y.shape) / y.numel()).sum().backward()
        results.append([y.detach(), *(parameter.grad.clone() for parameter in module.parameters())])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def _all(steps, x):
    for step in steps:
        x = step(x)
    return x
