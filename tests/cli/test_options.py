"""Options that several commands share."""

from mlpconv.backends.base import list_backends
from mlpconv.cli.options import BACKENDS


def test_help_lists_every_back_end():
    assert BACKENDS.replace(" or ", ", ").split(", ") == list_backends()
