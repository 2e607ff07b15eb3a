"""State dicts from elsewhere: the names, shapes and types of real files that PyTorch and safetensors wrote."""

import re
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d
from mlpconv.arch.network import Block, Network
from mlpconv.backends.weights import check_weights, weight_shapes
from mlpconv.convert import from_state_dict, read_torch_file, read_weights
from mlpconv.errors import WeightsError
from mlpconv.models import create_model
from support import chapter_pytorch as chapter

LENET = create_model("lenet")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_a_file_of_the_chapters_network(suffix: str, tmp_path: Path):
    # Its names, sorted as text as safetensors sorts them, put 12 before 6.
    theirs = chapter.build_network(chapter.vgg11, False, 32, size=32).state_dict()
    path = tmp_path / f"vgg{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(theirs, path)
    network = create_model("vgg11").replace(input_size=32)
    weights = from_state_dict(network, read_torch_file(path), str(path))
    check_weights(network, weights, "converted")
    assert list(weights) == list(weight_shapes(network))
    for ours, their in (
        ("block1.conv1.weight", "0.0.weight"),
        ("block4.conv2.bias", "3.2.bias"),
        ("fc1.weight", "6.weight"),
        ("fc3.bias", "12.bias"),
    ):
        np.testing.assert_array_equal(weights[ours], theirs[their].numpy())


def test_layers_of_one_shape_keep_their_order():
    theirs = chapter.build_network(chapter.nin, True, 224).state_dict()
    weights = from_state_dict(create_model("nin"), theirs)
    for block, place in enumerate((0, 2, 4, 7), start=1):
        for name, index in (("conv", 0), ("mlp1", 2), ("mlp2", 4)):
            for part in ("weight", "bias"):
                expected = theirs[f"{place}.{index}.{part}"].numpy()
                np.testing.assert_array_equal(weights[f"block{block}.{name}.{part}"], expected)


def test_a_prefix_of_all_names_is_removed():
    plain = from_state_dict(LENET, chapter.lenet_state())
    for prefix in ("net.", "model.net."):
        weights = from_state_dict(LENET, {f"{prefix}{name}": value for name, value in chapter.lenet_state().items()})
        assert all(np.array_equal(weights[name], plain[name]) for name in plain)
    assert "net.0.weight" in chapter.Classifier(chapter.lenet(False)).state_dict()


def test_canonical_names_are_used_unchanged():
    weights = from_state_dict(LENET, chapter.lenet_state())
    shuffled = dict(sorted(weights.items(), reverse=True))
    for values in (shuffled, {f"module.{name}": value for name, value in shuffled.items()}):
        again = from_state_dict(LENET, values)
        assert list(again) == list(weights)
        assert all(np.array_equal(again[name], weights[name]) for name in weights)


def test_normalization_includes_its_statistics():
    network = Network(
        Block(conv=Conv2d(3, 3, bias=False), norm=BatchNorm2d()), GlobalAvgPool2d(), Flatten(), input_size=8
    )
    theirs = nn.Sequential(nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3)))
    theirs(torch.randn(4, 1, 8, 8))
    weights = from_state_dict(network, theirs.state_dict())
    np.testing.assert_array_equal(weights["block1.norm.running_var"], theirs[0][1].running_var.numpy())
    np.testing.assert_array_equal(weights["block1.norm.running_mean"], theirs[0][1].running_mean.numpy())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats_become_float32(dtype: torch.dtype, tmp_path: Path):
    state = {name: value.to(dtype) for name, value in chapter.lenet_state().items()}
    torch.save(state, tmp_path / "net.pt")
    weights = from_state_dict(LENET, read_torch_file(tmp_path / "net.pt"))
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(weights["fc1.weight"], state["7.weight"].float().numpy())


def changed(**changes) -> dict[str, object]:
    """LeNet's arrays with some exchanged, added, or (None) left out; a double underscore stands for a point."""
    state = {name: value.numpy() for name, value in chapter.lenet_state().items()}
    state |= {name.strip("_").replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            changed(_11__weight=np.zeros((7, 84), np.float32)),
            "expected fc3.weight of shape (10, 84), received 11.weight of shape (7, 84)",
        ),
        (changed(_11__bias=None), "expected 10 arrays, received 9; the first without a match is fc3.bias"),
        (
            changed(_13__bias=np.zeros(3, np.float32)),
            "expected 10 arrays, received 11; the first without a match is 13.bias",
        ),
        (
            changed(_0__bias=None, _0__running_mean=np.zeros(6, np.float32)),
            "expected conv1.bias of shape (6,), received 0.running_mean of shape (6,)",
        ),
        (changed(_0__bias=np.zeros(6, np.int64)), "conv1.bias: expected floats, received int64"),
        (changed(_0__bias=np.full(6, np.nan, np.float32)), "conv1.bias holds NaN or infinite values"),
        (changed(_0__bias=np.full(6, 1e300)), "conv1.bias holds NaN or infinite values"),
        ({}, "expected 10 arrays, received 0; the first without a match is conv1.weight"),
        (
            {"a.0.weight": 1, "b.1.weight": 2},
            "expected names of this network (such as 'conv1.weight') or of an nn.Sequential",
        ),
        ({"conv1.weight": np.zeros((6, 1, 5, 5))}, "missing: conv1.bias, conv2.weight, conv2.bias and 6 more"),
        ({"conv1.weight": np.zeros(1), "conv9.weight": np.zeros(1)}, "not in the network: conv9.weight"),
    ],
)
def test_weights_of_another_network_are_refused(state: dict, message: str):
    with pytest.raises(WeightsError, match=f"^net.pt: .*{re.escape(message)}"):
        from_state_dict(LENET, state, "net.pt")


