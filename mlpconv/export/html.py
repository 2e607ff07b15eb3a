"""A classifier as one HTML file: a page that classifies pictures in the browser, offline, and shows its class maps."""

import base64
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlpconv.arch.class_maps import until_class_maps
from mlpconv.arch.cost import count
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import layer_shapes, show
from mlpconv.backends.base import Images
from mlpconv.data import list_datasets
from mlpconv.drawing.fonts import language_code
from mlpconv.errors import NetworkError, RunError, WeightsError
from mlpconv.explain.stored_class_maps import StoredClassMaps
from mlpconv.export.rounding import WEIGHT_TYPES, Comparison, WeightType, compare, restored, rounded
from mlpconv.export.source import open_source
from mlpconv.formatting import format_bytes
from mlpconv.runs import evaluation
from mlpconv.runs.classifier_file import StoredClassifier, metadata
from mlpconv.runs.files import tensors_to_bytes
from mlpconv.runs.run import Run
from mlpconv.version import __version__
from mlpconv.web import LAYERS
from mlpconv.web.page import assemble

MAX_DIFFERENCES: dict[WeightType, float] = {"int8": 0.05, "float16": 2e-3, "float32": 0}
"""Weights are rounded to a type only if no probability changes more."""
MAX_WEIGHT_BYTES = 200 << 20
"""The largest weights that are exported: browsers hold a page's text in memory, and limit its length."""
MAX_CONFUSED_PAIRS = 10


class HtmlExport(NamedTuple):
    """An exported page."""

    source: Path
    """The run directory or classifier file."""
    page: str
    weights: WeightType
    """The type of the weights in it."""
    comparison: Comparison
    """What the rounding of the weights changes."""
    real_images: bool
    """Whether test images of the run were compared; else synthetic ones."""
    examples: int
    """The number of test images in the page."""
    finished: bool
    """Whether the run is finished; True for a classifier file."""


def export_html(
    source: str | Path, *, weights: WeightType | None = None, examples: bool | None = None, check: bool = True
) -> HtmlExport:
    """Make the page of a run or classifier.

    Args:
        source: A run directory, "latest", or a classifier's ``.safetensors`` file.
        weights: The type of the weights; by default float16, unless that changes a probability by more than its
            ``MAX_DIFFERENCES``.
        examples: Whether the page contains test images of the run; by default only those of a data set that is known
            by name, which is public.
        check: Whether to compare the probabilities with those of the original weights, which takes seconds; False only
            for weights in float32, which are the original ones.

    Raises:
        RunError: There is no such run or classifier, it is damaged, or it is too large for a page.
        WeightsError: The weights do not fit the network, or change too much in the type.
        NetworkError: The network has a layer that the page cannot compute.
    """
    opened = open_source(source)
    stored, run, test_images = opened
    check_layers(stored.network)
    result = run.result if run else None
    type_, values, comparison = _rounded(stored, weights, opened.images if check else opened.images[:0])
    public = stored.data in list_datasets()
    about = {
        **_described(stored, type_, comparison),
        "data": _data(stored, run, public),
        "date": _date(run.environment.get("date")) if run else None,
        **_measured(stored.class_names, result.confusion if result else None),
        "examples": _examples(test_images) if (public if examples is None else examples) else [],
    }
    texts = metadata(stored.network, stored.preprocess, stored.class_names, background=stored.background)
    page = assemble(tensors_to_bytes(values, texts), about, about["name"])
    return HtmlExport(
        stored.path, page, type_, comparison, test_images is not None, len(about["examples"]), opened.finished
    )


def check_layers(network: Network) -> None:
    """Raise NetworkError if a network has a layer that the browser engine lacks."""
    for name, layer in network.walk():
        if (kind := type(layer).__struct_config__.tag) not in LAYERS:
            raise NetworkError(
                f"{name}: a page cannot compute {type(layer).__name__} ({kind}); use mlpconv convert for other programs"
            )


