"""Weights of a reader's own class, whose names are unknown: matched by shape, or refused where that is ambiguous."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mlpconv.convert import read_weights
from mlpconv.errors import WeightsError
from mlpconv.models import create_model

NETWORK = create_model("nin")
LENET = create_model("lenet")


def own_nin(first: str = "first", second: str = "second", swapped: bool = False) -> nn.Module:
    """A NiN whose blocks are modules with other names."""

    class Block(nn.Module):
        def __init__(self, channels, out, *window):
            super().__init__()
            self.filter = nn.Conv2d(channels, out, *window)
            for name in (second, first) if swapped else (first, second):
                setattr(self, name, nn.Conv2d(out, out, 1))

        def forward(self, x):
            return getattr(self, second)(getattr(self, first)(self.filter(x).relu()).relu()).relu()

    class Nin(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = Block(1, 96, 11, 4)
            self.middle = Block(96, 256, 5, 1, 2)
            self.late = Block(256, 384, 3, 1, 1)
            self.head = Block(384, 10, 3, 1, 1)
            self.pool = nn.MaxPool2d(3, 2)

        def forward(self, x):
            x = self.pool(self.late(self.pool(self.middle(self.pool(self.stem(x))))))
            return self.head(x).mean((2, 3))

    torch.manual_seed(4)
    return Nin().eval()


def same_logits(net: nn.Module, path) -> None:
    weights = read_weights(NETWORK, path, by_shape=True)
    images = torch.rand(2, 1, 224, 224)
    with torch.no_grad():
        ours = NETWORK.build("torch", weights=weights).eval()(images)
        assert ours.std() > 0
        torch.testing.assert_close(net(images), ours, atol=1e-5, rtol=1e-5)


def test_layers_are_matched_in_the_order_of_definition(tmp_path):
    net = own_nin()
    torch.save(net.state_dict(), tmp_path / "own.pt")
    same_logits(net, tmp_path / "own.pt")


def test_it_must_be_asked_for(tmp_path):
    torch.save(own_nin().state_dict(), tmp_path / "own.pt")
    with pytest.raises(WeightsError, match=r"received 'stem\.filter\.weight'; rename the weights, or .* --by-shape"):
        read_weights(NETWORK, tmp_path / "own.pt")


def test_numbers_order_layers_of_one_shape_where_a_file_is_sorted(tmp_path):
    net = own_nin("mlp1", "mlp2")
    save_file(net.state_dict(), tmp_path / "own.safetensors")
    same_logits(net, tmp_path / "own.safetensors")


def test_layers_of_one_shape_in_a_sorted_file_are_ambiguous(tmp_path):
    save_file(own_nin().state_dict(), tmp_path / "own.safetensors")
    with pytest.raises(WeightsError, match=r"--by-shape is ambiguous: the layers 'stem\.first', 'stem\.second'"):
        read_weights(NETWORK, tmp_path / "own.safetensors", by_shape=True)


def test_numbers_that_contradict_the_order_of_definition_are_ambiguous(tmp_path):
    torch.save(own_nin("mlp1", "mlp2", swapped=True).state_dict(), tmp_path / "own.pt")
    with pytest.raises(WeightsError, match="--by-shape is ambiguous"):
        read_weights(NETWORK, tmp_path / "own.pt", by_shape=True)


def lenet_state() -> dict[str, torch.Tensor]:
    shapes = {"out": (10, 84), "c3": (16, 6, 5, 5), "f5": (120, 400), "c1": (6, 1, 5, 5), "f6": (84, 120)}
    state = {}
    for name, shape in shapes.items():
        state |= {f"{name}.weight": torch.rand(shape), f"{name}.bias": torch.rand(shape[0])}
    return state


def test_shapes_that_occur_once_need_no_order(tmp_path):
    state = lenet_state()
    torch.save(state, tmp_path / "own.pt")
    weights = read_weights(LENET, tmp_path / "own.pt", by_shape=True)
    for ours, theirs in (("conv1", "c1"), ("conv2", "c3"), ("fc1", "f5"), ("fc2", "f6"), ("fc3", "out")):
        for part in ("weight", "bias"):
            np.testing.assert_array_equal(weights[f"{ours}.{part}"], state[f"{theirs}.{part}"].numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"extra.weight": torch.rand(6, 1, 5, 5), "extra.bias": torch.rand(6)},
            "'c1' .* is one of 2 with",
        ),
        ({"extra.weight": torch.rand(7, 7), "extra.bias": torch.rand(7)}, "'extra' .*the network has 0; check --model"),
        ({"out.weight": torch.rand(11, 84), "out.bias": torch.rand(11)}, "'out' .*the network has 0"),
        ({"temperature": torch.rand(1)}, "'temperature' is no part of a layer"),
    ],
)
def test_a_layer_without_counterpart_is_named(change, message, tmp_path):
    torch.save(lenet_state() | change, tmp_path / "own.pt")
    with pytest.raises(WeightsError, match=message):
        read_weights(LENET, tmp_path / "own.pt", by_shape=True)


def test_a_missing_layer_is_named(tmp_path):
    state = {name: value for name, value in lenet_state().items() if not name.startswith("f6")}
    torch.save(state, tmp_path / "own.pt")
    with pytest.raises(WeightsError, match="no layer has the shapes of fc2"):
        read_weights(LENET, tmp_path / "own.pt", by_shape=True)
