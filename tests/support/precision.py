"""Markers for tests that need a precision that not every processor has."""

import pytest

from mlpconv import hardware
from mlpconv.backends.pytorch.convolutions import COMPUTES_BFLOAT16

needs_bfloat16 = pytest.mark.skipif(
    not COMPUTES_BFLOAT16,
    reason=f"this processor ({hardware.processor()}) has no convolutions in bfloat16, or ONEDNN_MAX_CPU_ISA hides them",
)
