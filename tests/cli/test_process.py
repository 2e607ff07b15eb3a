"""The program as the shell sees it: what it imports, pipes, terminals, full disks."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.heavy_modules import HEAVY

LIGHT = [["--help"], ["models"], ["summary", "nin"], ["data", "list"], ["recipes"], ["train", "--help"], ["--version"]]
WITH_NUMPY = [["data", "list"], ["recipes"]]
MAX_OWN_MODULES, MAX_MODULES = 40, 600


def run(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "mlpconv", *arguments], capture_output=True, text=True, **options)


@pytest.mark.parametrize("command", LIGHT, ids=" ".join)
def test_commands_without_a_network_import_no_framework(command):
    """What keeps these commands fast; `mlpconv bench` measures time, tests do not."""
    code = (
        f"import sys; sys.argv = ['mlpconv', *{command!r}]; import mlpconv.__main__ as program\n"
        "try: program.main()\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout
    modules = done.stderr.split()
    packages = {name.partition(".")[0] for name in modules}
    assert packages.isdisjoint(HEAVY | {"requests"})
    if command not in WITH_NUMPY:
        assert "numpy" not in packages
    own = [name for name in modules if name.startswith("mlpconv.") and not name.startswith("mlpconv.cli")]
    assert len(own) <= MAX_OWN_MODULES, own
    assert len(modules) <= MAX_MODULES


@pytest.mark.parametrize("command", LIGHT, ids=" ".join)
def test_no_control_codes_reach_a_pipe(command):
    done = run(*command, check=True)
    assert "\x1b" not in done.stdout
    assert not done.stderr


@pytest.mark.parametrize("command", [["models"], ["summary", "nin"], ["train", "--help"]], ids=" ".join)
def test_no_color_codes_if_color_is_off(command):
    shown = in_terminal(*command, environment={"NO_COLOR": "1", "TERM": "xterm-256color"})
    assert shown
    # Bold and dim are no colours.
    assert not re.search(rb"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])", shown)


def in_terminal(*arguments, environment):
    """What a command writes to a terminal."""
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
def test_a_closed_pipe_is_not_an_error(command):
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


NOT_YET_REWORDED: set[str] = set()


def commands():
    """Every command by its full name."""
    import typer

    from mlpconv.cli import app

    def walk(command, name):
        if not hasattr(command, "commands") or command.params:
            yield name, command
        for inner, each in getattr(command, "commands", {}).items():
            yield from walk(each, f"{name} {inner}")

    return {name: command for name, command in walk(typer.main.get_command(app), "mlpconv") if name != "mlpconv"}


def test_every_command_shows_an_example():
    assert len(commands()) > 25
    for name, command in commands().items():
        if name != "mlpconv data":
            assert f"Example: {name}" in command.help, name


def test_every_help_text_is_understood_without_context():
    """Imperatives or noun phrases; not the fragments that completed the name of an option."""
    fragments = re.compile(r"(Of|Also|Where|In how|How many|Times that)\b")
    for name, command in commands().items():
        if name in NOT_YET_REWORDED:
            continue
        assert command.help, name
        assert not fragments.match(command.help), name
        for parameter in command.params:
            text = getattr(parameter, "help", None)
            if parameter.name != "help":
                assert text, (name, parameter.name)
                assert not fragments.match(text), (name, parameter.name)


@pytest.mark.parametrize("example", ["summary nin --depth layer", "data list", "recipes", "runs", "doctor"])
def test_examples_work(cli, example):
    assert cli(*example.split()).code == 0


def test_the_exit_code_is_returned():
    assert run("summary", "ninn").returncode == 2
    assert run("summary", "--nonsense").returncode == 2
    assert re.fullmatch(r"mlpconv \d+\.\d+\.\d+\n", run("--version", check=True).stdout)
