import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

import mlpconv
from mlpconv.data import get_dataset, load_dataset
from mlpconv.data.cache_directory import cache_directory
from mlpconv.errors import DataError
from mlpconv.files import is_partial_file
from support.idx_files import write_idx

HTML = b"<!DOCTYPE html><title>Please log in</title>" * 40
LOADER = """
import logging, sys, msgspec
from mlpconv.data import Source, load_dataset
logging.basicConfig(level="INFO", format="%(message)s")
splits = load_dataset(msgspec.json.decode(sys.argv[1], type=Source))
print(splits.train.fingerprint())
"""


@pytest.fixture
def own():
    """Where the cache keeps the toy."""
    return cache_directory() / "data/toy"


def stored(own):
    return sorted(path.name for path in own.iterdir() if path.name != ".lock")


def whole(toy):
    return sorted(f"{file.name}.gz" for file in toy.files)


def start(source, before="", **options):
    root = Path(mlpconv.__file__).parents[1]
    arguments = [sys.executable, "-c", before + LOADER, msgspec.json.encode(source).decode()]
    return subprocess.Popen(arguments, cwd=root, stdout=subprocess.PIPE, text=True, **options)


def test_download_then_cache(toy, server, own):
    source = toy.source(urls=(server.put_all("a", toy),))
    heard = []
    location = get_dataset(source, progress=lambda *what: heard.append(what))
    assert location == (own, server.url("a"))
    assert stored(own) == whole(toy)
    size = len(toy.stored("train-images-idx3-ubyte"))
    assert heard[0] == ("train-images-idx3-ubyte.gz", size, size)
    assert len(server.requests) == 4
    assert get_dataset(source) == (own, "the cache")
    np.testing.assert_array_equal(load_dataset(source).train.images[..., 0], toy.arrays["train_images"])
    assert len(server.requests) == 4


def spoil(server, toy, how):
    name = "t10k-images-idx3-ubyte"
    good = toy.stored(name)
    path = f"/bad/{name}.gz"
    if how == "html":
        server.put(path, HTML)
    elif how == "missing":
        del server.pages[path]
    elif how == "refused":
        server.put(path, b"", status=503)
    elif how == "cut in transfer":
        server.put(path, good[:200], length=len(good))
    elif how == "cut":
        server.put(path, good[:200])
    elif how == "flipped":
        server.put(path, good[:100] + bytes([good[100] ^ 1]) + good[101:])
    elif how == "endless":
        server.put(path, good + bytes(1 << 20))
    elif how == "other":
        write_idx(toy.directory / "other.gz", toy.arrays["test_images"][::-1])
        server.put(path, toy.stored("other"))


SPOILED = {
    "html": "not an IDX file: expected 00 00 as the first bytes, received 3c 21 44 4f, the text '<!DO'",
    "missing": "the server answered 404 Not Found",
    "refused": "the server answered 503 Service Unavailable",
    "cut in transfer": "IncompleteRead",
    "cut": "truncated: its 200 bytes end in the middle of the gzip stream",
    "flipped": "",
    "endless": "the server sends more than",
    "other": "differs from the published t10k-images-idx3-ubyte: expected SHA-256",
}


@pytest.mark.parametrize(("how", "message"), SPOILED.items())
def test_a_bad_file_is_never_cached_and_the_next_source_is_tried(toy, server, own, how, message):
    bad = server.put_all("bad", toy)
    spoil(server, toy, how)
    with pytest.raises(DataError) as caught:
        load_dataset(toy.source(urls=(bad,)))
    assert f"{bad}: t10k-images-idx3-ubyte" in str(caught.value)
    assert message in str(caught.value)
    assert "t10k-images-idx3-ubyte.gz" not in stored(own)
    assert not list(own.glob("*.part")) + list(own.glob(".*.part"))

    good = server.put_all("good", toy)
    server.requests.clear()
    location = get_dataset(toy.source(urls=(bad, good)))
    assert location.origin.endswith(good)
    assert "/good/t10k-images-idx3-ubyte.gz" in server.requests
    assert "/good/train-images-idx3-ubyte.gz" not in server.requests
    assert stored(own) == whole(toy)


def test_a_file_missing_at_one_url_comes_from_the_next(toy, server, own):
    first, second = server.put_all("a", toy), server.put_all("b", toy)
    del server.pages["/a/train-images-idx3-ubyte.gz"]
    del server.pages["/b/t10k-labels-idx1-ubyte.gz"]
    assert get_dataset(toy.source(urls=(first, second))).origin == f"{first} and {second}"
    assert stored(own) == whole(toy)


