"""Checkpoints: the last two are kept, a damaged one is named with what to do."""

import json

import numpy as np
import pytest
from tiny import names

from mlpconv.errors import RunError
from mlpconv.runs.checkpoint import Checkpoint, load_newest, save
from mlpconv.runs.files import write_tensors

STATE = {"weights/a": np.array([1.5, -0.0], np.float32), "metrics": np.array([0.1, 3, 4, 0])}
LINE = {"epoch": 1, "loss": 0.1 + 0.2, "class_accuracy": {"Ä": None}, "curve": [[0.2, 1.0, 0.5]]}


def at(epoch, step):
    return Checkpoint(epoch, step, [LINE], [[0.4, 0.9, 0.6]], 1.25, STATE)


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    save(tmp_path, at(3, 17))
    found = load_newest(tmp_path)
    assert found._replace(state={}) == at(3, 17)._replace(state={})
    for name, value in STATE.items():
        assert found.state[name].tobytes() == value.tobytes()
        assert found.state[name].dtype == value.dtype


def test_none_is_none(tmp_path):
    assert load_newest(tmp_path) is None
    assert load_newest(tmp_path / "nowhere") is None


def test_the_last_two_are_kept_in_the_order_of_training(tmp_path):
    for epoch, step in [(0, 9), (0, 100), (1, 0), (2, 0), (9, 0), (10, 0), (10, 5)]:
        save(tmp_path, at(epoch, step))
        found = load_newest(tmp_path)
        assert (found.epoch, found.step) == (epoch, step)
    assert names(tmp_path) == ["epoch-0010-step-000000.safetensors", "epoch-0010-step-000005.safetensors"]


def test_what_a_killed_process_left_is_swept_away(tmp_path):
    (tmp_path / ".epoch-0000-step-000003.safetensors.x7c").write_bytes(b"half")
    assert load_newest(tmp_path) is None
    save(tmp_path, at(1, 0))
    assert names(tmp_path) == ["epoch-0001-step-000000.safetensors"]


def spoil(path, how):
    match how:
        case "cut":
            path.write_bytes(path.read_bytes()[:-5])
        case "empty":
            path.write_bytes(b"")
        case "foreign":
            write_tensors(path, STATE, {})
        case "newer":
            place = at(1, 0)._asdict() | {"format": 2}
            write_tensors(path, STATE, {"mlpconv.checkpoint": json.dumps({**place, "state": None})})
        case "other fields":
            write_tensors(path, STATE, {"mlpconv.checkpoint": json.dumps({"format": 1, "epoch": 1})})


@pytest.mark.parametrize("how", ["cut", "empty", "foreign", "newer", "other fields"])
def test_a_damaged_one_is_named_with_the_one_before_it(tmp_path, how):
    save(tmp_path, at(1, 0))
    newest = save(tmp_path, at(2, 0))
    spoil(newest, how)
    with pytest.raises(RunError) as caught:
        load_newest(tmp_path)
    assert str(caught.value).startswith(f"{newest}: this checkpoint cannot be read (")
    assert str(caught.value).endswith("; remove it to go on from epoch-0001-step-000000.safetensors")
    newest.unlink()
    assert load_newest(tmp_path).epoch == 1


def test_a_damaged_only_one_is_named(tmp_path):
    path = save(tmp_path, at(1, 0))
    spoil(path, "cut")
    with pytest.raises(RunError, match=r"cannot be read \(.*\); start again with another --out"):
        load_newest(tmp_path)
