"""What the tests of jobs share."""

import pytest

from support import tiny_training


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing has interrupted."""
    path = tmp_path_factory.mktemp("whole") / "run"
    _, events = tiny_training.train(path)
    return path, events
