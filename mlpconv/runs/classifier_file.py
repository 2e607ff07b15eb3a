"""A classifier in one safetensors file: the weights, with network, preprocessing and class names as metadata."""

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.arch.shapes import num_classes, show
from mlpconv.backends.base import Floats, Weights
from mlpconv.backends.weights import check_weight_shapes, check_weights, weight_shapes
from mlpconv.errors import RunError
from mlpconv.runs.files import MAX_NAME, Share, decode_json, open_tensors, write_tensors

FORMAT = 1
SUFFIX = ".safetensors"
ClassName = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]


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


def read_classifier(path: Path, *, float16: bool = False) -> StoredClassifier:
    """Read a classifier file.

    Args:
        path: The file.
        float16: Whether the weights are stored in float16; they are converted to float32.

    Raises:
        RunError: The file is not a classifier file.
        WeightsError: The weights do not fit the network.
    """
    if path.suffix != SUFFIX and path.is_file() and not _starts_as_safetensors(path):
        raise RunError(
            f"{path}: not a safetensors file; if it contains weights, mlpconv convert turns them into a classifier"
        )
    with open_tensors(path) as file:
        stored = from_texts(path, file.texts)
        # Before the weights are read: a file from elsewhere may announce more than the network needs.
        tensors = {name: info._replace(dtype=_read_as(info.dtype, float16)) for name, info in file.tensors.items()}
        check_weight_shapes(stored.network, tensors, str(path))
        weights = {
            name: value.astype(_read_as(value.dtype, float16), copy=False) for name, value in file.read().items()
        }
        stored = stored._replace(weights=weights)
    check_weights(stored.network, stored.weights, str(path))
    return stored


def _read_as(dtype: np.dtype, float16: bool) -> np.dtype:
    """The type that stored values have in memory. float16: whether half precision is read as single precision."""
    return np.dtype(np.float32) if float16 and dtype == np.float16 else dtype


def from_texts(path: Path, texts: Mapping[str, str]) -> StoredClassifier:
    """The classifier that the metadata of a file describes, without its weights.

    Args:
        path: The file.
        texts: Its metadata: see ``metadata``.

    Raises:
        RunError: The metadata is not what ``metadata`` returns.
        NetworkError: It describes no network.
    """
    values = {key.removeprefix("mlpconv."): text for key, text in texts.items() if key.startswith("mlpconv.")}
    if "checkpoint" in values:
        raise RunError(f"{path}: a checkpoint for resuming training; to use the run, give its directory")
    if not {"format", "network", "preprocess", "class_names"} <= values.keys():
        raise RunError(f"{path}: contains weights without their network; mlpconv convert turns them into a classifier")
    if values["format"] != str(FORMAT):
        newer = values["format"].isdecimal() and len(values["format"]) < 9 and int(values["format"]) > FORMAT
        remedy = "written by a newer mlpconv; update mlpconv" if newer else f"this version reads {FORMAT}"
        raise RunError(f"{path}: format {reprlib.repr(values['format'])}: {remedy}")
    network = Network.from_json(values["network"], f"{path}: network")
    preprocess = _decode(path, values, "preprocess", Preprocess)
    names = _decode(path, values, "class_names", tuple[ClassName, ...])
    background = _decode(path, values, "background", Share) if "background" in values else None
    data = values.get("data", "")
    if len(data) > MAX_NAME:
        raise RunError(f"{path}: its metadata is not what mlpconv writes: data: {len(data):,} characters")
    classifier = StoredClassifier(path, network, preprocess, names, {}, data, background)
    check_classifier(classifier)
    return classifier


def check_classifier(classifier: StoredClassifier) -> None:
    """Check that the network of a classifier takes the images that its preprocessing makes and has its classes.

    Raises:
        RunError: It does not.
    """
    path, network, preprocess, names, *_ = classifier
    if len(names) != (classes := num_classes(network)):
        raise RunError(
            f"{path}: {len(names)} class name{'s' * (len(names) != 1)} for {classes} classes; convert it again"
        )
    made = (preprocess.channels, preprocess.size, preprocess.size)
    if made != network.input_shape:
        raise RunError(
            f"{path}: preprocess: makes images of {show(made)}, and the network takes {show(network.input_shape)}; "
            "convert it again"
        )


def _decode(path: Path, values: dict[str, str], name: str, kind: Any) -> Any:
    try:
        return decode_json(values[name], kind)
    except ValueError as error:
        raise RunError(f"{path}: its metadata is not what mlpconv writes: {name}: {error}") from None


def _starts_as_safetensors(path: Path) -> bool:
    """Whether a file starts with the size of a header and the header's first character."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"
