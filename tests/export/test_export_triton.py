"""A model repository of Triton: its configuration, the names of models and classes, and what the model returns."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from mlpconv.arch.preprocess import Preprocess
from mlpconv.errors import MlpconvError
from mlpconv.export.triton import config, labels, model_name, write_repository
from mlpconv.models import create_model
from mlpconv.runs.classifier_file import StoredClassifier
from support.random_values import random_weights

NAMES = ("a", "b\nc", "日本")


def parsed(text):
    """The fields of a configuration without nested messages: inputs and outputs by their names."""
    tensors = {}
    for kind, body in re.findall(r"^(input|output) \[\n  \{\n(.*?)  \}\n\]", text, re.DOTALL | re.MULTILINE):
        fields = dict(line.strip().split(": ", 1) for line in body.splitlines())
        tensors[kind, fields.pop("name").strip('"')] = fields
    return tensors


def test_the_configuration_describes_the_tensors():
    text = config("one", create_model("nin_tiny", 3), 3)
    tensors = parsed(text)
    assert tensors["input", "images"] == {"data_type": "TYPE_UINT8", "dims": "[-1, -1, -1]"}
    assert tensors["output", "probabilities"]["label_filename"] == '"labels.txt"'
    assert tensors["output", "label"] == {"data_type": "TYPE_STRING", "dims": "[1]"}
    assert tensors["output", "class_maps"]["dims"] == "[3, 7, 7]"
    assert ("output", "class_maps") not in parsed(config("one", create_model("lenet", 3), 3))


@pytest.mark.parametrize("name", ["one", 'quo"ted'])
def test_the_configuration_is_one_for_triton(name):
    client = pytest.importorskip("tritonclient", reason="tritonclient is not installed")
    from google.protobuf import text_format

    # The package that the module is in needs gRPC, the module does not.
    path = Path(client.__path__[0], "grpc", "model_config_pb2.py")
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    proto = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(proto)

    read = text_format.Parse(config(name, create_model("nin_tiny", 3), 3), proto.ModelConfig())
    assert (read.name, read.backend, read.max_batch_size) == (name, "onnxruntime", 64)
    assert [(each.name, list(each.dims)) for each in read.input] == [("images", [-1, -1, -1])]
    shapes = {"probabilities": [3], "label": [1], "logits": [3], "class_maps": [3, 7, 7]}
    assert {each.name: list(each.dims) for each in read.output} == shapes
    assert read.HasField("dynamic_batching")


def test_the_outputs_of_the_model_are_those_of_the_configuration():
    pytest.importorskip("onnx", reason="onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from mlpconv.export.onnx_file import onnx_model

    network = create_model("nin_tiny", 3)
    classifier = StoredClassifier(Path("a"), network, Preprocess(28), NAMES, random_weights(network, dtype=np.float32))
    model = onnx_model(classifier, labels=True).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (4, 30, 40, 3), np.uint8)
    tensors = parsed(config("one", network, 3))
    kinds = {"TYPE_FP32": np.float32, "TYPE_STRING": np.object_}
    outputs = {each.name: session.run([each.name], {"images": images})[0] for each in session.get_outputs()}
    assert outputs.keys() == {name for kind, name in tensors if kind == "output"}
    for name, value in outputs.items():
        described = tensors["output", name]
        assert list(value.shape) == [4, *map(int, re.findall(r"\d+", described["dims"]))]
        assert value.dtype == kinds[described["data_type"]]
    best = outputs["probabilities"].argmax(1)
    assert outputs["label"][:, 0].tolist() == [NAMES[label] for label in best]


def test_each_class_name_has_one_line():
    assert len(labels(NAMES).splitlines()) == len(NAMES)


@pytest.mark.parametrize(("name", "expected"), [("one", "one"), ("a b/ü", "a_b__"), ("..", "model"), (".x", "x")])
def test_names_that_triton_accepts(name, expected):
    assert model_name(name) == expected


def test_nothing_is_left_where_a_file_cannot_be_written(tmp_path):
    with pytest.raises(MlpconvError, match="cannot be written"):
        write_repository(tmp_path / "new", "one", {"a" * 300: "x"})
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(MlpconvError, match="--out"):
        write_repository(tmp_path / "file", "one", {"a": "x"})
    (tmp_path / "kept").mkdir()
    with pytest.raises(MlpconvError):
        write_repository(tmp_path / "kept", "one", {"a" * 300: "x"})
    assert list((tmp_path / "kept").iterdir()) == []
