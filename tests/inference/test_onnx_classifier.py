"""An ONNX file is used like a run: the same predictions, without PyTorch; other and damaged files are refused."""

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from mlpconv.arch.layers import Flatten
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.data.dataset import ImageDataset
from mlpconv.errors import DataError, MlpconvError, NetworkError, RunError, WeightsError
from mlpconv.inference.classifier import Classifier
from mlpconv.inference.onnx_model import OnnxModel
from mlpconv.models import create_model
from mlpconv.runs.classifier_file import read_classifier, write_classifier
from support.random_values import random_weights

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from mlpconv.export.onnx_file import onnx_model  # noqa: E402  (needs onnx)

NAMES = ("ant", "bee", "cow")


def opened_onnx(path, **options):
    """The file in ONNX Runtime, also where OpenVINO is installed."""
    return Classifier(path, backend="onnxruntime", **options)


def write_pair(directory, preprocess=None, network=None, **changes):
    """The same classifier as a file of mlpconv and as an ONNX file."""
    network = network or create_model("nin_tiny", len(NAMES))
    preprocess = preprocess or Preprocess(28, source_size=(20, 20), mean=(0.3,), std=(0.4,))
    weights = random_weights(network, dtype=np.float32)
    write_classifier(directory / "a.safetensors", weights, network, preprocess, NAMES, background=0.1)
    stored = read_classifier(directory / "a.safetensors")._replace(**changes)
    (directory / "a.onnx").write_bytes(onnx_model(stored).SerializeToString())
    return Classifier(directory / "a.safetensors", precision="float32"), directory / "a.onnx"


@pytest.fixture
def pair(tmp_path):
    return write_pair(tmp_path)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (70, 20, 20, 1), np.uint8)


def test_it_predicts_what_the_classifier_predicts(pair, images, tmp_path):
    original, path = pair
    opened = opened_onnx(path)
    assert (opened.class_names, opened.path, opened.device) == (NAMES, path, "cpu")
    assert opened.stored.background == original.stored.background
    np.testing.assert_allclose(opened.logits(images), original.logits(images), atol=1e-4)
    Image.fromarray(np.tile(images[0], (3, 2, 3))).save(tmp_path / "a.png")
    one, other = (each.predict(tmp_path / "a.png")[0] for each in (original, opened))
    assert [guess.label for guess in one.top] == [guess.label for guess in other.top]
    assert one.top[0].probability == pytest.approx(other.top[0].probability, abs=1e-5)


def test_it_has_the_class_maps(pair, images):
    original, path = pair
    one, other = original.class_maps(images[:3]), opened_onnx(path).class_maps(images[:3])
    np.testing.assert_allclose(one.before, other.before, atol=1e-4)
    np.testing.assert_array_equal(one.rows, other.rows)


def test_images_of_large_maps_are_computed_a_few_at_a_time(tmp_path, monkeypatch):
    """As many as stay in the caches: those of the chapter's network have 2 MiB of activations each."""
    original, path = write_pair(tmp_path, Preprocess(224, source_size=(28, 28)), create_model("nin", len(NAMES)))
    counts = []
    run = OnnxModel._run

    def counted(model, outputs, images):
        counts.append(len(images))
        return run(model, outputs, images)

    monkeypatch.setattr(OnnxModel, "_run", counted)
    images = np.random.default_rng(0).integers(0, 256, (16, 28, 28, 1), np.uint8)
    np.testing.assert_allclose(opened_onnx(path).logits(images), original.logits(images), rtol=1e-3, atol=1e-3)
    assert sum(counts) == 16
    assert 1 < max(counts) < 10


def test_a_network_that_only_changes_shapes(tmp_path):
    """It has no activations."""
    network = Network(Flatten(), input_channels=3, input_size=1)
    _, path = write_pair(tmp_path, Preprocess.of_channels(1, 3, source_size=(1, 1)), network)
    logits = opened_onnx(path).logits(np.full((2, 1, 1, 3), 51, np.uint8))
    np.testing.assert_allclose(logits, np.full((2, 3), 0.2), atol=1e-6)


def test_it_is_evaluated(pair, images):
    original, path = pair
    dataset = ImageDataset(images, np.arange(len(images)) % 3, NAMES, "test")
    assert opened_onnx(path).evaluate(dataset).accuracy == original.evaluate(dataset).accuracy
    with pytest.raises(DataError, match="its classes are"):
        opened_onnx(path).evaluate(ImageDataset(images, np.zeros(len(images), np.int64), ("x",), "test"))


