"""Cases 19 to 26 and 34: data that are damaged, false, missing or empty are refused in words, without much memory."""

import gzip
import json
import signal
import threading

import msgspec
import numpy as np
import pytest

from support.command_processes import KILLED, training_arguments
from support.idx_files import write_idx
from support.toy_data import ROLES, Server, Toy

LIMIT = 48 << 20
"""Bytes that a command may use in addition to those at its start."""

REGISTER = """
import json, os, resource, mlpconv.data.known.registry as sources, msgspec
os.environ.pop("http_proxy", None)
source = msgspec.json.decode({source!r}, type=sources.Source)
sources._SOURCES["toy"] = source
has = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (has + {limit}, resource.RLIM_INFINITY))
"""


@pytest.fixture
def toy(tmp_path):
    return Toy(tmp_path / "published")


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.gate.set()
        server.shutdown()
        thread.join()


def known(source, limit=LIMIT):
    """A program to which the data set `toy` is known, and which may not take much memory."""
    return REGISTER.format(source=msgspec.json.encode(source).decode(), limit=limit)


def refuse(processes, toy, arguments=("data", "show", "toy"), **options):
    """What a command says that refuses the toy's files."""
    done = processes.run(*arguments, "--data-dir", toy.directory, program=known(toy.source()), **options)
    assert done.code == 2, done
    assert "Traceback" not in done.err
    assert done.err.startswith("error: ")
    return done.err


def test_19_truncated_gzip(processes, toy):
    path = toy.directory / f"{ROLES['train_images']}.gz"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2])
    said = refuse(processes, toy)
    assert (
        f"{path}: truncated: its {size // 2:,} bytes end in the middle of the gzip stream; download the file again"
        in said
    )


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"\0\1\x08\3", "expected 00 00 as the first bytes, received 00 01 08 03"),
        (b"\0\0\x0a\3", "expected an IDX type of uint8 (0x08)"),
        (b"\0\0\x08\1", "announces"),
    ],
)
def test_20_wrong_magic_or_type(processes, toy, header, said):
    path = toy.directory / f"{ROLES['train_images']}.gz"
    path.write_bytes(gzip.compress(header + gzip.decompress(path.read_bytes())[4:]))
    text = refuse(processes, toy)
    assert str(path) in text
    assert said in text


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("shape", [(60_000, 28, 28), (2**32 - 1, 2**32 - 1, 2**32 - 1), (2**31, 1, 1)])
def test_21_header_larger_than_the_file(processes, toy, shape, zipped):
    path = toy.directory / f"{ROLES['train_images']}.gz"
    content = b"\0\0\x08\3" + np.array(shape, ">u4").tobytes() + bytes(100)
    path.write_bytes(gzip.compress(content) if zipped else content)
    said = refuse(processes, toy)
    assert f"{path}: " in said
    assert "its header announces" in said


def test_22_counts_differ(processes, tmp_path):
    toy = Toy(tmp_path / "published", train_labels=np.zeros(49, np.uint8))
    assert "50 images but 49 labels" in refuse(processes, toy)


def test_23_label_out_of_range(processes, tmp_path):
    labels = np.arange(50, dtype=np.uint8) % 3
    labels[17] = 200
    toy = Toy(tmp_path / "published", train_labels=labels)
    assert "label 200 at index 17 is outside 0 to 2" in refuse(processes, toy)


@pytest.mark.parametrize("how", ["html", "other"])
def test_24_download_of_another_file(processes, toy, server, tmp_path, how):
    bad, good = server.put_all("bad", toy), server.put_all("good", toy)
    name = ROLES["test_images"]
    if how == "html":
        server.put(f"/bad/{name}.gz", b"<!DOCTYPE html><title>Please log in</title>" * 40)
    else:
        write_idx(tmp_path / "other.gz", toy.arrays["test_images"][::-1])
        server.put(f"/bad/{name}.gz", (tmp_path / "other.gz").read_bytes())
    cache = tmp_path / "cache"
    get = ("data", "get", "toy", "--json")
    program = known(toy.source(urls=(bad,)))
    done = processes.run(*get, program=program, MLPCONV_CACHE=str(cache))
    assert done.code == 2
    assert f"{bad}: {name}" in done.err
    assert not (cache / "data" / "toy" / f"{name}.gz").exists()
    done = processes.run(*get, program=known(toy.source(urls=(bad, good))), MLPCONV_CACHE=str(cache))
    assert done.code == 0, done.err
    assert json.loads(done.out)["path"] == str(cache / "data" / "toy")
    assert (cache / "data" / "toy" / f"{name}.gz").read_bytes() == toy.stored(name)


def test_25_offline(processes, toy, tmp_path):
    source = toy.source(urls=("http://127.0.0.1:9/",), debian_package="dataset-toy", debian_directory="/nowhere")
    done = processes.run("train", "--data", "toy", program=known(source), MLPCONV_CACHE=str(tmp_path), PATH="")
    assert done.code == 2
    for way in ("Connection refused", "sudo apt-get install dataset-toy", "put train-images", "--data-dir DIR"):
        assert way in done.err
    assert not (processes.folder / "runs").exists()


def test_26_two_processes_download_at_once(processes, toy, server, tmp_path):
    source = toy.source(urls=(server.put_all("a", toy),))
    server.gate.clear()
    two = [
        processes.start("data", "get", "toy", "--json", program=known(source), MLPCONV_CACHE=str(tmp_path / "cache"))
        for _ in range(2)
    ]
    assert server.asked.wait(60)
    server.gate.set()
    for process in two:
        done = process.wait()
        assert done.code == 0, done.err
    assert len(server.requests) == 4


def test_26_a_killed_download_leaves_no_invalid_file(processes, toy, server, tmp_path):
    source = toy.source(urls=(server.put_all("a", toy),))
    server.gate.clear()
    get = ("data", "get", "toy", "--json")
    first = processes.start(*get, program=known(source), MLPCONV_CACHE=str(tmp_path / "cache"))
    assert server.asked.wait(60)
    first.send(signal.SIGKILL)
    assert first.wait().code == KILLED
    server.gate.set()
    done = processes.run(*get, program=known(source), MLPCONV_CACHE=str(tmp_path / "cache"))
    assert done.code == 0, done.err
    names = {each.name for each in (tmp_path / "cache" / "data" / "toy").iterdir()} - {".lock"}
    assert names == {f"{name}.gz" for name in ROLES.values()}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"batch-size": 0}, "batch_size must be at least 1, not 0"),
    ],
)
def test_34_an_empty_epoch_or_batch(processes, tmp_path, changes, said):
    done = processes.run(*training_arguments(tmp_path, **changes), "--out", tmp_path / "run")
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", ["train", "test"])
def test_34_an_empty_data_set(processes, tmp_path, part):
    toy = Toy(tmp_path / "published")
    for role in ("images", "labels"):
        path = toy.directory / f"{ROLES[f'{part}_{role}']}.gz"
        head = gzip.decompress(path.read_bytes())[:4]
        path.write_bytes(gzip.compress(head + b"\0\0\0\0" + np.array((6, 7)[: head[3] - 1], ">u4").tobytes()))
    command = training_arguments(tmp_path, data="toy")
    assert "contains no values: its IDX header specifies the shape 0" in refuse(
        processes, toy, [*command, "--out", str(tmp_path / "run")]
    )
    assert not (tmp_path / "run").exists()
