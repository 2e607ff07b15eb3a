"""Cases 2, 3 and 6: a full disk, a folder without the right to write, a checkpoint that is damaged."""

import contextlib
import shutil
import subprocess

import pytest

from mlpconv.runs.checkpoint import load
from support.command_processes import STEPS
from support.interrupted_runs import checkpoints, resume_and_compare, start_and_stop

# 2: a full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a megabyte, and what fills it; where none may be made, a limit to files that does as it does."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False)
    if made.returncode:
        yield place, lambda: "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2048, -1))", lambda: None
        return

    def fill():
        with (place / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        return ""

    yield place, fill, lambda: (place / "filler").unlink()
    subprocess.run(["umount", "--lazy", place], check=True)


def test_02_full_disk(processes, command, whole, tmp_path, small_disk):
    place, fill, clear = small_disk
    path = start_and_stop(processes, command, place / "run")
    before = checkpoints(path)
    full = fill()
    done = processes.run("train", "--resume", "--out", path, "--json", program=full)
    assert done.code == 2
    assert done.err.startswith(f"error: {path}: cannot be written: ")
    assert done.err.endswith(f"free some space, then mlpconv train --out {path} --resume\n")
    assert done.out == ""
    assert checkpoints(path) == before
    assert load(path / "checkpoint" / before[-1]).step == 5
    clear()
    resume_and_compare(processes, path, whole)


def test_02_full_disk_before_the_start(processes, command, small_disk):
    place, fill, _ = small_disk
    done = processes.run(*command, "--out", place / "other", program=fill())
    assert done.code == 2
    assert done.err.startswith(f"error: {place / 'other'}: cannot be written: ")
    assert "Traceback" not in done.err


# 3: no right to write


def test_03_folder_not_writable(processes, command, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o555)
    nobody = "import os; os.getuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534))"
    # Missing data would be reported if any work started.
    other = ("--data", "fashion-mnist", "--data-dir", tmp_path / "no-data")
    for out in (folder / "run", folder):
        done = processes.run(*command, *other, "--out", out, program=nobody, MLPCONV_CACHE=str(tmp_path / "cache"))
        assert done.code == 2
        assert done.err.startswith(f"error: {out}: cannot be written: ")
        assert "Permission denied" in done.err
        assert done.err.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_03_path_that_is_not_a_directory(processes, command, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        done = processes.run(*command, "--data", "nothing", "--out", out)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert done.err.startswith(f"error: {out}: ")
    assert (tmp_path / "file").read_text() == "mine"


# 6: a checkpoint that is damaged


@pytest.mark.parametrize("how", ["cut", "flipped", "emptied", "swapped"])
def test_06_damaged_checkpoint(processes, command, whole, tmp_path, how):
    path = start_and_stop(processes, command, tmp_path / "run", stop_at=STEPS + 4)
    older, newest = (path / "checkpoint" / name for name in checkpoints(path))
    content = bytearray(newest.read_bytes())
    if how == "cut":
        newest.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        content[-100] ^= 1
        newest.write_bytes(content)
    elif how == "emptied":
        newest.write_bytes(b"")
    else:
        shutil.copy(path / "weights.safetensors", newest)
    done = (
        resume_and_compare(processes, path, whole)
        if how != "swapped"
        else processes.run("train", "--resume", "--out", path)
    )
    assert done.code == 0
    assert done.err.startswith(f"{newest}: ")
    assert f"renamed to {newest.name}.damaged, resuming from {older.name}\n" in done.err
    assert "resuming from epoch 1, step 0\n" in done.out


def test_06_no_silent_restart_where_all_are_damaged(processes, command, tmp_path):
    path = start_and_stop(processes, command, tmp_path / "run", stop_at=STEPS + 4)
    for each in (path / "checkpoint").iterdir():
        each.write_bytes(each.read_bytes()[:-1])
    done = processes.run("train", "--resume", "--out", path)
    assert done.code == 2
    for name in checkpoints(path):
        assert name in done.err
    assert "start again with another --out" in done.err
