"""The page of a served model: the one that `mlpconv export --to html` writes."""

import tempfile
from pathlib import Path

from mlpconv.errors import RunError, WeightsError
from mlpconv.export.html import export_html
from mlpconv.inference.onnx_model import SUFFIX as ONNX_SUFFIX
from mlpconv.runs.classifier_file import SUFFIX
from mlpconv.runs.files import write_tensors
from mlpconv.serve.model import ServedModel


def make_page(model: ServedModel) -> str:
    """The page of a model, which computes in the browser, with the weights in float32.

    Raises:
        RunError: The network is too large for a page, or an ONNX file does not contain the original weights.
        NetworkError: The network has a layer that the page cannot compute.
    """
    if model.path.suffix != ONNX_SUFFIX:
        return export_html(model.path, weights="float32", check=False).page
    with tempfile.TemporaryDirectory(prefix="mlpconv-") as directory:
        path = Path(directory, model.name).with_suffix(SUFFIX)
        _write_classifier(model.path, path)
        try:
            return export_html(path, weights="float32", check=False).page
        except WeightsError:
            raise RunError(
                f"{model.name}: no page, as the ONNX file does not have the weights in float32; serve the run for one"
            ) from None


def _write_classifier(source: Path, path: Path) -> None:
    """Write the classifier file that an ONNX file of mlpconv was made from: its constants have the weights' names."""
    import onnx  # pyright: ignore[reportMissingImports]

    model = onnx.load(source)
    tensors = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    texts = {each.key: each.value for each in model.metadata_props if each.key.startswith("mlpconv.")}
    write_tensors(path, {name: value for name, value in tensors.items() if _is_weight(name)}, texts)


def _is_weight(name: str) -> bool:
    return name.rpartition(".")[2] in ("weight", "bias", "running_mean", "running_var")