def lazy_state() -> OrderedDict:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Lazy modules are a new feature")
        return chapter.lenet(True).state_dict()


def test_lazy_layers_without_weights(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"0\.weight belongs to a lazy layer that has no weights yet; pass"):
        from_state_dict(LENET, lazy_state())
    torch.save(lazy_state(), tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="nothing in it was executed: it contains lazy layers"):
        read_torch_file(tmp_path / "net.pt")


def test_a_checkpoint_gives_its_state_dict(tmp_path: Path):
    net = chapter.build_network(chapter.lenet, False, 28)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net(torch.zeros(1, 1, 28, 28)).sum().backward()
    optimizer.step()
    expected = from_state_dict(LENET, net.state_dict())
    lightning = {f"model.{name}": value for name, value in net.state_dict().items()}
    for checkpoint in (
        {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "best": torch.tensor(0.5)},
        {"state_dict": net.state_dict()},
        {
            "epoch": 1,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": lightning,
            "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.1)}},
            "optimizer_states": [optimizer.state_dict()],
            "hyper_parameters": {"lr": 0.1},
        },
        {"checkpoint": {"net": net.state_dict()}},
    ):
        torch.save(checkpoint, tmp_path / "epoch=3.ckpt")
        found = read_weights(LENET, tmp_path / "epoch=3.ckpt")
        assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_checkpoint_with_two_sets_of_weights_is_ambiguous(tmp_path: Path):
    torch.save({"model": chapter.lenet_state(), "ema": chapter.lenet_state(), "epoch": 3}, tmp_path / "net.pt")
    with pytest.raises(
        WeightsError, match=r'several sets of weights \(model, ema\).*torch\.load\("net.pt"\)\["model"\]'
    ):
        read_torch_file(tmp_path / "net.pt")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float16])
def test_narrow_floats_are_read_as_pytorch_reads_them(dtype: torch.dtype, tmp_path: Path):
    every = torch.arange(256, dtype=torch.int32).to(torch.uint8).repeat_interleave(dtype.itemsize)
    state = {"every": every.view(dtype), **{name: value.to(dtype) for name, value in chapter.lenet_state().items()}}
    save_file(state, tmp_path / "net.safetensors")
    torch.save(state, tmp_path / "net.pt")
    for found in (read_torch_file(tmp_path / "net.safetensors"), read_torch_file(tmp_path / "net.pt")):
        for name, value in state.items():
            np.testing.assert_array_equal(found[name], value.float().numpy())
    del state["every"]
    save_file(state, tmp_path / "net.safetensors")
    assert read_weights(LENET, tmp_path / "net.safetensors")["fc1.weight"].dtype == np.float32


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"criterion.weight": np.ones(10, np.float32)}, "the network has no weight 'criterion.weight'; remove it"),
        ({"net.scale": np.ones(10, np.float32)}, "received 'net.scale'; remove it"),
        ({"net.head.weight": np.ones(10, np.float32)}, "received 'net.head.weight'; remove it"),
    ],
)
def test_the_message_names_the_odd_key(odd: dict, message: str):
    state = {f"net.{name}": value for name, value in chapter.lenet_state().items()}
    with pytest.raises(WeightsError, match=message):
        from_state_dict(LENET, {**state, **odd})
    with pytest.raises(WeightsError, match=message):
        from_state_dict(LENET, {**odd, **state})


class PytorchcvNin(nn.Module):
    """The names and order of pytorchcv's NiN for CIFAR and SVHN."""

    def __init__(self, classes: int) -> None:
        super().__init__()

        def unit(channels: int, out: int, kernel_size: int) -> nn.Sequential:
            convolution = nn.Conv2d(channels, out, kernel_size, padding=kernel_size // 2)
            return nn.Sequential(OrderedDict(conv=convolution, activ=nn.ReLU()))

        channels = 3
        self.features = nn.Sequential()
        for stage, (kernel_size, widths) in enumerate(((5, (192, 160, 96)), (5, (192,) * 3), (3, (192,) * 2)), 1):
            units = nn.Sequential()
            if stage > 1:
                units.add_module(f"pool{stage}", (nn.MaxPool2d if stage == 2 else nn.AvgPool2d)(3, 2, padding=1))
                units.add_module(f"dropout{stage}", nn.Dropout(0.5))
            for index, width in enumerate(widths, 1):
                units.add_module(f"unit{index}", unit(channels, width, kernel_size if index == 1 else 1))
                channels = width
            self.features.add_module(f"stage{stage}", units)
        self.output = nn.Sequential(
            OrderedDict(final_conv=unit(channels, classes, 1), final_pool=nn.AvgPool2d(8, stride=1))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.features(x)).flatten(1)


@pytest.mark.parametrize(("name", "classes"), [("nin_cifar10", 10), ("nin_cifar100", 100), ("nin_svhn", 10)])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_pytorchcvs_nin(name: str, classes: int, prefix: str, tmp_path: Path):
    torch.manual_seed(1)
    net, network = PytorchcvNin(classes).eval(), create_model(name)
    save_file({prefix + key: value for key, value in net.state_dict().items()}, tmp_path / "net.safetensors")
    weights = read_weights(network, tmp_path / "net.safetensors")
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        np.testing.assert_allclose(
            network.build("torch", weights=weights).eval()(images), net(images), atol=1e-5, rtol=1e-5
        )
