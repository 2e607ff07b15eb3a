"""Cases 12 to 14: a file that was made to harm is refused, nothing in it is run, no memory is taken for it."""

import json
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from mlpconv.runs.files import read_tensors, write_tensors
from support.command_processes import STEPS

LIMITED = """
import os, resource
has = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (has + (256 << 20), resource.RLIM_INFINITY))
"""


def refuse(processes, *arguments, **options):
    """The message of a command that refuses, without much memory."""
    done = processes.run(*arguments, program=LIMITED, **options)
    assert done.code == 2, done
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    return done.err


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("how", ["zip", "legacy", "plain"])
def test_12_a_pickle_that_runs_code(processes, tmp_path, how):
    torch = pytest.importorskip("torch")
    path, ran = tmp_path / "evil.pt", tmp_path / "ran"
    if how == "plain":
        path.write_bytes(pickle.dumps({"block1.conv.weight": Bomb(ran)}))
    else:
        torch.save({"fc1.weight": Bomb(ran)}, path, _use_new_zipfile_serialization=how == "zip")
    said = refuse(processes, "convert", path, "--model", "lenet", "--out", tmp_path / "out.safetensors")
    assert f"{path}: refused, nothing in it was executed" in said
    assert not ran.exists()
    assert not (tmp_path / "out.safetensors").exists()
    # The bomb is one: whoever unpickles it runs it.
    if how == "plain":
        pickle.loads(path.read_bytes())
        assert ran.exists()


def test_12_an_older_pytorch_does_not_read_pickles(processes, tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.zeros(1)}, path)
    older = "import torch; torch.__version__ = '2.9.1'"
    done = processes.run("convert", path, "--model", "lenet", "--out", tmp_path / "out.safetensors", program=older)
    assert done.code == 2
    assert "a file of weights can make PyTorch 2.9.1 run programs" in done.err


