"""The benchmark of class maps: its peers are what they claim to be, its curves what Petsiuk et al. describe."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d, MaxPool2d, ReLU
from mlpconv.arch.network import Block, Network, Preprocess
from mlpconv.backends.weights import INITIALIZERS, initialize
from mlpconv.data import ImageDataset, Splits
from mlpconv.errors import DataError
from mlpconv.inference.classifier import Classifier
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.training.recipe import Recipe

torch = pytest.importorskip("torch")
from mlpconv.bench import explain, explain_report, saliency  # noqa: E402

SCHEMA = Path(__file__).parents[2] / "docs" / "json" / "bench-explain.schema.json"


def corners(num_classes=3, input_channels=1, rectified=True):
    tail = {"relu": ReLU()} if rectified else {}
    return Network(
        Block(conv=Conv2d(6, 3, padding=1), relu=ReLU()),
        MaxPool2d(2, stride=2),
        Block(conv=Conv2d(6, 3, padding=1), relu=ReLU()),
        Block(conv=Conv2d(num_classes, 1), **tail),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=input_channels,
        input_size=8,
        name="corners",
    )


def draw(count):
    """A bright square in one of three corners says the class."""
    labels = np.arange(count) % 3
    images = np.random.default_rng(0).integers(0, 40, (count, 8, 8, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = ((0, 0), (0, 5), (5, 0))[label]
        image[top : top + 3, left : left + 3] = 230 if label else 120
        if label == 1:
            image[top + 1, left + 1] = 0
    return ImageDataset(images, labels, ("a", "b", "c"), "corners/test")


DATA = draw(60)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    recipe = Recipe(
        model=f"{__name__}:corners",
        epochs=12,
        batch_size=6,
        learning_rate=0.1,
        precision="float32",
        initializer=INITIALIZERS["open"],
    )
    job = prepare(Request(recipe=recipe, device="cpu"), Splits(DATA, DATA))
    execution = execute(job, tmp_path_factory.mktemp("explain") / "run")
    list(execution)
    return execution.run


@pytest.fixture(scope="module")
def classifier(run):
    return Classifier(run, device="cpu", precision="float32")


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_grad_cam_at_the_last_block_is_the_class_map_up_to_clipping_and_scale(rectified, seed):
    from mlpconv.backends.pytorch.backend import TorchBackend

    network = corners(rectified=rectified)
    model = TorchBackend().build(network, Preprocess(8))
    model.load_weights(initialize(network, INITIALIZERS["xavier"], seed))
    maps = model.class_maps(DATA.images)
    x = torch.from_numpy(DATA.images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    positive = 0
    for label in range(3):
        cam = saliency.grad_cam_maps(model.native, x, torch.full((len(x),), label), "block3.conv").numpy()
        clipped = np.maximum(maps[:, label], 0)
        # Through a ReLU the gradient passes where the map is above 0; its mean is the scale.
        scale = (maps[:, label] > 0).mean((1, 2)) / 16 if rectified else np.full(len(x), 1 / 16)
        np.testing.assert_allclose(cam, clipped * scale[:, None, None], atol=1e-6)
        positive += int((cam > 0).sum())
    assert positive > 100


class Corner:
    """Its logits are the brightness of the lower right quarter, for every class."""

    def logits(self, images):
        return np.repeat(images[:, 4:, 4:].mean((1, 2)), 3, axis=1).astype(np.float32)


def test_occlusion_finds_the_relevant_region():
    images = np.full((2, 8, 8, 1), 100, np.uint8)
    found = saliency.occlusion(Corner(), images, np.array([0, 2]), np.zeros(1, np.uint8))
    assert found.shape == (2, 8, 8)
    # A square of 2×2 in the quarter of 16 pixels takes a quarter of its brightness.
    assert found[0, 6, 6] == pytest.approx(25)
    assert (found[:, :3] == 0).all()
    assert (found[:, :, :3] == 0).all()


def test_blur_keeps_the_mean_of_a_plain_image_and_smooths():
    plain = np.full((1, 5, 9, 3), 77, np.uint8)
    np.testing.assert_array_equal(explain.blur(plain), plain)
    point = np.zeros((1, 9, 9, 1), np.uint8)
    point[0, 4, 4] = 255
    found = explain.blur(point)[0, ..., 0]
    assert found.argmax() == 4 * 9 + 4
    assert found.max() < 60


def test_curves_have_the_correct_end_points(classifier):
    images, labels = DATA.images[:9], DATA.labels[:9]
    order = saliency.chance(images)
    deletion, insertion = explain.faithfulness(classifier, images, labels, order, np.zeros(1, np.uint8), 4)

    def chances(pictures):
        logits = classifier.logits(pictures).astype(np.float64)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return (shares / shares.sum(1, keepdims=True))[np.arange(9), labels]

    assert deletion.shape == insertion.shape == (9, 5)
    np.testing.assert_allclose(deletion[:, 0], chances(images), atol=1e-5)
    np.testing.assert_allclose(insertion[:, -1], chances(images), atol=1e-5)
    np.testing.assert_allclose(deletion[:, -1], chances(np.zeros_like(images)), atol=1e-5)
    np.testing.assert_allclose(insertion[:, 0], chances(explain.blur(images)), atol=1e-5)


def test_the_most_informative_pixels_are_removed_first(classifier):
    images, labels = DATA.images[1:2], DATA.labels[1:2]
    telling = np.zeros((1, 8, 8), np.float32)
    telling[0, :3, 5:] = 1
    rest, first = (
        explain.faithfulness(classifier, images, labels, values, np.zeros(1, np.uint8), 4)[0].mean()
        for values in (-telling, telling)
    )
    assert first < rest


def test_the_result(run, tmp_path):
    lines = []
    result = explain.measure(run, 12, 4, 2, lines.append, data=DATA)
    jsonschema.validate(result, json.loads(SCHEMA.read_text()), cls=jsonschema.Draft202012Validator)
    names = [row["name"] for row in result["methods"]]
    assert names == ["class map", "Grad-CAM, block2", "Grad-CAM, block1", "occlusion", "chance"]
    assert len(lines) == len(names)
    ours = result["methods"][0]
    assert ours["deletion"]["difference"] == 0
    for row in result["methods"]:
        curve = result["curves"][row["name"]]["deletion"]
        assert np.mean(curve) == pytest.approx(row["deletion"]["mean"], abs=1e-5)
    page = explain_report.markdown(result)
    assert page.count("\n- Against ") == 4
    assert f"{result['cost']['ratio']:.3f} × plain prediction" in page
    assert len(explain_report.figure(result).axes[0].lines) == 5
    with pytest.raises(DataError, match="--images 61: corners/test has 60"):
        explain.measure(run, 61, 4, 2, lines.append, data=DATA)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.3, "better by deletion"),
        (-0.3, -0.1, "worse by deletion"),
        (-0.1, 0.1, "not distinguishable by deletion"),
    ],
)
def test_the_text_claims_no_more_than_the_intervals(low, high, said):
    found = {
        "mean": 0,
        "low": 0,
        "high": 0,
        "difference": (low + high) / 2,
        "difference_low": low,
        "difference_high": high,
    }
    other = {"name": "chance", "deletion": found, "insertion": {**found, "difference_low": -1, "difference_high": 1}}
    (sentence,) = explain_report.words({"methods": [{"name": "class map"}, other]})
    assert said in sentence
    assert "not distinguishable by insertion" in sentence
