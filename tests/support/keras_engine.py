"""The engine on which the tests of Keras run: that of KERAS_BACKEND, TensorFlow by default."""

import os
from importlib.util import find_spec

import pytest

ENGINE = os.environ.get("KERAS_BACKEND", "tensorflow")
MISSING = [package for package in ("keras", ENGINE) if find_spec(package) is None]
needs_keras = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
