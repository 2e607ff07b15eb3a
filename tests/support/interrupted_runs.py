"""Runs that were stopped, and that go on."""

from support.command_processes import KILLED, SIGTERM_SELF, TERMINATED, at_step
from support.run_contents import timeless

SLEEP = "print('slow', file=sys.stderr, flush=True); time.sleep(600)"


def goes_on(world, path, whole, **options):
    """Resume to the end; the run is then as if it had never been interrupted. Returns what the resume said."""
    done = world.run("train", "--resume", "--out", path, **options)
    assert done.code == 0, done.err
    assert timeless(path) == timeless(whole)
    # A lock that its holder left is nobody's, and so is what a forecast was killed at.
    left = {each.name for each in path.iterdir() if not each.name.startswith(".")}
    assert left == {each.name for each in whole.iterdir() if not each.name.startswith(".")}
    return done


def begin(world, command, path, stop_at=5, how=SIGTERM_SELF, **options):
    """A run that has been stopped at a step."""
    done = world.run(*command, "--out", path, program=at_step(stop_at, how), **options)
    assert done.code == (TERMINATED if how == SIGTERM_SELF else KILLED), done.err
    return path


def checkpoints(path):
    return sorted(each.name for each in (path / "checkpoint").iterdir())
