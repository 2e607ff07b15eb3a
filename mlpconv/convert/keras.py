"""Read the weights of a Keras file (``.keras``, ``.weights.h5``) without Keras, and without executing its content."""

import re
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

from mlpconv.convert.layers import ForeignLayer
from mlpconv.convert.recognize import SAVE
from mlpconv.errors import MissingDependency, WeightsError

_SAVE = f"in the program that made it: {SAVE['Keras']}"
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def read_keras_file(path: Path) -> list[ForeignLayer]:
    """Read the layers that have weights, in their order.

    Raises:
        WeightsError: The file is damaged, or not written by Keras 3.
        MissingDependency: h5py is not installed; it is a dependency of Keras.
    """
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f'{path}: reading a Keras file needs h5py, which is not installed; pip install "mlpconv[tensorflow]"'
        ) from error
    try:
        content = zipfile.ZipFile(path).read("model.weights.h5") if zipfile.is_zipfile(path) else path.read_bytes()
        with h5py.File(BytesIO(content)) as file:
            if "model_weights" in file:
                raise WeightsError(f"{path}: a file of Keras 2; save it again with Keras 3: {_SAVE}")
            layers: dict[str, list[Any]] = {}
            names: dict[str, str] = {}

            def visit(key: str, item: Any) -> None:
                # Skip the state of the optimizer.
                if key.startswith("optimizer") or not isinstance(item, h5py.Dataset):
                    return
                if match := re.fullmatch(r"(.*?)/?vars/(\d+)", key):
                    layers.setdefault(match[1], []).append(item[()])
                    names[match[1]] = str(item.parent.attrs.get("name", ""))

            file.visititems(visit)
    except (OSError, KeyError, zipfile.BadZipFile, RuntimeError, ValueError) as error:
        raise WeightsError(f"{path}: damaged, or not written by Keras 3 ({error}); save it again, {_SAVE}") from None
    # Dropout layers have no weights, but the state of their random generator.
    keys = sorted((key for key in layers if not key.endswith("seed_generator")), key=natural_order)
    return [ForeignLayer(names[key], _parts(layers[key], path)) for key in keys]


def natural_order(key: str) -> list[tuple[str, int]]:
    """A sort key that orders paths by the numbers in them: conv2d, conv2d_1, … conv2d_10."""
    parts = (re.fullmatch(r"(.*?)_?(\d*)", part) for part in key.split("/"))
    return [(part[1], int(part[2] or -1)) for part in parts if part]


def _parts(values: list[Any], path: Path) -> dict[str, Any]:
    names = ("weight", "bias") if values[0].ndim > 1 else _NORM_PARTS
    if len(values) > len(names) or (names is _NORM_PARTS and len(values) < len(names)):
        raise WeightsError(
            f"{path}: contains a layer of {len(values)} arrays, which no layer of mlpconv has; save only convolutions, "
            "linear layers and batch normalizations"
        )
    return dict(zip(names, values, strict=False))
