"""Our networks are the chapter's: its PyTorch code, old edition and new, against ours with its weights."""

import numpy as np
import pytest
import torch

from mlpconv.arch.cost import count
from mlpconv.arch.shapes import block_shapes
from mlpconv.backends import reference
from mlpconv.convert import from_state_dict
from mlpconv.models import create_model
from support import chapter_pytorch as chapter

NETWORKS = {
    "nin": (chapter.nin, 224, {}),
    "lenet": (chapter.lenet, 28, {}),
    "alexnet": (chapter.alexnet, 224, {}),
    "vgg11": (chapter.vgg11, 32, {"size": 32}),
}


@pytest.mark.parametrize("lazy", [False, True], ids=["old", "new"])
@pytest.mark.parametrize("name", NETWORKS)
def test_our_networks_agree_with_the_chapter(name: str, lazy: bool):
    build, size, options = NETWORKS[name]
    theirs = chapter.build_network(build, lazy, size, **({} if lazy else options))
    ours = create_model(name).replace(input_size=size)

    assert count(ours).parameters == sum(parameter.numel() for parameter in theirs.parameters())

    x = torch.randn(2, 1, size, size, generator=torch.Generator().manual_seed(1))
    y, shapes = x, []
    with torch.no_grad():
        for layer in theirs:
            y = layer(y)
            shapes.append(tuple(y.shape[1:]))
    assert [shape for _, _, shape in block_shapes(ours)] == shapes

    expected = y.numpy()
    found = reference.forward(ours, from_state_dict(ours, theirs.state_dict()), x.numpy())
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
