"""Commands on a run or classifier whose files were edited, damaged or made to harm: they do it, or refuse in words."""

import json
import resource
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from random import Random

import numpy as np
import pytest
import typer

import mlpconv.cli
from mlpconv.__main__ import main
from mlpconv.backends.weights import INITIALIZERS, initialize
from mlpconv.hardware import resident_bytes
from mlpconv.runs.files import SEAL, read_tensors, write_tensors
from mlpconv.runs.run import Failure
from support.command_processes import FIRST_SEED, INPUTS
from support.damaged_files import change_json, damage
from support.run_directories import make_run

SECONDS, BYTES = 20, 1 << 30
MAX_FAILURES = 20
"""Failures after which a long test ends."""
JSON_FILES = ("config.json", "result.json", "environment.json", "forecast.json", "failed.json")
TENSOR_FILES = ("weights.safetensors", "evaluation.safetensors", "class_maps.safetensors")
COMMANDS = {
    "report": ("report", "{run}", "--out", "{out}.html", "--json"),
    "compare": ("compare", "{run}", "{other}", "--out", "{out}.html"),
    "compare --json": ("compare", "{other}", "{run}", "--json"),
    "runs": ("runs", "{folder}"),
    "runs --json": ("runs", "{folder}", "--json"),
    "predict": ("predict", "{run}", "{image}", "--json"),
    "predict file": ("predict", "{run}/weights.safetensors", "{image}", "--json"),
    "convert": ("convert", "{run}", "--out", "{out}.safetensors", "--json"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with two runs that have every file, and an image."""
    pytest.importorskip("torch")
    from PIL import Image

    folder = tmp_path_factory.mktemp("runs")
    for name in ("run", "other"):
        run = make_run(folder / name, epochs=2, images=40)
        run.write_weights(initialize(run.config.make_network(), INITIALIZERS["he"], 1))
        run.write_failure(Failure("the loss is not finite", []))
        maps = {
            "before": np.ones((2, 10, 3, 3), np.float32),
            "rectified": np.array(True),
            "images": np.zeros((2, 28, 28, 1), np.uint8),
            "indices": np.arange(2),
            "labels": np.arange(2),
            "rows": np.arange(3.0),
            "columns": np.arange(3.0),
        }
        write_tensors(run.path / "class_maps.safetensors", maps, {"format": "1"})
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(folder / "image.png")
    return folder


@pytest.fixture
def command(world, tmp_path, monkeypatch, capfd):
    """command(name): run it on the damaged run; its exit code, and what it wrote on standard error."""
    places = {"run": world / "run", "other": world / "other", "folder": world, "image": world / "image.png"}

    def hang(*_):
        raise AssertionError(f"it took longer than {SECONDS} s")

    def run(name):
        out = tmp_path / "out"
        arguments = [part.format(**places, out=out) for part in COMMANDS[name]]
        monkeypatch.setattr(sys, "argv", ["mlpconv", *arguments])
        before, code = signal.signal(signal.SIGALRM, hang), 0
        signal.alarm(SECONDS)
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        for path in tmp_path.glob("out*"):
            path.unlink()
        return code, capfd.readouterr().err

    # Typer builds its commands again for each call, which takes longer than most of them.
    monkeypatch.setattr(mlpconv.cli, "app", typer.main.get_command(mlpconv.cli.app))
    # The first call imports what all need, before memory is limited.
    for name in COMMANDS:
        assert run(name)[0] == 0, name
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (has + BYTES, limits[1]))
    yield run
    resource.setrlimit(resource.RLIMIT_AS, limits)


@contextmanager
def restored(path):
    """Put the content of a file back after the block, in which it is damaged."""
    kept = path.with_name(f"{path.name}.kept")
    shutil.copy(path, kept)
    yield
    kept.replace(path)


def damage_file(path, draw):
    """Damage a file of a run; which commands read it."""
    if path.name in TENSOR_FILES:
        kind = draw.randrange(4)
        if kind == 0:
            path.write_bytes(damage(path.read_bytes(), draw))
        elif kind == 1:
            _change_header(path, draw)
        else:
            tensors, texts = read_tensors(path)
            if kind == 2:
                _change_tensor(tensors, draw)
            else:
                _change_text(texts, draw)
            write_tensors(path, tensors, texts)
        return ("predict", "predict file", "convert") if path.name == TENSOR_FILES[0] else ("report",)
    content = path.read_bytes()
    if draw.random() < 0.25:
        path.write_bytes(damage(content, draw))
    elif path.suffix == ".jsonl":
        lines = [json.loads(line) for line in content.splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in change_json(lines, draw)))
    else:
        path.write_text(json.dumps(change_json(json.loads(content), draw)))
    if path.name in ("history.jsonl", "result.json"):
        return "report", "compare", "compare --json", "runs", "runs --json"
    return tuple(COMMANDS) if path.name == "config.json" else ("report", "compare")


def _change_header(path, draw):
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.get("__metadata__", {}).pop(SEAL, None)
    text = json.dumps(change_json(header, draw)).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[start:])


def _change_text(texts, draw):
    name = draw.choice(sorted(texts))
    if not texts[name].startswith(("{", "[")):
        texts[name] = draw.choice(("", "0", "-1", "NaN", "1e999", "9" * 5000, "[]", "x" * 100_000, "1.5"))
        return
    texts[name] = json.dumps(change_json(json.loads(texts[name]), draw)).encode("utf-8", "replace").decode()


def _change_tensor(tensors, draw):
    name = draw.choice(sorted(tensors))
    value = tensors[name]
    match draw.randrange(5):
        case 0:
            del tensors[name]
        case 1:
            tensors[name] = value.astype(draw.choice(("uint8", "int64", "float32", "float64", "bool")))
        case 2:
            tensors[name] = value.reshape(-1)[: draw.randrange(value.size + 1)]
        case 3 if value.dtype.kind == "f":
            tensors[name] = np.full_like(value, draw.choice((np.nan, np.inf, 3e38, -3e38, 1e-40)))
        case _:
            tensors[name] = np.full_like(value, draw.choice((0, 1, 127)))


def check_command(command, name):
    """Run a command, which must succeed or refuse in words, in time."""
    began = time.monotonic()
    code, said = command(name)
    assert time.monotonic() - began < SECONDS
    assert code in (0, 2), (code, said)
    assert "Traceback" not in said, said
    assert (code == 2) <= (said.strip() != "")
    assert len(said) < 20_000, len(said)


def test_damaged_files_end_in_a_result_or_in_words(world, command, faults):
    started, failed = resident_bytes(), []
    files = ["history.jsonl", *JSON_FILES, *TENSOR_FILES]
    for seed in range(FIRST_SEED, FIRST_SEED + INPUTS // 3):
        draw = Random(seed)
        path = world / "run" / draw.choice(files)
        with restored(path):
            for name in damage_file(path, draw):
                try:
                    with faults:
                        check_command(command, name)
                except Exception as error:
                    failed.append(f"seed {seed}: {path.name}: {name}: {error!r}")
        if len(failed) >= MAX_FAILURES:
            break
    assert not failed, "\n".join(failed)
    assert resident_bytes() - started < BYTES
