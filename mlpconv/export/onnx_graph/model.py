"""A classifier as an ONNX model."""

import json
from typing import Any

import msgspec
import onnx  # pyright: ignore[reportMissingImports]
from onnx import helper  # pyright: ignore[reportMissingImports]

from mlpconv.arch.class_maps import until_class_maps
from mlpconv.arch.shapes import output_shape
from mlpconv.data import list_datasets
from mlpconv.export.onnx_graph.graph import Dims, Graph
from mlpconv.export.onnx_graph.layers import add_network
from mlpconv.export.onnx_graph.preprocessing import add_preprocessing
from mlpconv.inference.onnx_model import CLASS_MAPS, INPUT, LABEL, LOGITS, PROBABILITIES
from mlpconv.runs.classifier_file import StoredClassifier, metadata
from mlpconv.version import __version__

OPSET, IR_VERSION = 18, 8
"""The operators of ONNX 1.13, which ONNX Runtime 1.14 and later read."""


def onnx_model(
    stored: StoredClassifier, about: dict[str, Any] | None = None, *, labels: bool = False
) -> onnx.ModelProto:
    """The ONNX model of a classifier.

    The input "images" is uint8 (batch, height, width, channels), of any size, as pictures are decoded: gray or RGB,
    with or without alpha. The outputs are float32: "logits" and "probabilities" (batch, classes), and "class_maps"
    (batch, classes, height, width) before a last ReLU, if the network ends in GlobalAvgPool2d and Flatten.

    Args:
        stored: The classifier.
        about: More metadata by name; values that are not texts are written as JSON.
        labels: Whether to add an output "label" (batch, 1), the name of the most probable class.

    Returns:
        The model. Its metadata has the class names, as JSON in "class_names" and as Ultralytics writes them in "names",
        and what ``mlpconv`` needs to use the file like a run.
    """
    graph = Graph()
    classes = len(stored.class_names)
    output, maps = add_network(
        graph, add_preprocessing(graph, INPUT, stored.preprocess), stored.network, stored.weights
    )
    outputs: list[tuple[str, str, Dims]] = [
        (LOGITS, "float32", ("batch", classes)),
        (PROBABILITIES, "float32", ("batch", classes)),
    ]
    graph.add("Identity", output, name=LOGITS)
    graph.add("Softmax", output, name=PROBABILITIES, axis=1)
    if maps:
        graph.add("Identity", maps, name=CLASS_MAPS)
        outputs.append((CLASS_MAPS, "float32", ("batch", *output_shape(until_class_maps(stored.network)[0]))))
    if labels:
        best = graph.add("ArgMax", output, name="label.number", axis=1, keepdims=1)
        graph.add("Gather", graph.constant("label.names", stored.class_names, object), best, name=LABEL, axis=0)
        outputs.append((LABEL, "string", ("batch", 1)))
    model = helper.make_model(
        graph.finish(
            stored.network.name or "network",
            [(INPUT, "uint8", ("batch", "height", "width", "channels"))],
            outputs,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="mlpconv",
        producer_version=__version__,
    )
    helper.set_model_props(model, _texts(stored, about or {}))
    return model


def _texts(stored: StoredClassifier, about: dict[str, Any]) -> dict[str, str]:
    """The metadata: for people and other programs, and under ``mlpconv.``, for mlpconv."""
    network, preprocess, names = stored.network, stored.preprocess, stored.class_names
    texts = {
        "class_names": json.dumps(names, ensure_ascii=False),
        "names": repr(dict(enumerate(names))),
        "task": "classify",
        "preprocess": msgspec.json.encode(preprocess).decode(),
        "mlpconv_version": __version__,
    }
    for name, value in about.items():
        if value is not None:
            texts[name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    # The path of a folder is nobody else's business.
    data = stored.data if stored.data in list_datasets() else ""
    return texts | metadata(network, preprocess, names, data=data, background=stored.background)
