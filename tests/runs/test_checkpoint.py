"""Checkpoints: the last two and the best are kept, a damaged one is named and skipped."""

import json
from pathlib import Path

import numpy as np
import pytest

from mlpconv.errors import RunError
from mlpconv.runs.checkpoint import Checkpoint, load, load_newest, save
from mlpconv.runs.files import write_tensors
from mlpconv.runs.history import best_checkpoint_epoch
from support.tiny_training import file_names

STATE = {"weights/a": np.array([1.5, -0.0], np.float32), "metrics": np.array([0.1, 3, 4, 0])}
LINE = {"epoch": 1, "loss": 0.1 + 0.2, "class_accuracy": {"Ä": None}, "curve": [[0.2, 1.0, 0.5]]}


def at(epoch, step):
    return Checkpoint(epoch, step, [LINE], [[0.4, 0.9, 0.6]], 1.25, STATE)


def refuse(text):
    pytest.fail(text)


def line(epoch, loss):
    return {"epoch": epoch, "loss": loss}


def test_a_checkpoint_is_restored_unchanged(tmp_path):
    save(tmp_path, at(3, 17))
    found = load_newest(tmp_path, refuse)
    assert found._replace(state={}) == at(3, 17)._replace(state={})
    for name, value in STATE.items():
        assert found.state[name].tobytes() == value.tobytes()
        assert found.state[name].dtype == value.dtype


def test_a_directory_without_checkpoints_has_none(tmp_path):
    assert load_newest(tmp_path, refuse) is None
    assert load_newest(tmp_path / "nowhere", refuse) is None


def test_the_last_two_are_kept_in_the_order_of_training(tmp_path):
    for epoch, step in [(0, 9), (0, 100), (2, 0), (9, 0), (10, 0), (10, 5), (9999, 0), (10000, 0), (10000, 1_000_000)]:
        save(tmp_path, at(epoch, step))
        found = load_newest(tmp_path, refuse)
        assert (found.epoch, found.step) == (epoch, step)
    assert file_names(tmp_path) == ["epoch-10000-step-000000.safetensors", "epoch-10000-step-1000000.safetensors"]


def test_the_best_is_kept_too(tmp_path):
    losses = [2.0, 0.5, 0.9, 0.8, 0.7, 0.4, 0.6]
    kept = []
    for epoch in range(1, 8):
        history = [line(number + 1, loss) for number, loss in enumerate(losses[:epoch])]
        save(tmp_path, at(epoch, 0)._replace(history=history))
        kept.append([int(name[6:10]) for name in file_names(tmp_path)])
    assert kept == [[1], [1, 2], [2, 3], [2, 3, 4], [2, 4, 5], [5, 6], [6, 7]]
    save(tmp_path, at(7, 3)._replace(history=history))
    assert [(int(name[6:10]), int(name[16:22])) for name in file_names(tmp_path)] == [(6, 0), (7, 0), (7, 3)]
    assert best_checkpoint_epoch([]) is None
    assert best_checkpoint_epoch([line(1, 0.5), line(2, 0.5)]) == 1
    held = [line(1, 0.5) | {"validation_accuracy": 0.8}, line(2, 0.1) | {"validation_accuracy": 0.7}]
    assert best_checkpoint_epoch(held) == 1


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / ".epoch-0000-step-000003.safetensors.x7c.part").write_bytes(b"half")
    assert load_newest(tmp_path, refuse) is None
    save(tmp_path, at(1, 0))
    assert file_names(tmp_path) == ["epoch-0001-step-000000.safetensors"]


def spoil(path, how):
    match how:
        case "cut":
            path.write_bytes(path.read_bytes()[:-5])
        case "empty":
            path.write_bytes(b"")
        case "foreign":
            write_tensors(path, STATE, {})
        case "other fields":
            write_tensors(path, STATE, {"mlpconv.checkpoint": json.dumps({"format": 1, "epoch": 1})})
        case "no object":
            write_tensors(path, STATE, {"mlpconv.checkpoint": "[" * 100_000})
        case "not finite":
            save(path.parent, at(2, 0)._replace(state={"weights/a": np.array([1, np.nan], np.float32)}))


@pytest.mark.parametrize("how", ["cut", "empty", "foreign", "other fields", "no object", "not finite"])
def test_a_damaged_checkpoint_is_named_and_skipped(tmp_path, how):
    save(tmp_path, at(1, 0))
    newest = save(tmp_path, at(2, 0))
    spoil(newest, how)
    said = []
    assert load_newest(tmp_path, said.append).epoch == 1
    (text,) = said
    assert text.startswith(f"{newest}: ")
    assert text.endswith(f"; renamed to {newest.name}.damaged, resuming from epoch-0001-step-000000.safetensors")
    # It no longer counts as one of the last two.
    save(tmp_path, at(1, 4))
    save(tmp_path, at(1, 6))
    assert load_newest(tmp_path, refuse).step == 6


@pytest.mark.parametrize("place", range(0, 600, 7))
def test_every_changed_bit_is_detected(tmp_path, place):
    path = save(tmp_path, at(1, 0))
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << place % 8
    path.write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        load(path)


def test_a_checkpoint_of_a_newer_version_is_not_skipped(tmp_path):
    save(tmp_path, at(1, 0))
    newest = save(tmp_path, at(2, 0))
    write_tensors(newest, STATE, {"mlpconv.checkpoint": json.dumps({"format": 2, "epoch": 2})})
    with pytest.raises(RunError, match=r"written by a newer mlpconv \(format 2\); update mlpconv"):
        load_newest(tmp_path, refuse)
    assert Path(newest).exists()


def test_if_all_are_damaged_nothing_starts_over_silently(tmp_path):
    for epoch in (1, 2):
        spoil(save(tmp_path, at(epoch, 0)), "cut")
    before = file_names(tmp_path)
    with pytest.raises(RunError, match=r"(?s)no checkpoint can be read:.*0002.*0001.*start again with another --out"):
        load_newest(tmp_path, refuse)
    assert file_names(tmp_path) == before
