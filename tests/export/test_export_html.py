"""A run or classifier as a page: what is in it, and what is refused."""

import base64
import json
import re
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mlpconv.arch.layer_definition import Layer
from mlpconv.arch.preprocess import Preprocess
from mlpconv.errors import NetworkError, RunError, WeightsError
from mlpconv.explain.class_maps import ClassMaps
from mlpconv.explain.stored_class_maps import FILE_NAME
from mlpconv.export import html
from mlpconv.export.html import check_layers, export_html
from mlpconv.export.rounding import WEIGHT_TYPES, compare, restored, rounded, synthetic_images
from mlpconv.models import create_model
from mlpconv.runs.classifier_file import read_classifier, write_classifier
from mlpconv.runs.files import write_tensors
from support.random_values import random_weights
from support.run_directories import make_run


def about(page):
    return json.loads(re.search(r'id="about-data">(.*?)</script>', page, re.DOTALL)[1])


def classifier(page, path):
    """The classifier in a page, written to a file."""
    path.write_bytes(base64.b64decode(re.search(r'id="classifier">(.*?)</script>', page, re.DOTALL)[1]))
    return read_classifier(path)


@pytest.fixture
def model(tmp_path):
    """A classifier file, and its weights."""
    network = create_model("nin_tiny", 2)
    weights = random_weights(network, dtype=np.float32)
    path = tmp_path / "a.safetensors"
    write_classifier(path, weights, network, Preprocess(28, source_size=(28, 28)), ("a", "b"), data="/home/me/cats")
    return path, weights


@pytest.fixture
def run(tmp_path):
    made = make_run(tmp_path / "run")
    made.write_weights(random_weights(made.config.make_network(), dtype=np.float32))
    return made


def add_test_images(run):
    """Class maps of two test images, as training stores them."""
    draw = np.random.default_rng(0)
    images, maps = draw.integers(0, 256, (2, 28, 28, 1), np.uint8), draw.normal(0, 1, (2, 10, 7, 7)).astype(np.float32)
    made = ClassMaps(maps, True, run.config.data.class_names, ["0", "1"], images, np.arange(7.0), np.arange(7.0))
    tensors = {name: getattr(made, name) for name in ("before", "images", "rows", "columns")}
    numbers = {"rectified": np.array(True), "indices": np.arange(2), "labels": np.array([3, 5])}
    write_tensors(run.path / FILE_NAME, {**tensors, **numbers}, {"format": "1"})
    return images


def test_the_classifier_in_the_page_is_that_of_the_file(model, tmp_path):
    path, weights = model
    exported = export_html(path, weights="float32")
    assert exported.weights == "float32"
    assert exported.comparison.difference == 0
    stored, original = classifier(exported.page, tmp_path / "b.safetensors"), read_classifier(path)
    assert (stored.network, stored.preprocess, stored.class_names) == original[1:4]
    assert stored.weights.keys() == weights.keys()
    assert all(np.array_equal(stored.weights[name], weights[name]) for name in weights)


def test_float16_is_the_default_and_its_difference_is_measured(model):
    exported = export_html(model[0])
    assert exported.weights == "float16"
    assert 0 < exported.comparison.difference < html.MAX_DIFFERENCES["float16"]
    assert about(exported.page)["weights"] == {"type": "float16", "difference": exported.comparison.difference}
    full = export_html(model[0], weights="float32")
    assert len(full.page) - len(exported.page) > 1.2 * sum(v.size for v in model[1].values()) * 2


def test_int8_halves_the_file_again(model):
    half, small = export_html(model[0]), export_html(model[0], weights="int8")
    assert about(small.page)["weights"] == {"type": "int8", "difference": small.comparison.difference}
    assert half.comparison.difference < small.comparison.difference < html.MAX_DIFFERENCES["int8"]
    assert len(half.page) - len(small.page) > 1.2 * sum(v.size for v in model[1].values())


@example(np.full((1, 1), 1e-45, np.float32), "int8")  # a factor of a 127th would be 0
@given(
    arrays(np.float32, array_shapes(min_dims=1, max_dims=4, max_side=4), elements=st.floats(-1e4, 1e4, width=32)),
    st.sampled_from(WEIGHT_TYPES),
)
def test_restored_weights_are_within_half_a_step(values, type_):
    tensors = rounded({"a": values}, type_)
    (back,) = restored(tensors).values()
    assert (back.dtype, back.shape) == (np.float32, values.shape)
    largest = np.abs(values).reshape(len(values), -1).max(axis=1).reshape(-1, *[1] * (values.ndim - 1))
    step = {"float32": 0 * largest, "float16": largest / 1024 + 2**-24, "int8": largest / 127 + 2**-125}[type_]
    assert (np.abs(back - values) <= (0 if values.ndim == 1 else 0.501 * step)).all()


def test_int8_that_would_change_the_answers_is_refused(tmp_path):
    """Weights of an input that is always 0 are so large that no steps are left for the others."""
    network = create_model("nin_tiny", 2)
    weights = random_weights(network, dtype=np.float32)
    weights["block3.norm1.weight"][0] = weights["block3.norm1.bias"][0] = 0
    weights["block4.conv.weight"] *= 10
    weights["block4.conv.weight"][:, 0] *= 3000
    place = tmp_path / "a.safetensors"
    write_classifier(place, weights, network, Preprocess(28, source_size=(28, 28)), ("a", "b"))
    with pytest.raises(WeightsError, match=r"--weights int8: a probability changes by .* use --weights float16"):
        export_html(place, weights="int8")


def test_vectors_keep_their_precision():
    values = rounded({"a.weight": np.full((2, 2), 1 / 3, np.float32), "a.bias": np.full(2, 1e6, np.float32)}, "float16")
    assert values["a.weight"].dtype == np.float16
    assert np.array_equal(values["a.bias"], np.full(2, 1e6, np.float32))


