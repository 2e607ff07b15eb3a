"""A trained network in use: arrays and files, inverted photos, and arrays that are not images for it."""

import numpy as np
import pytest
from PIL import Image

from mlpconv.arch.cost import prediction_memory
from mlpconv.data import ImageDataset
from mlpconv.errors import DataError, MlpconvError, RecipeError, RunError
from mlpconv.inference.classifier import MAX_BATCH, Classifier
from mlpconv.runs.run import Run
from support import tiny_training
from support.precision import needs_bfloat16

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier") / "run"
    quiet = {"label_smoothing": 0.0, "augmentation": {"shift": 0, "mixup": 0.0}}
    job = tiny_training.prepared(epochs=20, learning_rate=0.02, **quiet)
    tiny_training.train(path, job=job)
    return Run(path)


@pytest.fixture(scope="module")
def classifier(run):
    return Classifier(run, device="cpu", precision="float32")


def save(image, path):
    Image.fromarray(image[..., 0]).save(path)
    return path


def test_arrays_are_classified(classifier):
    test = tiny_training.DATA.test
    found = classifier.predict(test.images, top=2)
    assert [prediction.file for prediction in found] == [str(index) for index in range(30)]
    right = [p.top[0].label == tiny_training.NAMES[label] for p, label in zip(found, test.labels, strict=True)]
    assert np.mean(right) > 0.9
    for prediction in found:
        first, second = prediction.top
        assert 1 >= first.probability >= second.probability >= 0
    whole = classifier.predict(test.images[:1], top=99)[0].top
    assert sorted(guess.label for guess in whole) == sorted(tiny_training.NAMES)
    assert sum(guess.probability for guess in whole) == pytest.approx(1)


def test_files_are_classified_as_their_pixels(classifier, tmp_path):
    images = tiny_training.DATA.test.images[:3]
    paths = [save(image, tmp_path / f"{index}.png") for index, image in enumerate(images)]
    by_array, by_file = classifier.predict(images), classifier.predict(paths)
    assert [p.top for p in by_file] == [p.top for p in by_array]
    assert [p.file for p in by_file] == [str(path) for path in paths]
    # A single file needs no list.
    for path in (paths[0], str(paths[0])):
        (alone,) = classifier.predict(path)
        assert alone.file == str(path)
        assert alone.top[0].label == by_array[0].top[0].label
        assert alone.top[0].probability == pytest.approx(by_array[0].top[0].probability)


def test_photos_of_any_size_and_color_are_converted(classifier, tmp_path):
    large = tiny_training.DATA.test.images[0].repeat(20, axis=0).repeat(20, axis=1)
    Image.fromarray(large[..., 0]).convert("RGB").save(tmp_path / "large.png")
    found = classifier.predict([tmp_path / "large.png"])
    assert found[0].top[0].label == classifier.predict(tiny_training.DATA.test.images[:1])[0].top[0].label


