"""ONNX Runtime and OpenVINO, imported without their telemetry.

By default both tell their makers over the network that they are used, and keep a number of the user in the home
directory: OpenVINO as soon as it is imported, ONNX Runtime from version 1.32 on.
"""

import os
import sys
from typing import Any

from mlpconv.errors import MissingDependency

_NO_TELEMETRY = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")
"""What ONNX Runtime reads in its versions."""


def load_onnxruntime(who: str) -> Any:
    """Import ONNX Runtime.

    Args:
        who: What needs it, for the message.

    Raises:
        MissingDependency: It is not installed.
    """
    for name in _NO_TELEMETRY:
        os.environ.setdefault(name, "1")
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise _missing(who, error, "export") from error
    return onnxruntime


def load_openvino(who: str) -> Any:
    """Import OpenVINO; arguments and errors as for ``load_onnxruntime``."""
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]  (as if not installed)
    try:
        import openvino  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise _missing(who, error, "openvino") from error
    return openvino


def _missing(who: str, error: ModuleNotFoundError, extra: str) -> MissingDependency:
    return MissingDependency(f'{who}: the package {error.name!r} is not installed; pip install "mlpconv[{extra}]"')
