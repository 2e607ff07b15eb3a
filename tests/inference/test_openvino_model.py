"""An ONNX file in OpenVINO: the logits of ONNX Runtime, for every size and number of images, from every thread."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpconv import hardware
from mlpconv.arch.preprocess import Preprocess
from mlpconv.errors import MissingDependency, MlpconvError, RecipeError, RunError
from mlpconv.inference.classifier import Classifier
from mlpconv.models import create_model
from mlpconv.runs.classifier_file import read_classifier, write_classifier
from support.random_values import random_weights

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
if find_spec("openvino") is None:  # importing it, or its telemetry, here would turn the telemetry on
    pytest.skip("openvino is not installed", allow_module_level=True)

from mlpconv.export.onnx_file import onnx_model  # noqa: E402  (needs onnx)
from mlpconv.inference.engine_packages import load_openvino  # noqa: E402
from mlpconv.inference.openvino_model import OpenVinoModel  # noqa: E402

SIDE = 20


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A file whose images are resized."""
    place = tmp_path_factory.mktemp("openvino") / "a.safetensors"
    network = create_model("nin_tiny", 3)
    write_classifier(
        place,
        random_weights(network, dtype=np.float32),
        network,
        Preprocess(28, source_size=(SIDE, SIDE), mean=(0.3,), std=(0.4,)),
        ("ant", "bee", "cow"),
    )
    place.with_suffix(".onnx").write_bytes(onnx_model(read_classifier(place)).SerializeToString())
    return place.with_suffix(".onnx")


@pytest.fixture(scope="module")
def expected(path):
    """The logits of ONNX Runtime."""
    return Classifier(path, backend="onnxruntime").logits


def draw(count, height=SIDE, width=SIDE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 1), np.uint8)


def has_bfloat16():
    found = load_openvino("test").Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in found and hardware.allows_bfloat16()


def test_it_computes_an_onnx_file_where_it_is_installed(path, expected):
    opened = Classifier(path)
    assert isinstance(opened.model, OpenVinoModel)
    assert opened.device == "cpu"
    images = draw(5)
    np.testing.assert_allclose(opened.logits(images), expected(images), atol=0.03 * np.abs(expected(images)).max())


def test_every_call_is_right_whatever_the_calls_before_it(path, expected):
    """With sizes that it was not compiled for, OpenVINO 2026.4.1 returned what was in the memory."""
    opened = Classifier(path, precision="float32")
    for count, height, width in ((1, 20, 20), (5, 20, 20), (3, 31, 23), (1, 20, 20), (70, 20, 20), (9, 31, 23)):
        images = draw(count, height, width, seed=count)
        same = (height, width) == (SIDE, SIDE)  # others are resized to it, and rounded to 256 steps
        np.testing.assert_allclose(opened.logits(images), expected(images), atol=1e-4 if same else 2e-2)


def test_an_array_that_is_read_only(path, expected):
    images = draw(3)
    images.flags.writeable = False
    np.testing.assert_allclose(Classifier(path, precision="float32").logits(images), expected(images), atol=1e-4)


def test_threads_may_share_it(path, expected):
    opened = Classifier(path, precision="float32")
    images = [draw(seed % 3 + 1, seed=seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as threads:
        for found, each in zip(threads.map(opened.logits, images), images, strict=True):
            np.testing.assert_allclose(found, expected(each), atol=1e-4)


def test_it_has_the_class_maps(path):
    opened, other = Classifier(path, precision="float32"), Classifier(path, backend="onnxruntime")
    images = draw(3)
    np.testing.assert_allclose(opened.class_maps(images).before, other.class_maps(images).before, atol=1e-4)


def test_the_precision(path, expected):
    images = draw(4)
    if not has_bfloat16():
        with pytest.raises(RecipeError, match="--precision bfloat16: OpenVINO has only float32 on this processor"):
            Classifier(path, precision="bfloat16")
        return
    apart = np.abs(Classifier(path, precision="bfloat16").logits(images) - expected(images)).max()
    assert 1e-5 < apart < 0.03 * np.abs(expected(images)).max()


def test_it_computes_where_onednn_is_limited_to_older_instructions(path, tmp_path):
    """OpenVINO names bfloat16 even then, and could not pool in it."""
    Image.new("L", (SIDE, SIDE)).save(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, "-m", "mlpconv", "predict", path, tmp_path / "a.png", "--backend", "openvino"],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "a.png: " in done.stdout


def test_options_that_do_not_apply(path):
    with pytest.raises(RecipeError, match="--precision float16"):
        Classifier(path, precision="float16")
    with pytest.raises(MlpconvError, match="--device cuda: OpenVINO computes on the cpu"):
        Classifier(path, backend="openvino", device="cuda")
    with pytest.raises(MlpconvError, match=r"--backend torch: .* is computed by onnxruntime or openvino"):
        Classifier(path, backend="torch")


def test_a_damaged_file_is_refused(path, tmp_path):
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match=r"cut\.onnx: damaged"):
        Classifier(cut, backend="openvino")


def test_it_is_not_installed(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependency, match=r"'openvino' is not installed; pip install \"mlpconv\[openvino\]\""):
        Classifier(path, backend="openvino")
