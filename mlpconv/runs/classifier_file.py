"""A classifier in one safetensors file: the weights, with network, preprocessing and class names as metadata."""

import json
from pathlib import Path
from typing import NamedTuple

import msgspec

from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.arch.shapes import num_classes
from mlpconv.backends.base import Floats, Weights
from mlpconv.backends.weights import check_weights, weight_shapes
from mlpconv.errors import RunError
from mlpconv.runs.files import decode_json, read_tensors, write_tensors

FORMAT = 1
SUFFIX = ".safetensors"


class StoredClassifier(NamedTuple):
    """A trained network, independent of frameworks."""

    path: Path
    """Its file or run directory."""
    network: Network
    preprocess: Preprocess
    class_names: tuple[str, ...]
    weights: dict[str, Floats]
    data: str = ""
    """The name of the data set that it was trained on; empty if not known."""
    background: float | None = None
    """The mean of the outermost pixels of the training images, 0 to 1; None if not known."""


def metadata(
    network: Network,
    preprocess: Preprocess,
    class_names: tuple[str, ...],
    *,
    data: str = "",
    background: float | None = None,
) -> dict[str, str]:
    """The metadata of a classifier file: texts by name."""
    texts = {
        "format": str(FORMAT),
        "network": json.dumps(network.to_dict()),
        "preprocess": msgspec.json.encode(preprocess).decode(),
        "class_names": json.dumps(class_names, ensure_ascii=False),
    }
    texts |= {"data": data} if data else {}
    texts |= {} if background is None else {"background": repr(background)}
    return {f"mlpconv.{key}": text for key, text in texts.items()}


def write_classifier(
    path: Path,
    weights: Weights,
    network: Network,
    preprocess: Preprocess,
    class_names: tuple[str, ...],
    *,
    data: str = "",
    background: float | None = None,
) -> None:
    """Write a classifier as one file, atomically, in the order of the network. Raises OSError if that fails."""
    ordered = {name: weights[name] for name in weight_shapes(network) if name in weights}
    write_tensors(
        path, {**ordered, **weights}, metadata(network, preprocess, class_names, data=data, background=background)
    )


def read_classifier(path: Path) -> StoredClassifier:
    """Read a classifier file.

    Raises:
        RunError: The file is not a classifier file.
        WeightsError: The weights do not fit the network.
    """
    if path.suffix != SUFFIX and path.is_file() and not _starts_as_safetensors(path):
        raise RunError(
            f"{path}: not a safetensors file; if it contains weights, mlpconv convert turns them into a classifier"
        )
    weights, texts = read_tensors(path)
    values = {key.removeprefix("mlpconv."): text for key, text in texts.items() if key.startswith("mlpconv.")}
    if "checkpoint" in values:
        raise RunError(f"{path}: a checkpoint for resuming training; to use the run, give its directory")
    if not {"format", "network", "preprocess", "class_names"} <= values.keys():
        raise RunError(f"{path}: contains weights without their network; mlpconv convert turns them into a classifier")
    if values["format"] != str(FORMAT):
        newer = values["format"].isdecimal() and len(values["format"]) < 9 and int(values["format"]) > FORMAT
        remedy = "written by a newer mlpconv; update mlpconv" if newer else f"this version reads {FORMAT}"
        raise RunError(f"{path}: format {values['format']}: {remedy}")
    network = Network.from_json(values["network"], f"{path}: network")
    try:
        preprocess = decode_json(values["preprocess"], Preprocess)
        names = decode_json(values["class_names"], tuple[str, ...])
        background = float(values["background"]) if "background" in values else None
    except ValueError as error:
        raise RunError(f"{path}: its metadata is not what mlpconv writes: {error}") from None
    check_weights(network, weights, str(path))
    if len(names) != (classes := num_classes(network)):
        raise RunError(
            f"{path}: {len(names)} class name{'s' * (len(names) != 1)} for {classes} classes; convert it again"
        )
    return StoredClassifier(path, network, preprocess, names, weights, values.get("data", ""), background)


def _starts_as_safetensors(path: Path) -> bool:
    """Whether a file starts with the size of a header and the header's first character."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"
