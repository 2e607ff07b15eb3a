"""The back end of the tests of Keras."""

import pytest

from mlpconv.backends.registry import get_backend
from support.keras_engine import ENGINE


@pytest.fixture(scope="module")
def backend():
    return get_backend(ENGINE)
