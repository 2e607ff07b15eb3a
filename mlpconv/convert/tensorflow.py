"""Read the weights of TensorFlow's checkpoints and SavedModels, in which no code is executed.

Variables are named by their place in the object that was saved: ``layer_with_weights-0/kernel`` in Keras 2,
``_layers/1/_kernel`` in Keras 3, or only ``variables/0`` where Keras exported a model.
"""

import re
from math import prod
from pathlib import Path
from typing import Any

from mlpconv.convert.budget import Budget
from mlpconv.convert.keras import VARIABLES, natural_order, split_layers
from mlpconv.convert.layers import ForeignLayer
from mlpconv.errors import MissingDependency, WeightsError

_END = "/.ATTRIBUTES/VARIABLE_VALUE"


def read_tensorflow_checkpoint(path: Path, budget: Budget) -> list[ForeignLayer]:
    """Read the layers that have weights, in their order.

    Args:
        path: The name of a checkpoint without ``.index``, its ``.index`` file, a directory of checkpoints (the latest
            one is read), or a SavedModel directory.

    Raises:
        WeightsError: The checkpoint is damaged, or contains no weights.
        MissingDependency: TensorFlow is not installed.
    """
    try:
        import tensorflow as tf  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"{path}: reading a TensorFlow checkpoint needs TensorFlow, which is not installed; "
            'pip install "mlpconv[tensorflow]"'
        ) from error
    try:
        reader = tf.train.load_checkpoint(str(_prefix(path, tf)))
        shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        names = [name for name in shapes if _is_weight(name)]
        budget.take((prod(shapes[name]), types[name].size) for name in names)
        values = {name: reader.get_tensor(name) for name in sorted(names, key=natural_order)}
    except (tf.errors.OpError, ValueError, OSError, RuntimeError) as error:
        raise WeightsError(f"{path}: damaged, or not a TensorFlow checkpoint ({error}); save it again") from None
    layers: dict[str, dict[str, Any]] = {}
    listed = []
    for name, value in values.items():
        layer, _, variable = name.removesuffix(_END).rpartition("/")
        if part := VARIABLES.get(variable.lstrip("_")):
            layers.setdefault(layer, {})[part] = value
        elif re.search(r"(^|/)variables/\d+$", name.removesuffix(_END)) and value.dtype.kind == "f":
            listed.append(value)
    if layers:
        return [ForeignLayer(name, parts) for name, parts in layers.items()]
    if not listed:
        raise WeightsError(f"{path}: contains no kernels and biases; save the model's variables")
    return split_layers(listed)


def _prefix(path: Path, tf: Any) -> Path:
    """The name that all files of a checkpoint start with."""
    if not path.is_dir():
        return path.with_suffix("") if path.suffix == ".index" else path
    if (path / "checkpoint").is_file():
        return Path(tf.train.latest_checkpoint(str(path)) or path)
    return (path if path.name == "variables" else path / "variables") / "variables"


def _is_weight(name: str) -> bool:
    """Whether a variable is not one of an optimizer, a metric, or a copy in a list of all variables."""
    return not re.search(r"(^|/)(optimizer|_?all_variables|keras_api|metrics?|save_counter)(/|$)|OPTIMIZER_SLOT", name)