def test_an_inverted_photo_is_detected_and_can_be_inverted(tmp_path):
    dark = np.zeros((40, 6, 6, 1), np.uint8)
    dark[:, 2:4, 2:4] = 250
    dark[20:, 3] = 250
    data = ImageDataset(dark, np.arange(40) // 20, ("a", "b"), "dark")
    tiny_training.train(tmp_path / "run", job=tiny_training.prepared(data=tiny_training.Splits(data, data), epochs=1))
    classifier = Classifier(Run(tmp_path / "run"))
    images = np.concatenate([dark[:1], 255 - dark[:1]])
    assert [p.looks_inverted for p in classifier.predict(images)] == [False, True]
    assert [p.looks_inverted for p in classifier.predict(images, invert=True)] == [True, False]
    path = save(255 - dark[0], tmp_path / "photo.png")
    plain, turned = classifier.predict([path])[0], classifier.predict([path], invert=True)[0]
    assert (plain.looks_inverted, turned.looks_inverted) == (True, False)
    expected = classifier.predict(dark[:1])[0].top[0]
    assert turned.top[0].label == expected.label
    assert turned.top[0].probability == pytest.approx(expected.probability)


@pytest.mark.parametrize(
    ("images", "received"),
    [
        (np.zeros((2, 6, 6, 1), np.float32), r"float32 \(2, 6, 6, 1\)"),
        (np.zeros((2, 6, 6), np.uint8), r"uint8 \(2, 6, 6\)"),
        (np.zeros((2, 6, 6, 3), np.uint8), r"uint8 \(2, 6, 6, 3\)"),
        (np.zeros((2, 1, 6, 6), np.uint8), r"uint8 \(2, 1, 6, 6\)"),
        (np.zeros((0, 6, 6, 1), np.uint8), r"uint8 \(0, 6, 6, 1\)"),
    ],
)
@pytest.mark.parametrize("invert", [True, False])
def test_arrays_of_another_type_or_shape_are_refused(classifier, images, received, invert):
    message = rf"images: expected uint8 \(N, H, W, 1\), N at least 1; received {received}"
    with pytest.raises(DataError, match=message):
        classifier.predict(images, invert=invert)
    with pytest.raises(DataError, match=message):
        classifier.logits(images)


def test_no_images_and_missing_files_are_refused(classifier, tmp_path):
    with pytest.raises(DataError, match="predict: no images given"):
        classifier.predict([])
    with pytest.raises(DataError, match=r"none\.png: there is no such file"):
        classifier.predict([tmp_path / "none.png"])


def test_an_evaluation_repeats_that_of_the_run(classifier, run):
    found = classifier.evaluate(tiny_training.DATA.test)
    result = run.result
    assert found.accuracy == result.test_accuracy
    assert found.loss == pytest.approx(result.test_loss, rel=1e-6)
    assert found.confusion.tolist() == result.confusion


def test_a_data_set_of_other_classes_is_refused(classifier):
    other = tiny_training.splits(names=("cat", "dog", "cow")).test
    with pytest.raises(DataError, match=r"stripes/test: its classes are cat, dog, cow; those of .* are across"):
        classifier.evaluate(other)


def test_a_run_without_weights_is_refused(tmp_path):
    run, _ = tiny_training.train(tmp_path / "run", stop_after=1)
    with pytest.raises(RunError, match=r"no weights\.safetensors yet"):
        Classifier(run)


def test_device_and_precision_are_checked(classifier, run):
    assert classifier.device == "cpu"
    with pytest.raises(MlpconvError, match="unknown device 'gpu'"):
        Classifier(run, device="gpu")
    with pytest.raises(RecipeError, match="unknown precision 'half'"):
        Classifier(run, precision="half")
    with pytest.raises(MlpconvError, match="unknown backend 'pytorch'; did you mean 'torch'"):
        Classifier(run, backend="pytorch")


@needs_bfloat16
def test_bfloat16_stays_near_float32(run, classifier):
    rounded = Classifier(run, device="cpu", precision="bfloat16").logits(tiny_training.DATA.test.images)
    exact = classifier.logits(tiny_training.DATA.test.images)
    np.testing.assert_allclose(rounded, exact, atol=0.05 * np.abs(exact).max())


def test_a_small_call_does_not_look_for_free_memory(classifier, monkeypatch):
    asked = []
    monkeypatch.setattr("mlpconv.hardware.available_memory", lambda: asked.append(1))
    classifier.logits(tiny_training.DATA.test.images[:1])
    assert not asked
    classifier.logits(np.zeros((256, 600, 600, 1), np.uint8))
    assert asked


@pytest.mark.parametrize("free", [0, 1, 100_000, 1_000_000, 200 << 20, 1 << 40, None])
def test_images_are_classified_in_batches_that_fit_the_free_memory(classifier, monkeypatch, free):
    images = np.concatenate([tiny_training.DATA.test.images] * 10)
    expected, sizes, logits = classifier.logits(images), [], classifier.model.logits
    monkeypatch.setattr("mlpconv.hardware.available_memory", lambda: free)
    monkeypatch.setattr("mlpconv.inference.classifier._UNCHECKED_BYTES", 0)
    monkeypatch.setattr(classifier.model, "logits", lambda part: sizes.append(len(part)) or logits(part))
    np.testing.assert_allclose(classifier.logits(images), expected, atol=1e-5)
    assert 1 <= classifier.batch_size <= MAX_BATCH
    assert sum(sizes) == len(images)
    if free is None or free > 1 << 30:
        assert sizes == [len(images)]
    else:
        needed = prediction_memory(classifier.stored.network).activations
        assert max(sizes) == 1 or max(sizes) * needed <= free
