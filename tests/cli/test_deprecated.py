"""Old names of options keep working for one version."""

import pytest
import typer
from typer.testing import CliRunner

from mlpconv.cli.deprecated import command_class, renamed_options, replace_old_options

NAMES = {"--old": "--new", "--pretrained": "--new-head --start-from"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--old", "3"], ["--new", "3"]),
        (["--old=a b=c"], ["--new=a b=c"]),
        (["--new", "3"], ["--new", "3"]),
        (["--pretrained", "run one"], ["--new-head", "--start-from", "run one"]),
        (["--pretrained=run one"], ["--new-head", "--start-from=run one"]),
        (["--", "--old"], ["--", "--old"]),
        (["--older"], ["--older"]),
    ],
)
def test_deprecated_options_are_replaced(arguments, expected):
    assert replace_old_options(arguments, NAMES, quiet=True) == expected


def test_the_notice_is_printed_once_on_standard_error(capsys):
    replace_old_options(["--old", "1", "--old", "2"], NAMES)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "--old is now --new; the old name will be removed in the next version\n"


def test_an_old_option_works_and_is_hidden_in_the_help():
    @renamed_options({"--most-images": "--max-images"})
    def measure(max_images: int = 0) -> None:
        print(max_images)

    app = typer.Typer()
    app.command(cls=command_class(measure))(measure)
    runner = CliRunner()
    assert runner.invoke(app, ["--most-images", "7"]).stdout == "7\n"
    assert runner.invoke(app, ["--max-images", "7"]).stdout == "7\n"
    assert "--most-images" not in runner.invoke(app, ["--help"]).stdout


def test_a_renamed_option_of_a_command_still_works(cli):
    old = cli("summary", "nin", "--batch", "8", "--json")
    assert old.code == 0
    assert old.err == "--batch is now --batch-size; the old name will be removed in the next version\n"
    assert old.out == cli("summary", "nin", "--batch-size", "8", "--json").out
