"""A whole classifier in one safetensors file: the weights, and in the file's metadata what they are weights of."""

import json
from pathlib import Path
from typing import NamedTuple

import msgspec

from mlpconv.arch.network import Network, Preprocess
from mlpconv.arch.shapes import num_classes
from mlpconv.backends.base import Floats, Weights
from mlpconv.backends.weights import check_weights
from mlpconv.errors import RunError
from mlpconv.runs.files import decode_json, read_tensors, write_tensors

FORMAT = 1
SUFFIX = ".safetensors"


class StoredClassifier(NamedTuple):
    """A trained network without a framework. path: its file or run directory. data: the name of the data set that it
    was trained on, empty where not known. background: of the training images, as in ``DataInfo``; None where not known.
    """

    path: Path
    network: Network
    preprocess: Preprocess
    class_names: tuple[str, ...]
    weights: dict[str, Floats]
    data: str = ""
    background: float | None = None


def metadata(
    network: Network,
    preprocess: Preprocess,
    class_names: tuple[str, ...],
    *,
    data: str = "",
    background: float | None = None,
) -> dict[str, str]:
    """What the file says beside the weights: texts by name."""
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
    """Write a classifier into one file, whole or not at all. Raises OSError where it cannot be written."""
    write_tensors(path, weights, metadata(network, preprocess, class_names, data=data, background=background))


def read_classifier(path: Path) -> StoredClassifier:
    """The classifier in a file. Raises RunError for what is no such file, WeightsError for weights that do not fit."""
    if path.suffix in (".pt", ".pth") and path.is_file():
        raise RunError(f"{path}: a PyTorch file; mlpconv convert makes a classifier of it")
    weights, texts = read_tensors(path)
    said = {key.removeprefix("mlpconv."): text for key, text in texts.items() if key.startswith("mlpconv.")}
    if "checkpoint" in said:
        raise RunError(f"{path}: a checkpoint, from which training goes on; to use a run, give its directory")
    if not {"format", "network", "preprocess", "class_names"} <= said.keys():
        raise RunError(
            f"{path}: holds weights, but does not say of what network; mlpconv convert makes a classifier of them"
        )
    if said["format"] != str(FORMAT):
        newer = said["format"].isdecimal() and len(said["format"]) < 9 and int(said["format"]) > FORMAT
        remedy = "written by a newer mlpconv; update mlpconv" if newer else f"this version reads {FORMAT}"
        raise RunError(f"{path}: format {said['format']}: {remedy}")
    network = Network.from_json(said["network"], f"{path}: network")
    try:
        preprocess = decode_json(said["preprocess"], Preprocess)
        names = decode_json(said["class_names"], tuple[str, ...])
        background = float(said["background"]) if "background" in said else None
    except ValueError as error:
        raise RunError(f"{path}: its metadata are not what mlpconv writes: {error}") from None
    check_weights(network, weights, str(path))
    if len(names) != (classes := num_classes(network)):
        raise RunError(
            f"{path}: {len(names)} class name{'s' * (len(names) != 1)} for {classes} classes; convert it anew"
        )
    return StoredClassifier(path, network, preprocess, names, weights, said.get("data", ""), background)
