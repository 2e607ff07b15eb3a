"""Every command that cannot write says which file, why, and what to do; nothing that was there is lost."""

import os
import shutil
import subprocess
import sys

import pytest

from support.command_processes import STEPS, Ended, program_at_step
from support.interrupted_runs import checkpoints, resume_and_compare

SMALL_FILES = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2048, -1))"
READ_ONLY = (
    "mount --make-rprivate / && mount -t tmpfs -o ro none /var/tmp && mount --bind /tmp /tmp && "
    "mount -o remount,bind,ro /tmp && cd /tmp || exit 77"
)
"""For a shell with separate mounts: what makes the directories of temporary files read-only."""


def says(done, *parts):
    """A command that refused in one line, which contains ``parts``."""
    assert done.code == 2, done
    assert "Traceback" not in done.err, done.err
    message = done.err.splitlines()[-1]
    assert message.startswith("error: "), done.err
    for part in parts:
        assert str(part) in message


@pytest.fixture
def disk(tmp_path):
    """disk(options): a small file system, mounted with these options, and again with others."""
    place, mounted = tmp_path / "disk", False
    place.mkdir()

    def mount(options):
        nonlocal mounted
        how = f"remount,{options}" if mounted else options
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", how, "none", place], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted = True
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", "--lazy", place], check=True)


WRITERS = {
    "report": ("report", "{run}", "--out", "{out}.html"),
    "report in the run": ("report", "{run}"),
    "convert": ("convert", "{run}", "--out", "{out}.safetensors"),
    "convert to PyTorch": ("convert", "{run}", "--out", "{out}.pt"),
    "convert to Gluon": ("convert", "{run}", "--out", "{out}.params"),
    "compare": ("compare", "{run}", "{whole}", "--out", "{out}.png"),
    "predict": ("predict", "{run}", "{digit}", "--out", "{out}.csv"),
}


CASES = [
    (name, how)
    for name in WRITERS
    for how in ("limit", "read-only", "missing directory")
    # One line of predictions is smaller than the limit, and the directory of a run is not missing.
    if (name, how) not in {("predict", "limit"), ("report in the run", "missing directory")}
]


@pytest.mark.parametrize(("name", "how"), CASES)
def test_a_file_that_cannot_be_written(processes, run, whole, digit, disk, tmp_path, name, how):
    out, program = tmp_path / "result", ""
    if how == "limit":
        program = SMALL_FILES
    elif how == "read-only":
        place = disk("size=2m")
        if name == "report in the run":
            shutil.copytree(run, place / "run")
            run = place / "run"
        out = place / "result"
        disk("ro")
    else:
        out = tmp_path / "nowhere" / "result"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    places = {"run": run, "whole": whole, "out": out, "digit": digit}
    done = processes.run(*(part.format(**places) for part in WRITERS[name]), program=program)
    reason, remedy = {
        "limit": ("File too large", "raise the limit on the size of files (ulimit -f)"),
        "read-only": ("Read-only file system", "mount the file system for writing"),
        "missing directory": ("No such file or directory", "choose another path"),
    }[how]
    says(done, "cannot be written: ", reason, remedy, run if name == "report in the run" else out)
    assert not list(tmp_path.glob("result*"))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_predictions_on_a_full_disk(processes, run, digit, disk, tmp_path):
    place = disk("size=64k")
    many = tmp_path / "many"
    many.mkdir()
    for number in range(300):
        shutil.copy(digit, many / f"{number:0200}.png")
    done = processes.run("predict", run, many, "--out", place / "p.csv")
    says(done, f"{place / 'p.csv'}: cannot be written: No space left on device; free some space")
    assert list(place.iterdir()) == []


def test_output_to_a_full_device(processes, run):
    full = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"
    for arguments in (("report", run, "--json"), ("runs", run.parent), ("recipes", "--json")):
        says(processes.run(*arguments, program=full), "the output: cannot be written: No space left on device")


@pytest.mark.parametrize("when", ["in an epoch", "at its end"])
def test_a_file_system_that_turns_read_only_while_training(processes, command, whole, disk, when):
    place = disk("size=8m")
    path = place / "run"
    # Over the directory, because the lock is open for writing, which keeps the file system itself from being changed.
    turn = f"assert not os.system('mount --bind {place} {place} && mount -o remount,bind,ro {place}')"
    step = 4 if when == "in an epoch" else STEPS
    every = ("--checkpoint-every", "1step")
    done = processes.run(*command, *every, "--out", path, program=program_at_step(step, turn))
    says(done, f"{path}: cannot be written: Read-only file system; what was written before is complete", "--resume")
    assert checkpoints(path)
    subprocess.run(["umount", place], check=True)
    resume_and_compare(processes, path, whole)


def test_a_run_directory_that_disappears_while_training(processes, command, tmp_path):
    path = tmp_path / "run"
    gone = f"__import__('shutil').rmtree({str(path)!r})"
    done = processes.run(*command, "--out", path, program=program_at_step(4, gone))
    says(done, f"{path}: cannot be written: No such file or directory")


@pytest.mark.parametrize("size", ["60k", "120k"])
def test_a_search_on_a_full_disk_can_be_continued(processes, command, disk, size):
    pytest.importorskip("optuna")
    place = disk(f"size={size}")
    arguments = ("tune", "--data", "digits", "--trials", "1", "--images", "60", "--out", place / "search")
    arguments += ("--set", "epochs=1", "--set", f"model={processes.folder / 'small.json'}", "--set", "batch_size=60")
    arguments += ("--space", "learning_rate=1e-4..1e-2")
    says(processes.run(*arguments), "cannot be", "free some space")
    disk("size=20m")
    assert processes.run(*arguments).code == 0
    disk("ro")
    says(processes.run(*arguments), "readonly database")


@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed")
def test_no_temporary_directory(tmp_path):
    plan = (sys.executable, "-m", "mlpconv", "train", "--data", "digits", "--model", "nin_tiny", "--dry-run")
    # PyTorch asks for one only if no process before it, such as this one, has passed on its choice.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TORCH")}
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{READ_ONLY}; exec "$@"', "sh", *plan],
        env=inherited | {"TMPDIR": str(tmp_path / "nowhere"), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode == 77 or "unshare" in ended.stderr:
        pytest.skip(f"mount namespaces are not available here: {ended.stderr.strip()}")
    says(
        Ended(ended.returncode, ended.stdout, ended.stderr),
        "no directory for temporary files can be written",
        "set TMPDIR to one that can",
    )