def packed(header, data=b"", announced=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if announced is None else announced) + text + data


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HOSTILE = {
    "hole": packed({"a": entry([1], 4, 8)}, bytes(8)),
    "hole at the end": packed({"a": entry([1], 0, 4)}, bytes(64)),
    "overlap": packed({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
    "the same twice": packed({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, bytes(4)),
    "backwards": packed({"a": entry([1], 8, 4)}, bytes(8)),
    "beyond the end": packed({"a": entry([1 << 20], 0, 1 << 22)}, bytes(8)),
    "negative": packed({"a": entry([-1], 0, 4)}, bytes(4)),
    "overflowing shape": packed({"a": entry([1 << 62, 1 << 62], 0, 4)}, bytes(4)),
    "nothing of a giant": packed({"a": entry([0, 1 << 62], 0, 0)}),
    "too many dimensions": packed({"a": entry([1] * 1000, 0, 4)}, bytes(4)),
    "unknown type": packed({"a": entry([1], 0, 4, "C64")}, bytes(4)),
    "a type that NumPy lacks": packed({"a": entry([2], 0, 4, "BF16")}, bytes(4)),
    "giant header announced": packed(b"{}", announced=1 << 60),
    "large header announced": packed(b"{}", announced=1 << 40),
    "deep header": packed(b"[" * 200_000),
    "no object": packed(b"[]"),
    "no JSON": packed(b"\xff\xfe{"),
    "text that is none": packed({"__metadata__": {"mlpconv.format": 1}}),
    "seven bytes": b"\0" * 7,
    "empty": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_13_hostile_safetensors(processes, digit, tmp_path, name):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE[name])
    said = refuse(processes, "predict", path, digit)
    reason = (
        "with a data type that NumPy does not have" if name == "a type that NumPy lacks" else "not a safetensors file"
    )
    assert said.startswith(f"error: {path}: damaged, or {reason}")
    said = refuse(processes, "convert", path, "--model", "lenet", "--out", tmp_path / "out.safetensors")
    assert f"{path}: " in said


@pytest.mark.parametrize(("where", "size"), [("header", 1 << 42), ("tensor", 1 << 33), ("tensor", 1 << 42)])
def test_13_a_sparse_file_of_many_gigabytes(processes, digit, tmp_path, where, size):
    path = tmp_path / "giant.safetensors"
    with path.open("wb") as file:
        file.write(
            packed(b"{}", announced=1 << 40) if where == "header" else packed({"a": entry([size], 0, size, "U8")})
        )
        file.truncate(file.tell() + size)
    said = refuse(processes, "predict", path, digit)
    if where == "header":
        assert "its header announces 1,099,511,627,776 bytes" in said
    else:
        assert "does not fit into the memory of this machine" in said


WRONG = {
    "name": (lambda w: {("x" + k if k == "block1.conv.bias" else k): v for k, v in w.items()}, "block1.conv.bias"),
    "missing": (lambda w: {k: v for k, v in w.items() if k != "block1.conv.bias"}, "missing: block1.conv.bias"),
    "shape": (lambda w: w | {"block1.conv.bias": np.zeros(9, np.float32)}, "block1.conv.bias has the shape (9,)"),
    "type": (lambda w: w | {"block1.conv.bias": np.zeros(8)}, "block1.conv.bias is float64, expected is float32"),
    "nan": (lambda w: w | {"block1.conv.bias": np.full(8, np.nan, np.float32)}, "block1.conv.bias holds NaN or inf"),
    "inf": (lambda w: w | {"block1.conv.bias": np.full(8, -np.inf, np.float32)}, "block1.conv.bias holds NaN or inf"),
}


@pytest.mark.parametrize("how", WRONG)
def test_14_weights_of_another_network_or_not_finite(processes, run, digit, how):
    change, said = WRONG[how]
    path = run / "weights.safetensors"
    weights, texts = read_tensors(path)
    write_tensors(path, change(weights), texts)
    for place in (run, path):
        assert said in refuse(processes, "predict", place, digit)
    plain = run / "plain.safetensors"
    plain.write_bytes(safetensors.numpy.save(change(weights)))
    out = run / "out.safetensors"
    model = json.loads((run / "config.json").read_text())["recipe"]["model"]
    if how != "type":  # convert makes float32 of any float
        message = refuse(processes, "convert", plain, "--model", model, "--out", out)
        assert said.partition(" ")[0].partition(":")[0] in message
        assert not out.exists()


def test_14_a_flipped_bit_of_the_weights(processes, run, digit):
    path = run / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    said = refuse(processes, "predict", run, digit)
    assert f"{path}: damaged: its content has changed since it was written" in said


def test_14_a_checkpoint_that_is_not_finite(processes, command, whole, tmp_path):
    from support.interrupted_runs import start_and_stop

    path = start_and_stop(processes, command, tmp_path / "run", stop_at=STEPS + 4)
    older, newest = sorted((path / "checkpoint").iterdir())
    state, texts = read_tensors(newest)
    name = next(name for name in state if name.startswith("optimizer/"))
    state[name] = np.full_like(state[name], np.nan)
    write_tensors(newest, state, texts)
    done = processes.run("train", "--resume", "--out", path)
    assert done.code == 0
    assert f"{newest}: {name} holds NaN or infinite values; renamed to" in done.err
    assert f"resuming from {older.name}" in done.err


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("epochs", 1, "config.json: epochs is 1, and 2 are done already; put the value back"),
        ("epochs", 10**30, "epochs must be at most 1000000, not 10"),
        ("batch_size", 10**30, "batch_size must be at most 2147483648"),
        ("image_size", 10**9, "image_size must be at most 65535"),
        ("epochs", None, "$.recipe.epochs"),
        ("optimizer", {"name": "muon", "ns_steps": 10**9}, "optimizer.ns_steps must be at most 100"),
    ],
)
def test_14_a_config_that_was_edited_before_a_resume(processes, run, field, value, said):
    config = json.loads((run / "config.json").read_text())
    config["recipe"][field] = value
    (run / "config.json").write_text(json.dumps(config))
    (run / "result.json").unlink()
    message = refuse(processes, "train", "--resume", "--out", run)
    assert f"{run}/config.json" in message
    assert said in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preprocess": {"size": 30_000}}, "preprocess: makes images of 1×30000×30000, and the network takes 1×8×8"),
        ({"preprocess": {"size": 10**9}}, "preprocess: size must be at least 1 and at most 65535, not 1000000000"),
        (
            {"preprocess": {"source_size": [10**9, 10**9]}},
            "source_size must be at least 1 and at most 65535",
        ),
        ({"preprocess": {"source_size": [60_000, 60_000]}}, "needs 16.8 GiB of memory"),
        ({"preprocess": {"size": 30_000}, "network": {"input_size": 30_000}}, "needs 57.0 GiB of memory"),
        ({"preprocess": {"std": [5e-324]}}, "std must be above 0 and finite"),
        ({"network": {"input_size": 10**400}}, "input_size must be"),
    ],
)
def test_14_a_classifier_that_announces_giant_images(processes, run, digit, changes, said):
    path = run / "weights.safetensors"
    weights, texts = read_tensors(path)
    for name, values in changes.items():
        texts[f"mlpconv.{name}"] = json.dumps(json.loads(texts[f"mlpconv.{name}"]) | values)
    write_tensors(path, weights, texts)
    message = refuse(processes, "predict", path, digit)
    assert message.startswith(f"error: {path}: ")
    assert said in message


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("behind the tensors", "its header announces"),
        ("in another tensor", "not in the network: more"),
        ("in a weight", "the network needs"),
    ],
)
def test_14_a_classifier_with_more_data_than_its_network_needs(processes, run, digit, how, message):
    path, more = run / "weights.safetensors", 100 << 20  # the process may take 256 MiB
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"].pop("mlpconv.sha256")
    end = len(content) - start
    if how == "in another tensor":
        header["more"] = entry([more], end, end + more, "U8")
    elif how == "in a weight":
        last = next(name for name, value in header.items() if value.get("data_offsets", [0, 0])[1] == end)
        first = header[last]["data_offsets"][0]
        header[last] = entry([(end - first + more) // 4], first, end + more)
    with path.open("wb") as file:
        file.write(packed(header, content[start:]))
        file.truncate(file.tell() + more)
    said = refuse(processes, "predict", path, digit)
    assert message in said
    assert said.startswith(f"error: {path}: ")


def test_14_a_weight_that_makes_outputs_infinite(processes, run, digit):
    path = run / "weights.safetensors"
    weights, texts = read_tensors(path)
    write_tensors(path, {name: np.full_like(value, 3e38) for name, value in weights.items()}, texts)
    assert f"{run}: the network's outputs are not finite" in refuse(processes, "predict", run, digit, "--json")


def test_14_one_damaged_run_does_not_hide_the_others(processes, run, tmp_path):
    shutil.copytree(run, tmp_path / "other")
    (run / "history.jsonl").write_text('{"epoch": null}')
    done = processes.run("runs", tmp_path)
    assert done.code == 2
    assert "other" in done.out
    assert f"{run / 'history.jsonl'}: damaged: line 1: " in done.err
    assert "at `$.epoch`" in done.err
