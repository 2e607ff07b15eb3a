"""Whatever a file holds, a reader returns what it means or refuses in words: no crash, no hang, no giant allocation."""

import gzip
import json
import os
import resource
import shutil
import signal
import tracemalloc
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.data.known.idx import read_idx
from mlpconv.errors import MlpconvError
from mlpconv.runs import evaluation
from mlpconv.runs.checkpoint import Checkpoint, load, save
from mlpconv.runs.classifier_file import read_classifier, write_classifier
from mlpconv.runs.files import read_tensors, write_tensors
from mlpconv.runs.run import Run
from mlpconv.training.recipe import Recipe, to_toml
from mlpconv.training.recipes import read_recipe
from support.command_processes import INPUTS, LONG, NETWORK
from support.damaged_files import damage
from support.idx_files import write_idx

SECONDS = 10
FACTOR, ALWAYS = 40, 2 << 20
"""The memory that a reader may use: a multiple of the file's size, plus a number of bytes."""
MUTANTS = 24 if LONG else 4
"""Of each input that Hypothesis draws, more are made by a quicker generator."""
many = settings(
    max_examples=INPUTS // (1 + MUTANTS),
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
few = settings(many, max_examples=max(many.max_examples // 5, 12))
"""For readers of which there are five of a kind, or that are made of the others."""
SEEDS = st.integers(0, 2**32)


@pytest.fixture(scope="module", autouse=True)
def bounds(processes):
    """Limit the address space to half a gigabyte more than is in use, since libraries need memory too.

    ``processes`` is requested so that its server starts before the limit.
    """
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (has + (512 << 20), before[1]))
    with pytest.MonkeyPatch.context() as patch:
        # That takes most of the time, and these files need not outlive a power cut.
        patch.setattr(os, "fsync", lambda _: None)
        yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def survive(faults):
    """survive(read, path): it returns or refuses, in time and with little memory."""

    def hang(*_):
        raise AssertionError(f"it took longer than {SECONDS} s")

    def attempt(read, path):
        said = ""
        try:
            read(path)
        except MlpconvError as error:
            said = str(error)
        # A reader that asked for too much, and says that it did not get it, asked for too much.
        assert "the memory of this machine" not in said

    def check(read, path):
        with faults:
            if LONG and faults.put_in % 10:  # being watched takes most of the time; the bound of all holds all the same
                attempt(read, path)
                return
            tracemalloc.start()
            try:
                attempt(read, path)
                taken = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert taken <= FACTOR * path.stat().st_size + ALWAYS

    before = signal.signal(signal.SIGALRM, hang)
    # For all inputs together; one that hangs is noticed then.
    signal.alarm(SECONDS + INPUTS // 20)
    yield check
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def mutants(content, seed):
    """``content`` itself, and some that were like it."""
    draw = Random(seed)
    return [content, *(damage(content, draw) for _ in range(MUTANTS))]


def damaged(*originals):
    """Files that were one of ``originals`` before they were damaged; or never were one."""
    return st.builds(lambda original, seed: damage(original, Random(seed)), st.sampled_from(originals), SEEDS) | (
        st.binary(max_size=64)
    )


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**400, 2**63, -1, 0, 1e308, "nin", "F32", "conv2d", "float32", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def changed(draw, value):
    """A JSON value of which some parts are other values, missing, or under another name."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        inner = value
        while True:
            keys = list(inner) if isinstance(inner, dict) else range(len(inner))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(inner[key], dict | list) and inner[key] and draw(st.integers(0, 3)):
                inner = inner[key]
                continue
            match draw(st.integers(0, 4)):
                case 0:
                    del inner[key]
                case 1 if isinstance(inner, dict):
                    inner[draw(st.text(max_size=8))] = inner[key]
                case _:
                    inner[key] = draw(VALUES)
            break
    return value


def files(tmp_path, make):
    path = tmp_path / "original"
    make(path)
    content = path.read_bytes()
    path.unlink()
    return content


def each(strategy, read, path, survive, times=many):
    @times
    @given(strategy, SEEDS)
    def run(content, seed):
        for mutant in mutants(content, seed):
            path.write_bytes(mutant)
            survive(read, path)

    run()


def test_idx(tmp_path, survive):
    originals = []
    for name, array in [("a", np.arange(60, dtype=np.uint8).reshape(3, 4, 5)), ("b", np.arange(7, dtype=np.int32))]:
        for end in ("", ".gz"):
            write_idx(tmp_path / f"{name}{end}", array)
            originals.append((tmp_path / f"{name}{end}").read_bytes())
    headers = st.builds(
        lambda kind, sizes, rest: b"\0\0" + bytes([kind, len(sizes)]) + np.array(sizes, ">u4").tobytes() + rest,
        st.sampled_from([8, 9, 11, 12, 13, 14, 10]),
        st.lists(st.integers(0, 2**32 - 1), max_size=34),
        st.binary(max_size=40),
    )
    each(
        damaged(*originals) | headers | headers.map(gzip.compress) | damaged(originals[0]).map(gzip.compress),
        read_idx,
        tmp_path / "x",
        survive,
    )


TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((), np.int64), "c": np.ones(3, np.uint8)}


def with_header(content):
    """safetensors files whose header is another JSON value, or not quite JSON."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    texts = changed(header).map(lambda value: json.dumps(value).encode()) | damaged(content[8:start])
    lengths = st.none() | st.integers(0, 2**64 - 1)
    return st.builds(
        lambda text, length: (len(text) if length is None else length).to_bytes(8, "little") + text + content[start:],
        texts,
        lengths,
    )


def test_safetensors(tmp_path, survive):
    content = files(tmp_path, lambda path: write_tensors(path, TENSORS, {"mlpconv.x": "y"}))
    each(damaged(content) | with_header(content), read_tensors, tmp_path / "x", survive)


def test_classifier(tmp_path, survive):
    network = Network.from_dict(NETWORK)
    weights = {"block1.conv.weight": np.zeros((8, 1, 3, 3), np.float32)}
    content = files(
        tmp_path, lambda path: write_classifier(path, weights, network, Preprocess(size=8), tuple("0123456789"))
    )
    start = 8 + int.from_bytes(content[:8], "little")
    texts = json.loads(content[8:start])["__metadata__"]
    del texts["mlpconv.sha256"]

    # Sealed with its damage, as by somebody who means it.
    @few
    @given(st.sampled_from(sorted(texts)), damaged(*(text.encode() for text in texts.values())), SEEDS)
    def run(name, text, seed):
        for mutant in (text, *mutants(texts[name].encode(), seed)[1:]):
            write_tensors(tmp_path / "x.safetensors", weights, texts | {name: mutant.decode("utf-8", "replace")})
            survive(read_classifier, tmp_path / "x.safetensors")

    run()


LINE = {"epoch": 1, "loss": 0.5, "class_accuracy": {"a": None}, "curve": [[0.2, 1.0, 0.5]]}


def test_checkpoint(tmp_path, survive):
    state = {"weights/a": np.array([1.5, -0.0], np.float32), "metrics": np.array([0.1, 3, 4, 0])}
    path = save(tmp_path, Checkpoint(1, 2, [LINE], [[0.4, 0.9, 0.6]], 1.25, state))
    content = path.read_bytes()
    place = json.loads(read_tensors(path)[1]["mlpconv.checkpoint"])

    @many
    @given(damaged(content) | with_header(content), changed(place).map(lambda value: json.dumps(value).encode()), SEEDS)
    def run(whole, text, seed):
        for index, (mutant, said) in enumerate(zip(mutants(whole, seed), mutants(text, seed), strict=True)):
            if index % 2:
                path.write_bytes(mutant)
            else:
                write_tensors(path, state, {"mlpconv.checkpoint": said.decode("utf-8", "replace")})
            survive(load, path)

    run()


@pytest.mark.parametrize("format_", [1, 2])
def test_evaluation(tmp_path, survive, format_):
    tensors = {
        "confusion": np.eye(3, dtype=np.int64),
        "indices": np.arange(2),
        "labels": np.arange(2),
        "predicted": np.arange(2),
        "confidence": np.ones(2, np.float32),
        "images": np.zeros((2, 4, 4, 1), np.uint8),
    }
    said = {"format": format_, "epoch": 2}
    if format_ == 2:
        tensors["given"] = np.ones(2, np.float32)
        tensors |= {f"label_errors.{name}": values for name, values in tensors.items() if name != "confusion"}
        tensors |= {"maps": np.ones((2, 2, 3, 2), np.float32), "rows": np.arange(3.0), "columns": np.arange(2.0)}
        tensors["border"] = np.ones((3, 2))
        said["label_errors"] = 5
    write_tensors(tmp_path / evaluation.EVALUATION, tensors, {"mlpconv.evaluation": json.dumps(said)})
    assert evaluation.load(tmp_path, 3).epoch == 2

    arrays = st.dictionaries(
        st.sampled_from([*tensors, "other"]),
        st.builds(
            np.zeros,
            st.lists(st.integers(0, 4), max_size=5).map(tuple),
            st.sampled_from(["uint8", "int64", "float32", "bool"]),
        ),
        max_size=3,
    )

    @few
    @given(arrays, changed(said) | st.just(said) | VALUES, SEEDS)
    def run(others, value, seed):
        for text in mutants(json.dumps(value).encode(), seed):
            said = {"mlpconv.evaluation": text.decode("utf-8", "replace")}
            write_tensors(tmp_path / evaluation.EVALUATION, tensors | others, said)
            survive(lambda path: evaluation.load(path.parent, 3), tmp_path / evaluation.EVALUATION)

    run()


def test_network_json(tmp_path, survive):
    text = json.dumps(NETWORK).encode()
    each(
        changed(NETWORK).map(lambda value: json.dumps(value).encode()) | damaged(text),
        lambda path: Network.from_json(path.read_bytes()),
        tmp_path / "net.json",
        survive,
    )


@pytest.mark.parametrize("name", ["config.json", "result.json", "history.jsonl", "environment.json", "forecast.json"])
def test_json_of_a_run(tmp_path, survive, whole, name):
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    if name == "forecast.json":
        (path / name).write_text('{"seconds": 3.5, "images_per_second": 20.0, "format": 1}\n')
    content = (path / name).read_bytes()
    value = json.loads(content.splitlines()[0] if name == "history.jsonl" else content)

    def read(_):
        run = Run(path)
        run.config.make_network()
        parts = {"result.json": "result", "history.jsonl": "history", "environment.json": "environment"}
        return getattr(run, parts[name]) if name in parts else run.forecast

    strategy = damaged(content) | changed(value).map(lambda value: json.dumps(value).encode())
    each(strategy, read, path / name, survive, few)


def test_recipe_toml(tmp_path, survive):
    each(damaged(to_toml(Recipe()).encode()), read_recipe, tmp_path / "recipe.toml", survive, few)


def test_files_that_are_not_regular_are_refused_at_once(tmp_path, survive):
    os.mkfifo(tmp_path / "pipe")
    for read in (read_idx, read_tensors, load, read_classifier):
        with pytest.raises(MlpconvError):
            read(tmp_path / "pipe")
        with pytest.raises(MlpconvError):
            read(tmp_path)
