"""Read the weights of a Keras file without Keras, and without executing its content; write one with Keras."""

import re
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from io import BytesIO
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlpconv.arch.network import Network
from mlpconv.backends.base import Backend, Weights
from mlpconv.backends.registry import get_backend
from mlpconv.convert.budget import Budget
from mlpconv.convert.chapter import Names
from mlpconv.convert.keras_order import layer_paths
from mlpconv.convert.layers import ForeignLayer
from mlpconv.convert.recognize import SAVE
from mlpconv.errors import MissingDependency, MlpconvError, WeightsError
from mlpconv.files import named_errors

_MAX_CONFIG = 16 << 20
"""The bytes from which on the configuration of a model is not read."""
_SAVE = f"in the program that made it: {SAVE['Keras']}"
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
VARIABLES = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""The canonical parts by Keras' names of variables."""


def read_keras_file(path: Path, budget: Budget) -> list[ForeignLayer]:
    """Read the layers that have weights, in their order.

    Args:
        path: A ``.keras`` file, a ``.weights.h5`` file of Keras 3, or an HDF5 file of Keras 2 (a whole model, or what
            ``save_weights`` wrote).
        budget: The memory that its arrays may take.

    Raises:
        WeightsError: The file is damaged, not written by Keras, or asks for more memory than it may take.
        MissingDependency: h5py is not installed; it is a dependency of Keras.
    """
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f'{path}: reading a Keras file needs h5py, which is not installed; pip install "mlpconv[tensorflow]"'
        ) from error
    try:
        with ExitStack() as stack:
            order: list[str] = []
            if zipfile.is_zipfile(path):
                whole = stack.enter_context(zipfile.ZipFile(path))
                content = BytesIO(whole.read("model.weights.h5"))
                sizes = {each.filename: each.file_size for each in whole.infolist()}
                if sizes.get("config.json", _MAX_CONFIG) < _MAX_CONFIG:
                    order = layer_paths(whole.read("config.json"))
            else:
                content = stack.enter_context(path.open("rb"))
            file = stack.enter_context(h5py.File(content))
            datasets = _Datasets(h5py, path, budget)
            legacy = datasets.find(file, "model_weights") if file.get("model_weights", getlink=True) else file
            layers = (
                _legacy_layers(legacy, datasets) if "layer_names" in legacy.attrs else _layers(file, datasets, order)
            )
    except (OSError, KeyError, zipfile.BadZipFile, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: damaged, or not written by Keras ({error}); save it again, {_SAVE}") from None
    if not layers:
        raise WeightsError(f"{path}: contains no layers with weights; save the model, {_SAVE}")
    return layers


class _Datasets:
    """Reads the parts of an HDF5 file that Keras writes, within a budget.

    An HDF5 file can also have links to other files, and datasets that are compressed, are in other files, or have no
    data at all, and that take more memory than the file. Keras writes none of them.
    """

    def __init__(self, h5py: Any, path: Path, budget: Budget) -> None:
        self.h5py, self.path, self.budget = h5py, path, budget

    def find(self, group: Any, name: str) -> Any:
        """What has this name in a group, or in a group in it. Raises KeyError where there is nothing."""
        for part in filter(None, name.split("/")):
            if not isinstance(group.get(part, getlink=True), self.h5py.HardLink):
                raise ValueError(f"{name!r} is missing, or a link to another place")
            group = group[part]
        return group

    def read(self, dataset: Any) -> Any:
        """The values of a dataset."""
        name, properties = dataset.name, dataset.id.get_create_plist()
        if dataset.dtype.kind not in "fiu" or dataset.shape is None:
            raise ValueError(f"{name} is not an array of numbers")
        if properties.get_nfilters() or properties.get_external_count() or dataset.is_virtual:
            raise ValueError(f"{name} is compressed, or in another file")
        self.budget.take([(dataset.size, dataset.dtype.itemsize)])
        return dataset[()]

    def texts(self, group: Any, name: str) -> list[str]:
        """A list of texts in the attributes of a group, where a long one is in several pieces."""
        pieces = [name] if name in group.attrs else [f"{name}{index}" for index in range(len(group.attrs))]
        found = [text for piece in pieces if piece in group.attrs for text in self._attribute(group, piece)]
        return [text.decode() if isinstance(text, bytes) else str(text) for text in found]

    def _attribute(self, group: Any, name: str) -> Any:
        stored = group.attrs.get_id(name)
        count = prod(stored.shape)
        if not count:  # Keras writes an empty list as one of numbers
            return []
        if stored.get_type().get_class() != self.h5py.h5t.STRING:
            raise ValueError(f"the attribute {name!r} is not a list of texts")
        # Texts of any length may all be the same one, which is as large as the file.
        each = self.path.stat().st_size if stored.get_type().is_variable_str() else stored.get_type().get_size()
        self.budget.take([(count, each)])
        return group.attrs[name]


def _layers(file: Any, datasets: _Datasets, order: Sequence[str]) -> list[ForeignLayer]:
    """The layers of a file of Keras 3, in which variables are numbered: layers/conv2d/vars/0.

    order: their paths in the order of the model, as far as it is known; without it, layers are in that of their names.
    """
    layers: dict[str, list[Any]] = {}
    names: dict[str, str] = {}
    groups: set[str] = set()

    def visit(key: str, item: Any) -> None:
        groups.update(key.split("/"))
        # Skip the state of the optimizer.
        if key.startswith("optimizer") or not isinstance(item, datasets.h5py.Dataset):
            return
        if match := re.fullmatch(r"(.*?)/?vars/(\d+)", key):
            layers.setdefault(match[1], []).append(datasets.read(item))
            names[match[1]] = str(item.parent.attrs.get("name", ""))

    file.visititems(visit)
    # Dropout layers have no weights, but the state of their random generator.
    keys = sorted((key for key in layers if not key.endswith("seed_generator")), key=natural_order)
    if set(keys) <= set(order):
        keys.sort(key=order.index)
    else:
        _check_places(keys, layers, datasets.path)
    own = "permute" in groups  # mlpconv's own models put channels first before they flatten
    return [
        ForeignLayer(
            names[key] or key,
            _parts(layers[key], datasets.path),
            flatten_channels_first=own,
            depthwise=re.fullmatch(r"depthwise_conv2d(_\d+)?", key.rpartition("/")[2]) is not None,
        )
        for key in keys
    ]


def _check_places(keys: Sequence[str], layers: Mapping[str, list[Any]], path: Path) -> None:
    """Raise WeightsError where a layer inside a nested model and one outside it could be taken for each other."""
    models: dict[tuple[tuple[int, ...], ...], dict[int, str]] = {}
    for key in keys:
        shapes = tuple(value.shape for value in layers[key])
        depths = models.setdefault(shapes, {})
        depths.setdefault(key.count("/layers/"), key)
        if len(depths) > 1:
            one, other = depths.values()
            remedy = (
                "its config.json does not list them in order: put the layers into a Sequential or functional model"
                if path.suffix == ".keras"
                else "a file of weights does not have their order: save the whole model as a .keras file"
            )
            raise WeightsError(
                f"{path}: {one!r} and {other!r} have the same shapes, and one of them is in a nested model; {remedy}"
            )


def _legacy_layers(group: Any, datasets: _Datasets) -> list[ForeignLayer]:
    """The layers of a file of Keras 2, in which variables have names: conv2d/kernel:0."""
    layers: dict[str, dict[str, Any]] = {}
    for outer in datasets.texts(group, "layer_names"):
        inner = datasets.find(group, outer)
        for variable in datasets.texts(inner, "weight_names"):
            layer, _, name = variable.removesuffix(":0").rpartition("/")
            if name.startswith("seed_generator"):
                continue
            if name not in VARIABLES:
                raise WeightsError(
                    f"{datasets.path}: contains {variable!r}, which no layer of mlpconv has; remove its layer"
                )
            layers.setdefault(layer, {})[VARIABLES[name]] = datasets.read(datasets.find(inner, variable))
    own = any(name.endswith("-order") for name in datasets.texts(group, "layer_names"))
    # A name starts with those of the models that contain the layer.
    return [ForeignLayer(name.rpartition("/")[2], parts, flatten_channels_first=own) for name, parts in layers.items()]


def split_layers(values: Sequence[Any]) -> list[ForeignLayer]:
    """The layers of arrays without names in the order of a model: kernel and bias, or the four parts of a norm."""
    layers: list[dict[str, Any]] = []
    vectors: list[Any] = []

    def finish() -> None:
        # An odd vector after a kernel is its bias, and each four are a normalization.
        if len(vectors) % 4 == 1 and layers:
            layers[-1]["bias"] = vectors.pop(0)
        layers.extend(
            dict(zip(_NORM_PARTS, vectors[start : start + 4], strict=False)) for start in range(0, len(vectors), 4)
        )
        vectors.clear()

    for value in values:
        if value.ndim > 1:
            finish()
            layers.append({"weight": value})
        else:
            vectors.append(value)
    finish()
    return [ForeignLayer("", parts) for parts in layers]


def write_keras_file(path: Path, network: Network, weights: Weights, names: Names) -> None:
    """Write a Keras model (``.keras``) or only its weights (``.weights.h5``).

    The engine is the one that is already running, or else the first one that is installed.

    Args:
        path: The file.
        network: The network.
        weights: Its canonical weights.
        names: "mlpconv": the network's own functional model; "chapter": nested as in the chapter.
    """
    if names == "collect-params":
        raise WeightsError(f"{path}: collect-params are names of Gluon; choose a file that ends in .params")
    backend = _first_engine()
    if names == "chapter":
        from mlpconv.convert.chapter_keras import build_chapter_model

        model = build_chapter_model(network, weights, str(path))
    else:
        model = backend.native(network, weights)
    # In a separate directory: h5py leaves a part of the file on a full disk, and Keras decides by the whole name.
    with TemporaryDirectory(prefix=".", suffix=".part", dir=path.parent) as directory:
        temporary = Path(directory) / path.name
        with named_errors(path):
            model.save(temporary) if path.suffix == ".keras" else model.save_weights(temporary)
            temporary.replace(path)


def _first_engine() -> Backend:
    errors = []
    for engine in ("tensorflow", "jax"):
        try:
            return get_backend(engine)
        except MlpconvError as error:  # not installed, or Keras is running on the other engine
            errors.append(error)
    raise errors[0]


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
