"""The program as the shell sees it: what it imports, how fast it answers, pipes, terminals, full disks."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

LIGHT = [["--help"], ["models"], ["summary", "nin"], ["data", "list"], ["recipes"], ["train", "--help"], ["--version"]]
HEAVY = {"torch", "keras", "tensorflow", "jax", "mxnet", "matplotlib", "PIL", "requests", "sklearn", "scipy"}


def run(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "mlpconv", *arguments], capture_output=True, text=True, **options)


@pytest.mark.parametrize("command", LIGHT, ids=" ".join)
def test_it_imports_no_framework(command):
    code = (
        f"import sys; sys.argv = ['mlpconv', *{command!r}]; import mlpconv.__main__ as program\n"
        "try: program.main()\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout
    assert {name.partition(".")[0] for name in done.stderr.split()}.isdisjoint(HEAVY)


@pytest.mark.parametrize("command", LIGHT, ids=" ".join)
def test_it_answers_at_once(command):
    def seconds():
        before = os.times()
        run(*command, check=True)
        after = os.times()
        # Of the processor, since others may be using it too.
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert any(seconds() < 0.5 for _ in range(3))


@pytest.mark.parametrize("command", LIGHT, ids=" ".join)
def test_no_control_codes_reach_a_pipe(command):
    done = run(*command, check=True)
    assert "\x1b" not in done.stdout
    assert not done.stderr


@pytest.mark.parametrize("command", [["models"], ["summary", "nin"], ["train", "--help"]], ids=" ".join)
def test_no_colour_where_it_is_not_wanted(command):
    shown = in_terminal(*command, environment={"NO_COLOR": "1", "TERM": "xterm-256color"})
    assert shown
    # Bold and dim are no colours.
    assert not re.search(rb"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])", shown)


def in_terminal(*arguments, environment):
    """What a command writes into a terminal of its own."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlpconv", *arguments],
        stdout=follower,
        stderr=follower,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "100", **environment},
    )
    os.close(follower)
    shown = b""
    try:
        while part := os.read(leader, 65536):
            shown += part
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(leader)
    assert process.wait() == 0
    return shown


@pytest.mark.parametrize("command", [["models"], ["models", "--json"], ["summary", "nin", "--json"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_mishap(command):
    process = subprocess.Popen(
        [sys.executable, "-m", "mlpconv", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    _, said = process.communicate()
    assert not said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", [["models"], ["models", "--json"]], ids=" ".join)
def test_a_full_disk_is_one_message(command):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mlpconv", *command], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the output: cannot be written")
    assert done.stderr.count("\n") == 1


def test_every_command_shows_an_example():
    import typer

    from mlpconv.cli import app, data

    commands = [(command.callback.__name__, command.callback.__doc__) for command in app.registered_commands]
    commands += [(command.callback.__name__, command.callback.__doc__) for command in data.app.registered_commands]
    assert len(commands) > 10
    for name, text in commands:
        assert "Example: mlpconv " in text, name
    assert isinstance(app, typer.Typer)


@pytest.mark.parametrize("example", ["summary nin --depth layer", "data list", "recipes", "runs", "doctor"])
def test_examples_work(cli, example):
    assert cli(*example.split()).code == 0


def test_the_program_ends_with_the_code():
    assert run("summary", "ninn").returncode == 2
    assert run("summary", "--nonsense").returncode == 2
    assert re.fullmatch(r"mlpconv \d+\.\d+\.\d+\n", run("--version", check=True).stdout)
