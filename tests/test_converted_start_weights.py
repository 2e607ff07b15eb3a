"""How the start weights of `nin_photo` are made from blocks of EfficientNet-Lite0."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from start_weights import CARRY, carried, carried_depthwise, carried_sum, fold  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


def convolution(inputs, outputs, side, groups=1):
    """A convolution without bias, and a batch normalization that has seen something."""
    norm = nn.BatchNorm2d(outputs, eps=1e-3)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, groups=groups, bias=False), norm.eval()


def applied(x, folded, groups=1):
    weight, bias = (torch.from_numpy(part) for part in folded)
    return F.conv2d(x, weight, bias, padding=weight.shape[2] // 2, groups=groups)


@pytest.mark.parametrize("side", [3, 5])
def test_a_block_with_a_residual_connection_becomes_a_block_without_one(side):
    torch.manual_seed(side)
    parts = convolution(6, 24, 1), convolution(24, 24, side, groups=24), convolution(24, 6, 1)
    x = torch.randn(2, 6, 9, 9) * 20
    assert x.abs().max() < 6 * CARRY
    with torch.inference_mode():
        y = x
        for index, (layer, norm) in enumerate(parts):
            y = norm(layer(y))
            y = F.relu6(y) if index < 2 else y
        expand, depthwise, project = (fold(*part) for part in parts)
        z = F.relu6(applied(x, carried(*expand)))
        z = F.relu6(applied(z, carried_depthwise(*depthwise, 6), groups=24 + 12))
        z = applied(z, carried_sum(*project))
    np.testing.assert_allclose(z, x + y, atol=1e-4)