def test_a_data_set_found_nowhere_lists_every_remedy(toy, server, own, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    server.put("/dead/x", b"")
    closed = "http://127.0.0.1:9/"
    source = toy.source(
        urls=(server.url("empty"), closed),
        debian_package="dataset-toy",
        debian_directory=str(tmp_path / "debian"),
    )
    with pytest.raises(DataError) as caught:
        load_dataset(source)
    names = ", ".join(f"{file.name}.gz" for file in toy.files)
    lines = str(caught.value).split("\n")
    assert lines == [
        "toy: not on this machine, and could not be downloaded:",
        f"  {own}: no such directory",
        f"  {tmp_path}/debian: no such directory",
        *(f"  {server.url('empty')}: {file.name}.gz: the server answered 404 Not Found" for file in toy.files),
        f"  {closed}: train-images-idx3-ubyte.gz: [Errno 111] Connection refused",
        "  apt-get download dataset-toy: this system has no apt-get",
        "To fix this, do one of the following:",
        "  sudo apt-get install dataset-toy (Debian, Ubuntu)",
        f"  put {names} into {own}; they are available at",
        f"    {server.url('empty')}",
        f"    {closed}",
        "  if the files are elsewhere, pass --data-dir DIR, or set the environment variable MLPCONV_DATA=DIR",
    ]
    assert stored(own) == []


def test_files_copied_to_the_path_in_the_error_are_found(toy, own):
    with pytest.raises(DataError, match=rf"into {own}"):
        load_dataset(toy.source(urls=("http://127.0.0.1:9/",)))
    shutil.copytree(toy.directory, own, dirs_exist_ok=True)
    assert get_dataset(toy.source(), download=False).path == own


def test_without_downloading_nothing_is_requested(toy, server):
    with pytest.raises(DataError, match=r"allow downloading \(download=True\)"):
        load_dataset(toy.source(urls=(server.put_all("a", toy),)), download=False)
    assert server.requests == []
    assert not cache_directory().exists()


def test_installed_package_with_other_contents_is_named_and_skipped(toy, server, own, tmp_path, caplog):
    debian = tmp_path / "debian"
    shutil.copytree(toy.directory, debian)
    (debian / "t10k-labels-idx1-ubyte.gz").write_bytes(HTML)
    source = toy.source(urls=(server.put_all("a", toy),), debian_directory=str(debian))
    assert get_dataset(source).path == own
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"{debian}/t10k-labels-idx1-ubyte.gz: not an IDX file")
    assert stored(own) == whole(toy)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_damaged_cache_is_named_and_replaced(toy, server, own, caplog, damage):
    source = toy.source(urls=(server.put_all("a", toy),))
    get_dataset(source)
    path = own / "train-images-idx3-ubyte.gz"
    good = path.read_bytes()
    bad = {"cut": good[:-50], "flipped": good[:99] + bytes([good[99] ^ 8]) + good[100:], "empty": b"", "other": HTML}
    path.write_bytes(bad[damage])
    server.requests.clear()
    np.testing.assert_array_equal(load_dataset(source).train.images[..., 0], toy.arrays["train_images"])
    assert server.requests == ["/a/train-images-idx3-ubyte.gz"]
    assert path.read_bytes() == good
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"{path}: ")
    assert warning.endswith("; removed from the cache")


def test_two_processes_make_one_download(toy, server, own):
    source = toy.source(urls=(server.put_all("a", toy),))
    server.gate.clear()
    read, write = os.pipe()
    processes = [start(source, stderr=write) for _ in range(2)]
    os.close(write)
    with os.fdopen(read) as said:
        try:
            # One is kept at its first request until the other says that it is waiting: they do overlap.
            assert any("another process is downloading" in line for line in iter(said.readline, ""))
            assert server.asked.wait(60)
            assert len(server.requests) == 1
        finally:
            server.gate.set()
            fingerprints = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert fingerprints == {load_dataset(source, download=False).train.fingerprint()}
    assert len(server.requests) == 4
    assert stored(own) == whole(toy)


def test_a_killed_download_does_not_block_the_next(toy, server, own):
    source = toy.source(urls=(server.put_all("a", toy),))
    server.gate.clear()
    process = start(source, "import mlpconv.data.known.download as download; download._CHUNK_BYTES = 100")
    while not (own.is_dir() and stored(own)):  # until half of the first file has arrived
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    [partial] = stored(own)
    assert is_partial_file(own / partial)
    server.gate.set()
    get_dataset(source)
    assert stored(own) == whole(toy)


def test_a_full_disk_is_reported_and_leaves_no_files(toy, server, own):
    import resource

    source = toy.source(urls=(server.put_all("a", toy),))
    process = start(
        source,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{own}: the cache cannot be written: File too large; fix this, or set MLPCONV_CACHE" in said
    assert stored(own) == []


def test_a_cache_that_cannot_be_created(toy, server, tmp_path):
    (tmp_path / "file").write_text("")
    source = toy.source(urls=(server.put_all("a", toy),), debian_package="dataset-toy")
    with pytest.raises(DataError) as caught:
        load_dataset(source, cache=tmp_path / "file")
    assert "file/data/toy: the cache cannot be written: Not a directory" in str(caught.value)
    assert "sudo apt-get install dataset-toy" in str(caught.value)
    assert server.requests == []


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="there is no dpkg-deb here")
def test_a_debian_package_that_is_not_installed(toy, own, tmp_path, monkeypatch):
    build = tmp_path / "build"
    shutil.copytree(toy.directory, build / "usr/share/datasets/toy")
    (build / "DEBIAN").mkdir()
    (build / "DEBIAN/control").write_text(
        "Package: dataset-toy\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <no@body>\nDescription: toy\n"
    )
    subprocess.run(["dpkg-deb", "--build", build, tmp_path / "toy.deb"], check=True, capture_output=True)
    commands = tmp_path / "bin"
    commands.mkdir()
    apt = commands / "apt-get"
    apt.write_text(f'#!/bin/sh\n[ "$*" = "download dataset-toy" ] && cp {tmp_path}/toy.deb dataset-toy_1_all.deb\n')
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    source = toy.source(
        urls=("http://127.0.0.1:9/",), debian_package="dataset-toy", debian_directory="/usr/share/datasets/toy"
    )
    assert get_dataset(source) == (own, "apt-get download dataset-toy")
    assert stored(own) == whole(toy)

    shutil.rmtree(own)
    apt.write_text("#!/bin/sh\necho E: Unable to locate package >&2\nexit 100\n")
    with pytest.raises(DataError, match="apt-get failed with exit status 100: E: Unable to locate package"):
        get_dataset(source)