def test_images_of_an_array_are_resized_as_those_of_a_file(pair, tmp_path):
    opened = opened_onnx(pair[1])
    pixels = np.random.default_rng(0).integers(0, 256, (1, 33, 51, 1), np.uint8)
    Image.fromarray(pixels[0, ..., 0]).save(tmp_path / "a.png")
    from_file = opened.predict(tmp_path / "a.png")[0].top
    from_array = opened.predict(pixels)[0].top
    assert [guess.probability for guess in from_file] == pytest.approx([guess.probability for guess in from_array])


def test_options_that_do_not_apply(pair, images):
    path = pair[1]
    with pytest.raises(MlpconvError, match="--backend torch"):
        Classifier(path, backend="torch")
    with pytest.raises(MlpconvError, match="--precision bfloat16"):
        opened_onnx(path, precision="bfloat16")
    for device in ("cuda:x", "tpu"):
        with pytest.raises(MlpconvError, match=f"--device {device}"):
            Classifier(path, device=device)
    with pytest.raises(NetworkError, match="fixed"):
        opened_onnx(path).class_maps(images[:1], dense=True)
    assert Classifier(path, max_pixels=7).file_preprocess.max_pixels == 7


def test_a_network_without_class_maps(tmp_path, images):
    preprocess = Preprocess(28, source_size=(20, 20))
    original, path = write_pair(tmp_path, preprocess, create_model("lenet", len(NAMES)))
    np.testing.assert_allclose(opened_onnx(path).logits(images), original.logits(images), atol=1e-4)
    with pytest.raises(NetworkError):
        opened_onnx(path).class_maps(images)


def test_weights_that_are_not_finite(tmp_path, images):
    network = create_model("nin_tiny", len(NAMES))
    weights = {name: np.full_like(each, np.inf) for name, each in random_weights(network, dtype=np.float32).items()}
    _, path = write_pair(tmp_path, network=network, weights=weights)
    with pytest.raises(WeightsError, match="not finite"):
        opened_onnx(path).logits(images)


def test_every_truncated_file_is_refused(pair, tmp_path):
    content = pair[1].read_bytes()
    for length in (0, 1, 7, 100, len(content) // 3, len(content) // 2, len(content) - 1):
        path = tmp_path / "cut.onnx"
        path.write_bytes(content[:length])
        with pytest.raises(RunError, match=r"cut\.onnx: (damaged|an ONNX model)") as raised:
            opened_onnx(path)
        assert "\n" not in str(raised.value)


def changed(path, change):
    """A file with a changed model."""
    model = onnx.load_from_string(path.read_bytes())
    change(model)
    out = path.with_name("changed.onnx")
    out.write_bytes(model.SerializeToString())
    return out


def set_text(name, text):
    def change(model):
        kept = {each.key: each.value for each in model.metadata_props} | {name: text}
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, kept)

    return change


def rename_logits(model):
    for node in model.graph.node:
        node.output[:] = ["scores" if name == "logits" else name for name in node.output]
    model.graph.output[0].name = "scores"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.metadata_props.clear(), "mlpconv did not write"),
        (set_text("mlpconv.network", "{}"), "network"),
        (set_text("mlpconv.class_names", '["a"]'), "1 class name for 3 classes"),
        (set_text("mlpconv.preprocess", '{"size": 5}'), "makes images of"),
        (set_text("mlpconv.preprocess", "["), "not what mlpconv writes"),
        (set_text("mlpconv.format", "2"), "newer mlpconv"),
        (rename_logits, "inputs and outputs"),
    ],
)
def test_changed_files_are_refused(pair, change, message):
    with pytest.raises(MlpconvError, match=message):
        Classifier(changed(pair[1], change))


def test_missing_files_and_directories(tmp_path):
    with pytest.raises(RunError, match="there is no such file"):
        Classifier(tmp_path / "none.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(RunError, match="not a run directory"):
        Classifier(tmp_path / "folder.onnx")


def test_pytorch_is_not_imported(pair, tmp_path):
    Image.new("L", (30, 30)).save(tmp_path / "a.png")
    program = (
        "import sys; from mlpconv.__main__ import main; sys.argv = ['mlpconv', 'predict', sys.argv[1], sys.argv[2]]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert not {'torch', 'onnx', 'keras'} & set(sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(pair[1]), str(tmp_path / "a.png")], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "a.png: " in done.stdout


def test_the_preprocess_is_that_of_the_run(tmp_path):
    preprocess = Preprocess.of_channels(28, 3, source_size=(14, 20), fit="pad-border", bits=12)
    network = create_model("nin_tiny", len(NAMES), input_channels=3)
    original, path = write_pair(tmp_path, preprocess, network)
    assert msgspec.json.encode(opened_onnx(path).stored.preprocess) == msgspec.json.encode(original.stored.preprocess)
