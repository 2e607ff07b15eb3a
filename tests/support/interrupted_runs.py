"""Runs that are stopped and resumed."""

from support.command_processes import KILLED, SIGTERM_SELF, TERMINATED, program_at_step
from support.run_contents import contents_without_times

SLEEP = "print('slow', file=sys.stderr, flush=True); time.sleep(600)"


def resume_and_compare(processes, path, whole, **options):
    """Resume to the end and compare the run with one that was not interrupted. Returns the ended process."""
    done = processes.run("train", "--resume", "--out", path, **options)
    assert done.code == 0, done.err
    assert contents_without_times(path) == contents_without_times(whole)
    # Hidden files, such as the lock of a killed process, may remain.
    left = {each.name for each in path.iterdir() if not each.name.startswith(".")}
    assert left == {each.name for each in whole.iterdir() if not each.name.startswith(".")}
    return done


def start_and_stop(processes, command, path, stop_at=5, how=SIGTERM_SELF, **options):
    """Start a run that stops at a step."""
    done = processes.run(*command, "--out", path, program=program_at_step(stop_at, how), **options)
    assert done.code == (TERMINATED if how == SIGTERM_SELF else KILLED), done.err
    return path


def checkpoints(path):
    return sorted(each.name for each in (path / "checkpoint").iterdir())
