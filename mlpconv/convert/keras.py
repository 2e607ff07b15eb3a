"""The weights of a Keras file (``.keras``, ``.weights.h5``), read as data: neither Keras nor what it holds is run."""

import re
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

from mlpconv.convert.layers import ForeignLayer
from mlpconv.errors import MissingDependency, WeightsError

_SAVE = 'in the program that made it: net.save("weights.keras")'
_NORM = ("weight", "bias", "running_mean", "running_var")


def read_keras_file(path: Path) -> list[ForeignLayer]:
    """The layers that have weights, in their order. Raises WeightsError for another or damaged file,
    MissingDependency without h5py, which Keras brings."""
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f'{path}: a Keras file is read by h5py, which is not installed; pip install "mlpconv[tensorflow]"'
        ) from error
    try:
        content = zipfile.ZipFile(path).read("model.weights.h5") if path.suffix == ".keras" else path.read_bytes()
        with h5py.File(BytesIO(content)) as file:
            if "model_weights" in file:
                raise WeightsError(f"{path}: in the old format of Keras 2; save it again, {_SAVE}")
            found: dict[str, list[Any]] = {}
            names: dict[str, str] = {}

            def visit(place: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset) and (held := re.fullmatch(r"(.*?)/?vars/(\d+)", place)):
                    found.setdefault(held[1], []).append(item[()])
                    names[held[1]] = str(item.parent.attrs.get("name", ""))

            # Not the optimiser's, nor a dropout's seed.
            file.visititems(lambda place, item: None if place.startswith("optimizer") else visit(place, item))
    except (OSError, KeyError, zipfile.BadZipFile, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"{path}: damaged, or not a file that Keras 3 wrote ({error}); save it again, {_SAVE}"
        ) from None
    kept = sorted((place for place in found if not place.endswith("seed_generator")), key=in_order)
    return [ForeignLayer(names[place], _parts(found[place], path)) for place in kept]


def in_order(place: str) -> list[tuple[str, int]]:
    """A path as what sorts by its numbers: conv2d, conv2d_1, … conv2d_10."""
    parts = (re.fullmatch(r"(.*?)_?(\d*)", part) for part in place.split("/"))
    return [(part[1], int(part[2] or -1)) for part in parts if part]


def _parts(values: list[Any], path: Path) -> dict[str, Any]:
    names = ("weight", "bias") if values[0].ndim > 1 else _NORM
    if len(values) > len(names) or (names is _NORM and len(values) < len(names)):
        raise WeightsError(f"{path}: holds a layer of {len(values)} arrays, which is none of ours; {_SAVE}")
    return dict(zip(names, values, strict=False))