@pytest.mark.parametrize("factor", [1e6, 1e-9], ids=["too large for float16", "too small for float16"])
def test_float32_where_float16_would_change_the_answers(tmp_path, factor):
    """A convolution that a batch normalization scales back."""
    network = create_model("nin_tiny", 2)
    weights = random_weights(network, dtype=np.float32)
    weights["block1.conv.weight"] *= factor
    weights["block1.norm.running_mean"] *= factor
    weights["block1.norm.running_var"] *= factor**2
    if factor < 1:  # the variance vanishes compared with the eps of the normalization
        weights["block1.norm.weight"] /= np.float32(factor)
    path = tmp_path / "a.safetensors"
    write_classifier(path, weights, network, Preprocess(28), ("a", "b"))
    assert export_html(path).weights == "float32"
    with pytest.raises(WeightsError, match=r"--weights float16: .* use --weights float32"):
        export_html(path, weights="float16")


def test_damaged_weights_are_refused(model):
    path, weights = model
    stored = read_classifier(path)
    weights = {**weights, "block1.norm.weight": np.full_like(weights["block1.norm.weight"], np.inf)}
    assert compare(stored, weights, synthetic_images(stored.preprocess, 2)).difference == np.inf


@pytest.mark.parametrize(
    "preprocess", [Preprocess(9), Preprocess(28, "RGB", mean=(0,) * 3, std=(1,) * 3, source_size=(4, 7))]
)
def test_synthetic_images_are_such_as_the_network_takes(preprocess):
    images = synthetic_images(preprocess, 4)
    size = preprocess.source_size or (preprocess.size, preprocess.size)
    assert images.shape == (4, *size, preprocess.channels)
    assert images.dtype == np.uint8
    assert images.std(axis=(1, 2)).min() > 5


def test_the_results_of_a_run(run):
    known = about(export_html(run.path).page)
    result = run.result
    assert known["test"]["accuracy"] == pytest.approx(result.test_accuracy)
    assert known["test"]["images"] == 200
    assert known["data"] == {"name": "noise", "images": 1000}
    for label, name in enumerate(known["class_names"]):
        correct, images = known["classes"][label].values()
        assert correct / images == pytest.approx(result.class_accuracy[name])
    for pair in known["confused"]:
        assert result.confusion[pair["label"]][pair["predicted"]] == pair["mistakes"]
        assert sum(result.confusion[pair["label"]]) == pair["images"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", known["date"])
    assert sum(layer["parameters"] for layer in known["layers"]) == 418_346


def test_an_unfinished_run_has_no_results(tmp_path):
    made = make_run(tmp_path / "run", done=1, finished=False)
    made.write_weights(random_weights(made.config.make_network(), dtype=np.float32))
    exported = export_html(made.path)
    assert not exported.finished
    assert about(exported.page)["test"] is None


def test_a_classifier_file_has_no_results_and_names_no_folder(model):
    exported = export_html(model[0])
    known = about(exported.page)
    assert (known["test"], known["classes"], known["examples"]) == (None, [], [])
    assert known["data"] == {"name": "cats", "images": None}
    assert "/home/me" not in exported.page
    assert b"/home/me" not in base64.b64decode(re.search(r'id="classifier">(.*?)</script>', exported.page)[1])


def test_test_images_of_unknown_data_are_included_on_request_only(run):
    images = add_test_images(run)
    exported = export_html(run.path)
    assert exported.real_images
    assert (exported.comparison.images, exported.examples) == (2, 0)
    exported = export_html(run.path, examples=True)
    first, second = about(exported.page)["examples"]
    assert base64.b64decode(first["values"]) == images[0].tobytes()
    assert (first["label"], second["label"], second["width"], second["channels"]) == (3, 5, 28, 1)


def test_test_images_of_known_data_are_included(tmp_path, run):
    add_test_images(run)
    config = json.loads((run.path / "config.json").read_text())
    config["data"]["name"] = "digits"
    (run.path / "config.json").write_text(json.dumps(config))
    assert export_html(run.path).examples == 2
    assert export_html(run.path, examples=False).examples == 0


def test_a_layer_that_the_engine_lacks_is_named():
    class Swish(Layer, tag="swish", frozen=True):
        pass

    class Network:
        def walk(self):
            return iter([("block1.act", Swish())])

    with pytest.raises(NetworkError, match=r"block1\.act: a page cannot compute Swish \(swish\)"):
        check_layers(Network())  # pyright: ignore[reportArgumentType]


def test_a_network_that_is_too_large_is_refused(monkeypatch, model):
    monkeypatch.setattr(html, "MAX_WEIGHT_BYTES", 50_000)
    with pytest.raises(RunError, match=r"its weights have .* in float16, and a page can have 48.8 KiB"):
        export_html(model[0])


def test_pytorch_is_not_needed(model):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from mlpconv.export.html import export_html\n"
        f"assert export_html({str(model[0])!r}).page\n"
        "assert not {'torch', 'keras', 'matplotlib'} & {name for name, module in sys.modules.items() if module}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_is_the_same_for_the_same_run(run):
    assert export_html(run.path).page == export_html(run.path).page


def test_max_pixels_and_bits_reach_the_page(tmp_path):
    network = create_model("nin_tiny", 2)
    preprocess = msgspec.structs.replace(Preprocess(28), bits=12, max_pixels=5000)
    path = tmp_path / "a.safetensors"
    write_classifier(path, random_weights(network, dtype=np.float32), network, preprocess, ("a", "b"))
    assert about(export_html(path).page)["limits"] == {"max_pixels": 5000, "bits": 12}
