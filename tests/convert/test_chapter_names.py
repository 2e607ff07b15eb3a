"""Weights of ours in the chapter's own networks: loaded strictly by PyTorch, in the order of the network."""

import numpy as np
import pytest
import torch
from torch import nn

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, Linear, ReLU
from mlpconv.arch.network import Block, Network
from mlpconv.backends.weights import weight_shapes
from mlpconv.convert import read_weights, write_weights
from mlpconv.errors import WeightsError
from mlpconv.models import create_model
from support import chapter_pytorch as chapter
from support.random_values import random_weights


class GlobalPool(nn.Module):
    """Global pooling as a layer, as in the edition with d2lzh_pytorch."""

    def forward(self, x):
        return nn.functional.avg_pool2d(x, kernel_size=x.shape[2:])


class FlattenLayer(nn.Module):
    def forward(self, x):
        return x.view(x.shape[0], -1)


def d2lzh_nin():
    return nn.Sequential(*chapter.nin(False)[:8], GlobalPool(), FlattenLayer())


EDITIONS = {
    "nin": lambda: chapter.nin(False),
    "nin, lazy": lambda: chapter.build_network(chapter.nin, True, 224),
    "nin, d2lzh": d2lzh_nin,
    "lenet": lambda: chapter.lenet(False),
    "alexnet": lambda: chapter.alexnet(False),
    "vgg11": lambda: chapter.vgg11(False),
}


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_chapters_network_loads_the_state_dict_strictly(edition, tmp_path):
    network = create_model(edition.partition(",")[0])
    weights = random_weights(network, dtype=np.float32)
    write_weights(tmp_path / "net.pt", network, weights, names="chapter")
    state = torch.load(tmp_path / "net.pt", weights_only=True)
    net = EDITIONS[edition]().eval()
    assert list(state) == list(net.state_dict())
    net.load_state_dict(state, strict=True)
    images = torch.rand(2, *network.input_shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        ours = network.build("torch", weights=weights).eval()(images)
        assert ours.std() > 0
        torch.testing.assert_close(net(images), ours, atol=1e-5, rtol=1e-5)
    back = read_weights(network, tmp_path / "net.pt")
    assert all(np.array_equal(back[name], weights[name]) for name in weights)


def test_a_run_in_alphabetical_order_is_written_in_network_order(tmp_path):
    network = create_model("nin")
    weights = random_weights(network, dtype=np.float32)
    write_weights(tmp_path / "net.pt", network, dict(sorted(weights.items())))
    assert list(torch.load(tmp_path / "net.pt", weights_only=True)) == list(weight_shapes(network))
    write_weights(tmp_path / "net.pt", network, dict(sorted(weights.items())), names="chapter")
    assert list(torch.load(tmp_path / "net.pt", weights_only=True))[:4] == [
        "0.0.weight",
        "0.0.bias",
        "0.2.weight",
        "0.2.bias",
    ]


def test_normalizations_load_strictly(tmp_path):
    network = Network(
        Block(conv=Conv2d(4, 3, bias=False), norm=BatchNorm2d(), relu=ReLU()), GlobalAvgPool2d(), Flatten(), Linear(3)
    )
    network = network.replace(input_size=8)
    weights = random_weights(network, dtype=np.float32)
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ).eval()
    write_weights(tmp_path / "net.pt", network, weights, names="chapter")
    net.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True), strict=True)
    images = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        ours = network.build("torch", weights=weights).eval()(images)
        assert ours.std() > 0
        torch.testing.assert_close(net(images), ours, atol=1e-5, rtol=1e-5)
    own = network.build("torch")
    write_weights(tmp_path / "own.pt", network, weights)
    own.load_state_dict(torch.load(tmp_path / "own.pt", weights_only=True), strict=True)


@pytest.mark.parametrize("suffix", [".pt", ".keras"])
def test_only_gluon_has_collected_names(suffix, tmp_path):
    network = create_model("lenet")
    with pytest.raises(WeightsError, match=r"names of Gluon; choose a file that ends in \.params"):
        write_weights(tmp_path / f"net{suffix}", network, random_weights(network), names="collect-params")
