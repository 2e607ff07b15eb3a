"""Kills before every change of a file in the cache of decoded images: the next start has exactly the right images.

The quick tests leave out some kills of the longer programs; `make test-long` has all.
"""

import hashlib
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpconv.arch.network import Preprocess
from mlpconv.data.folders import cache as folder_cache
from support.command_processes import KILLED, LONG

CONSTANTS = {"FILES_PER_JOB": 3, "_SYNC_INTERVAL_SECONDS": 0.0}
"""With these, so few images are several jobs, and each writes a line to the journal."""

PROGRAM = """
import hashlib, os, signal, sys
from pathlib import Path
import numpy as np
from mlpconv.arch.network import Preprocess
from mlpconv.data.folders import cache, workers

for name, value in {constants}.items():
    setattr(cache, name, value)

def decode(root, progress=None):
    files = sorted(os.listdir(root))
    digests = [hashlib.sha256(Path(root, name).read_bytes()).digest() for name in files]
    digests = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    preprocess = Preprocess(size=4, source_size=(4, 4), mode="L")
    return cache.decode_files(Path(root), files, digests, preprocess, cache={cache!r}, progress=progress)

"""

KILL = """
left = {number}

def count(event="", arguments=()):
    global left
    opens_to_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if opens_to_write or event in ("", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

def counted(function):
    return lambda *arguments: (count(), function(*arguments))[1]

os.fsync = counted(os.fsync)
sys.addaudithook(count)
{action}
sys.exit()
"""
"""Is killed before the change of a file with this number, from 0."""

STOP_HALFWAY = """
def stop(what, done, total):
    if done >= 3:
        raise SystemExit
decode({root!r}, stop)
"""
DECODE = "decode({root!r})"
CLEAN = "cache.clean({cache!r})"
DECODE_OTHER = "decode({other!r})"
MAKE_ROOM = 'os.environ["MLPCONV_CACHE_GB"] = "0"; cache._remove_oldest(Path({cache!r}, "folders"), keep=Path())'


def make_images(folder, shade):
    """Seven images, of which the fourth cannot be decoded."""
    folder.mkdir()
    for index in range(7):
        Image.fromarray(np.full((4, 4), shade + index, np.uint8)).save(folder / f"{index}.png")
    whole = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(whole[: len(whole) // 2])


class Cache:
    """A cache, and the two folders whose images it holds."""

    def __init__(self, world, path):
        self.world, self.path = world, path
        self.places = {"root": str(path / "images"), "other": str(path / "other"), "cache": str(path / "cache")}
        make_images(path / "images", 50)
        make_images(path / "other", 150)

    def run(self, action, number=10**9):
        program = PROGRAM.format(constants=CONSTANTS, **self.places)
        return self.world.run(program=program + KILL.format(number=number, action=action.format(**self.places)))

    def save(self):
        """Remember the state of the cache, to which ``restore`` returns."""
        Path(self.places["cache"]).mkdir(exist_ok=True)
        shutil.copytree(self.places["cache"], self.path / "saved")

    def restore(self):
        shutil.rmtree(self.places["cache"])
        shutil.copytree(self.path / "saved", self.places["cache"])


def check(cache, name, shade):
    """Decode a folder, as the next start does, and compare all pixels."""
    root = cache.path / name
    files = sorted(file.name for file in root.iterdir())
    digests = b"".join(hashlib.sha256((root / file).read_bytes()).digest() for file in files)
    preprocess = Preprocess(size=4, source_size=(4, 4), mode="L")
    rows = np.frombuffer(digests, np.uint8).reshape(-1, 32)
    decoded = folder_cache.decode_files(root, files, rows, preprocess, cache=cache.places["cache"])
    assert list(decoded.errors) == [3]
    np.testing.assert_array_equal(decoded.kept, [0, 1, 2, 4, 5, 6])
    np.testing.assert_array_equal(decoded.images[:, 0, 0, 0], shade + decoded.kept)
    np.testing.assert_array_equal(decoded.images, decoded.images[:, :1, :1] + np.zeros((4, 4, 1), np.uint8))


@pytest.mark.parametrize(
    ("before", "action", "every"),
    [
        ([], DECODE, 2),
        ([STOP_HALFWAY], DECODE, 4),
        ([DECODE, "os.truncate(next(Path({cache!r}).glob('*/*/images.u8')), 5)"], DECODE, 4),
        ([DECODE], CLEAN, 1),
        ([STOP_HALFWAY], CLEAN, 1),
        ([DECODE, DECODE_OTHER], MAKE_ROOM, 1),
    ],
    ids=["decoding", "continuing", "replacing a damaged entry", "clean", "clean of half an entry", "making room"],
)
def test_a_kill_leaves_no_mixed_entry(world, tmp_path, monkeypatch, faults, before, action, every):
    for name, value in CONSTANTS.items():
        monkeypatch.setattr(folder_cache, name, value)
    cache = Cache(world, tmp_path)
    for each in before:
        assert cache.run(each).code == 0
    cache.save()
    for number in itertools.count(step=1 if LONG else every):
        cache.restore()
        ended = cache.run(action, number)
        if ended.code != KILLED:
            assert (ended.code, ended.err) == (0, "")
            break
        with faults:
            check(cache, "images", 50)
            if DECODE_OTHER in before:
                check(cache, "other", 150)
            folder_cache.clean(cache.places["cache"])
            assert folder_cache.entries(cache.places["cache"]) == []
    assert number >= 4, "too few kills: changes of files were not noticed"
