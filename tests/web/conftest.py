"""The browser engine in Node, started once for the tests of a file."""

import pytest

from support.browser_engine import NODE, Engine


@pytest.fixture(scope="module")
def engine():
    if NODE is None:
        pytest.skip("Node is not installed")
    started = Engine()
    yield started
    started.close()