def _rounded(
    stored: StoredClassifier, wanted: WeightType | None, images: Images
) -> tuple[WeightType, dict[str, np.ndarray], Comparison]:
    """The type of the weights, the tensors that hold them, and what that changes."""
    types: tuple[WeightType, ...] = (wanted,) if wanted else ("float16", "float32")
    for type_ in types:
        position = WEIGHT_TYPES.index(type_)
        size = sum(np.dtype(type_).itemsize * value.size for value in stored.weights.values())
        if size > MAX_WEIGHT_BYTES:
            raise RunError(
                f"{stored.path}: its weights have {format_bytes(size)} in {type_}, and a page can have "
                f"{format_bytes(MAX_WEIGHT_BYTES)}; use a network with fewer parameters"
                + (f", or --weights {WEIGHT_TYPES[position - 1]}" if position else "")
            )
        values = rounded(stored.weights, type_)
        comparison = compare(stored, restored(values), images)
        if comparison.difference <= MAX_DIFFERENCES[type_]:
            return type_, values, comparison
        if wanted and wanted != "float32":
            raise WeightsError(
                f"--weights {wanted}: a probability changes by {comparison.difference:.2g}, and "
                f"{MAX_DIFFERENCES[wanted]} is accepted; use --weights {WEIGHT_TYPES[position + 1]}"
            )
    raise WeightsError(f"{stored.path}: the network's outputs are not finite; the weights are damaged")


def _described(stored: StoredClassifier, type_: WeightType, comparison: Comparison) -> dict[str, Any]:
    """What the classifier itself tells."""
    network, preprocess = stored.network, stored.preprocess
    rows = zip(layer_shapes(network), count(network).layers, strict=True)
    return {
        "name": network.name or "network",
        "version": __version__,
        "class_names": stored.class_names,
        "names_language": language_code(stored.class_names),
        "background": stored.background,
        "rectified": _rectified(network),
        "limits": {"max_pixels": preprocess.max_pixels, "bits": preprocess.bits},
        "input": {"width": preprocess.size, "height": preprocess.size, "color": preprocess.mode == "RGB"},
        "weights": {"type": type_, "difference": comparison.difference},
        "layers": [
            {
                "name": row.name,
                "label": row.layer.label,
                "output": show(row.output_shape),
                "parameters": cost.parameters,
                "macs": cost.macs,
            }
            for row, cost in rows
        ],
    }


def _rectified(network: Network) -> bool | None:
    """Whether a ReLU follows the class maps; None if the network has none."""
    try:
        return until_class_maps(network)[1]
    except NetworkError:
        return None


def _data(stored: StoredClassifier, run: Run | None, public: bool) -> dict[str, Any] | None:
    """The training data; of a folder's path only the last part, as the others are nobody else's business."""
    if not stored.data:
        return None
    name = stored.data if public else Path(stored.data).name or stored.data
    return {"name": name, "images": run.config.data.train if run else None}


def _measured(names: tuple[str, ...], confusion: list[list[int]] | None) -> dict[str, Any]:
    """The results on the test images."""
    if confusion is None or not (images := sum(map(sum, confusion))):
        return {"test": None, "classes": [], "confused": []}
    pairs = evaluation.most_confused(names, confusion, MAX_CONFUSED_PAIRS)
    return {
        "test": {"accuracy": sum(row[k] for k, row in enumerate(confusion)) / images, "images": images},
        "classes": [{"correct": row[k], "images": sum(row)} for k, row in enumerate(confusion)],
        "confused": [
            {**pair._asdict(), "label": names.index(pair.label), "predicted": names.index(pair.predicted)}
            for pair in pairs
        ],
    }


def _examples(stored: StoredClassMaps | None) -> list[dict[str, Any]]:
    """The test images whose class maps are stored with a run."""
    if stored is None:
        return []
    count, height, width, channels = stored.maps.images.shape
    return [
        {
            "values": base64.b64encode(stored.maps.images[k].tobytes()).decode(),
            "width": width,
            "height": height,
            "channels": channels,
            "label": int(stored.labels[k]),
        }
        for k in range(count)
    ]


def _date(text: str | None) -> str | None:
    """The day of an ISO 8601 date: 2026-11-29."""
    try:
        return datetime.fromisoformat(text or "").date().isoformat()
    except ValueError:
        return None
