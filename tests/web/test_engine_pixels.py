"""The browser engine makes the network's input from pixels as mlpconv does, bit for bit up to 8-bit images."""

import io

import msgspec
import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mlpconv.arch.preprocess import FITS, Preprocess
from mlpconv.backends.reference import images as reference_images
from mlpconv.data.image import background, decode
from support.browser_engine import decoded, encoded

SIDES = st.integers(1, 70)
same_order = pytest.mark.skipif(
    int(PIL.__version__.split(".")[0]) < 13, reason="before version 13, Pillow always resizes along the rows first"
)
SEEDS = st.integers(0, 2**32 - 1)


def picture(seed, *shape):
    """Noise, or extreme values, which bring rounding to its limits."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, shape, np.uint8) if seed % 2 else draw.choice(np.array([0, 255], np.uint8), shape)


@same_order
@settings(max_examples=150, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from([1, 3]), st.sampled_from(["box", "bilinear", "bicubic"]), SEEDS)
def test_resizing_is_that_of_pillow(engine, height, width, tall, wide, channels, filter_, seed):
    values = picture(seed, height, width, channels)
    image = Image.fromarray(values[..., 0] if channels == 1 else values)
    expected = np.asarray(image.resize((wide, tall), Image.Resampling[filter_.upper()]))
    request = {"values": encoded(values), "height": height, "width": width, "channels": channels}
    received = decoded(engine.ask("resize", **request, size=[tall, wide], filter=filter_)["values"])
    assert np.array_equal(received.reshape(expected.shape), expected)


@same_order
def test_a_large_photo_is_reduced_as_by_pillow(engine):
    values = picture(1, 1213, 1601, 3)
    expected = np.asarray(Image.fromarray(values).resize((28, 28), Image.Resampling.BILINEAR))
    answer = engine.ask(
        "resize", values=encoded(values), height=1213, width=1601, channels=3, size=[28, 28], filter="bilinear"
    )
    assert np.array_equal(decoded(answer["values"]).reshape(28, 28, 3), expected)


def test_every_value_with_every_transparency(engine):
    values, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    image = Image.fromarray(np.stack([values, values, values, alpha], axis=-1))
    expected = np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image))[..., 0]
    assert np.array_equal(decoded(engine.ask("composite")["values"]), expected.ravel())


def test_every_half_precision_number(engine):
    expected = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    received = decoded(engine.ask("halves")["values"], np.float32)
    np.testing.assert_array_equal(received, expected)
    assert np.array_equal(np.signbit(received), np.signbit(expected))


def as_json(preprocess):
    """The preprocess as a classifier file has it."""
    return msgspec.json.encode(preprocess).decode()


@st.composite
def preprocesses(draw):
    channels = draw(st.sampled_from([1, 3]))
    size = draw(st.integers(1, 40))
    source = draw(
        st.none() | st.tuples(st.integers(1, 40), st.integers(1, 40)) | st.integers(1, 40).map(lambda n: (n, n))
    )
    values = st.lists(st.floats(0.01, 2), min_size=channels, max_size=channels).map(tuple)
    return Preprocess.of_channels(
        size,
        channels,
        fit=draw(st.sampled_from(FITS)),
        antialias=draw(st.booleans()),
        mean=draw(values),
        std=draw(values),
        source_size=source or (size, size),  # as Classifier.file_preprocess fills it in
    )


@same_order
@settings(max_examples=150, deadline=None)
@given(preprocesses(), SIDES, SIDES, st.booleans(), SEEDS)
def test_pictures_become_what_predict_reads(engine, preprocess, height, width, transparent, seed):
    values = picture(seed, height, width, 4)
    values[..., 3] |= 0 if transparent else 255
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    file.seek(0)
    expected = decode(file, preprocess, "a.png")
    request = {
        "values": encoded(values),
        "height": height,
        "width": width,
        "preprocess": as_json(preprocess),
    }
    answer = engine.ask("pixels", **request)
    assert answer["shape"] == list(expected.shape)
    assert np.array_equal(decoded(answer["values"]).reshape(expected.shape), expected)


@settings(max_examples=150, deadline=None)
@given(preprocesses(), SEEDS)
def test_the_input_is_that_of_the_reference(engine, preprocess, seed):
    height, width = preprocess.source_size
    values = picture(seed, height, width, preprocess.channels)
    expected = reference_images.preprocess(values[None], preprocess)[0].transpose(1, 2, 0)
    request = {"values": encoded(values), "height": height, "width": width, "channels": preprocess.channels}
    received = decoded(engine.ask("input", **request, preprocess=as_json(preprocess))["values"], np.float32)
    scale = max(1, np.abs(expected).max())
    np.testing.assert_allclose(received.reshape(expected.shape), expected, rtol=0, atol=2e-6 * scale)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 3), (5, 4, 1), (28, 28, 1)], ids=str)
def test_the_background_is_that_of_python(engine, shape):
    values = picture(1, *shape)
    request = {"values": encoded(values), "height": shape[0], "width": shape[1], "channels": shape[2]}
    assert engine.ask("background", **request)["background"] == pytest.approx(background(values[None]), abs=1e-12)
