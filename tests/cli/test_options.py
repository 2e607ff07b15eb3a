"""Options that several commands share."""

import pytest

from mlpconv.backends.registry import BACKENDS


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "study", "tune"])
def test_help_lists_every_back_end(cli, command):
    shown = " ".join(cli(command, "--help").out.replace("│", " ").split())
    assert all(name in shown for name in BACKENDS)
