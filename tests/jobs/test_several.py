"""Several processes compute what one computes: 50 steps, a rank without images, every augmentation."""

import json

import pytest

from support.command_processes import NETWORK, CommandProcesses
from support.several_processes import assert_same_training, run_ranks

pytest.importorskip("torch")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Real processes of the command line."""
    processes = CommandProcesses(tmp_path_factory.mktemp("world"))
    yield processes
    processes.close()


def without(*kinds):
    """The network without these layers."""
    layers = {
        name: {part: layer for part, layer in block.items() if layer["kind"] not in kinds} if "conv" in block else block
        for name, block in NETWORK["layers"].items()
        if block.get("kind") not in kinds
    }
    return NETWORK | {"layers": layers}


def arguments(folder, network, batch, epochs, *more):
    model = folder / "network.json"
    model.write_text(json.dumps(network))
    options = ["--model", model, "--data", "digits", "--batch-size", batch, "--epochs", epochs, "--device", "cpu"]
    return ["train", "--json", *options, "--precision", "float32", "--optimizer", "sgd", "--lr", "0.2", *more]


AUGMENTED = ("--set", "augmentation.flip=true", "--set", "augmentation.shift=1", "--set", "augmentation.erase=3")


@pytest.mark.parametrize(
    ("network", "count", "more"),
    [
        (without("batch_norm2d", "dropout"), 2, ("--set", "augmentation.mixup=0")),
        (NETWORK, 2, ("--set", "augmentation.mixup=0.2", *AUGMENTED)),
    ],
    ids=["plain", "normalization, dropout, augmentation"],
)
def test_fifty_steps_are_those_of_one_process(processes, tmp_path, network, count, more):
    command = arguments(tmp_path, network, 29, 1, *more)
    for ranks in (1, count):
        ended = run_ranks(processes, ranks, *command, "--out", tmp_path / str(ranks))
        assert [(each.code, each.err) for each in ended] == [(0, "")] * ranks
    assert_same_training(tmp_path / str(count), tmp_path / "1")


def test_a_rank_without_images_changes_nothing(processes, tmp_path):
    # The last batch has one image, which is that of the last rank.
    command = arguments(tmp_path, NETWORK, 1436, 3, "--set", "augmentation.mixup=0.2", *AUGMENTED)
    for ranks in (1, 3):
        ended = run_ranks(processes, ranks, *command, "--out", tmp_path / str(ranks))
        assert [(each.code, each.err) for each in ended] == [(0, "")] * ranks
    assert_same_training(tmp_path / "3", tmp_path / "1")
