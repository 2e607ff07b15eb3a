"""A classifier as an ONNX model: preprocessing, network and probabilities in one graph, with class names as metadata.

The graph is written from the description of the network and its weights; PyTorch is not needed. Importing this module
raises MissingDependency where onnx is not installed.
"""

from pathlib import Path
from typing import Any, NamedTuple

from mlpconv.errors import MissingDependency, MlpconvError, RunError, WeightsError, shortened

try:
    import onnx as _onnx  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError as error:
    raise MissingDependency(
        f'ONNX: the package {error.name!r} is not installed; pip install "mlpconv[export]"'
    ) from error

from mlpconv.data import dataset_source, list_datasets
from mlpconv.export.onnx_graph.model import onnx_model as onnx_model
from mlpconv.export.rounding import Comparison, compare_logits
from mlpconv.export.source import Source, open_source
from mlpconv.formatting import format_bytes
from mlpconv.inference.onnx_model import MAX_BYTES, OnnxModel

MAX_DIFFERENCE = 1e-4
"""The largest difference of a probability from the original's that is accepted."""
_GRAPH_BYTES = 64 << 20
"""More than the graph has without the weights."""


class OnnxExport(NamedTuple):
    """An exported ONNX model."""

    source: Path
    """The run directory or classifier file."""
    model: Any
    """The ``onnx.ModelProto``."""
    content: bytes
    """The model as the content of a file."""
    comparison: Comparison
    """The probabilities that ONNX Runtime computes, next to those of the original."""
    real_images: bool
    """Whether test images of the run were compared; else synthetic ones."""
    finished: bool
    """Whether the run is finished; True for a classifier file."""
    public: bool
    """Whether it was trained on a data set that is known by name."""


def export_onnx(source: str | Path, *, license: str | None = None, labels: bool = False) -> OnnxExport:
    """Make the ONNX model of a run or classifier, and check it: its form, and what ONNX Runtime computes with it.

    Args:
        source: A run directory, "latest", or a classifier's ``.safetensors`` file.
        license: The license of the model, for its metadata.
        labels: Whether the model also returns the name of the most probable class.

    Raises:
        RunError: There is no such run or classifier, it is damaged, or it is too large for a file of ONNX.
        WeightsError: The weights do not fit the network, or its outputs are not finite.
        MlpconvError: The model is not what ONNX demands, or computes something else.
        MissingDependency: ONNX Runtime is not installed.
    """
    opened = open_source(source)
    stored = opened.stored
    if (size := sum(value.nbytes for value in stored.weights.values())) > MAX_BYTES - _GRAPH_BYTES:
        raise RunError(
            f"{stored.path}: its weights have {format_bytes(size)}, and a file of ONNX can have "
            f"{format_bytes(MAX_BYTES)}; use a network with fewer parameters"
        )
    model = onnx_model(stored, _about(opened, license), labels=labels)
    content = check_form(stored.path, model)
    comparison = compare_logits(stored, OnnxModel(content, stored.path, "cpu").logits, opened.images)
    if comparison.difference == float("inf"):
        raise WeightsError(f"{stored.path}: the network's outputs are not finite; the weights are damaged")
    if comparison.difference > MAX_DIFFERENCE:
        raise MlpconvError(
            f"{stored.path}: a probability that ONNX Runtime computes differs by {comparison.difference:.2g}, and "
            f"{MAX_DIFFERENCE} is accepted; nothing is written. Another version of onnxruntime may help"
        )
    public = stored.data in list_datasets()
    return OnnxExport(stored.path, model, content, comparison, opened.test_images is not None, opened.finished, public)


def check_form(path: Path, model: Any) -> bytes:
    """The content of a file with a model, which ONNX's checker accepts.

    Raises:
        MlpconvError: It does not accept it.
    """
    content = model.SerializeToString()
    try:
        _onnx.checker.check_model(content, full_check=True)
    except (_onnx.checker.ValidationError, _onnx.shape_inference.InferenceError) as error:
        raise MlpconvError(
            f"{path}: onnx {_onnx.__version__} does not accept the model: {shortened(' '.join(str(error).split()))}; "
            "nothing is written. Another version of onnx may help"
        ) from None
    return content


def _about(opened: Source, license: str | None) -> dict[str, Any]:
    """What is known of a run, for people who get the file. Of a path, only the last part is included."""
    stored, run = opened.stored, opened.run
    public = stored.data in list_datasets()
    result = run.result if run else None
    return {
        "description": f"{stored.network.name or 'network'}, exported by mlpconv",
        "license": license,
        "source": stored.path.resolve().name,
        "data": (stored.data if public else Path(stored.data).name) or None,
        "data_license": dataset_source(stored.data).licence if public else None,
        "date": run.environment.get("date") if run else None,
        "accuracy": result.test_accuracy if result else None,
        "test_images": sum(map(sum, result.confusion)) if result else None,
    }
