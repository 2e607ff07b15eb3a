"""The displays of networks, data and predictions: well-formed and escaped."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlpconv
import mlpconv.api
from mlpconv.arch.cost import count, prediction_memory, training_memory
from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d
from mlpconv.arch.network import Network
from mlpconv.data import ImageDataset, Splits
from mlpconv.errors import DataError, NetworkError
from mlpconv.inference.classifier import Guess, Prediction, Predictions
from mlpconv.notebook import Html, compare, show_images, to_html
from mlpconv.notebook.page import render
from support.notebook_html import HOSTILE, cells, dataset, parse, random_images, text


@given(st.text())
def test_any_text_is_escaped(anything):
    tree = parse(show_images(random_images(1), [anything]))
    (caption,) = tree.iter("figcaption")
    assert (caption.text or "").count("<") == anything.count("<")
    assert [node.tag for node in tree.iter()] == ["div", "style", "div", "figure", "img", "figcaption"]


def test_html_is_not_escaped_twice():
    shown = render("splits", test="<", train=Html("<b>x</b>"))
    assert "<p>&lt;</p><b>x</b>" in shown
    assert "<b>" not in repr(Html("<b>x</b>"))


@pytest.mark.parametrize("name", mlpconv.list_models())
def test_every_network_shows_its_shapes_and_costs(name):
    net = mlpconv.create_model(name)
    rows = cells(to_html(net))
    costs = count(net)
    assert [row[0] for row in rows[2:-1]] == list(net.layers)
    assert rows[-1][3:] == [f"{costs.parameters:,}", f"{costs.macs:,}"]
    parameters = sum(int(row[3].replace(",", "")) for row in rows[2:-1] if row[3])
    assert parameters == costs.parameters
    assert list(parse(to_html(net)).iter("{http://www.w3.org/2000/svg}svg"))


def test_a_networks_name_is_escaped():
    assert HOSTILE in text(to_html(mlpconv.create_model("nin").replace(name=HOSTILE)))


def test_a_network_that_does_not_fit_shows_the_error():
    html = to_html(Network(Conv2d(4, 9), GlobalAvgPool2d(), Flatten(), input_size=5))
    assert "a 9×9 kernel does not fit" in text(html)


def test_costs_show_each_layer_and_leave_out_empty_columns():
    costs = count(mlpconv.create_model("nin"))
    head, *rows = cells(to_html(costs))
    assert len(rows) == len(costs.layers) + 1
    assert "normalization" not in head
    assert rows[-1][head.index("multiplications")] == "762,297,352"
    assert "4,506,039,600" in text(to_html(costs))
    assert "normalization" in cells(to_html(count(mlpconv.create_model("nin_28"))))[0]


@pytest.mark.parametrize("memory", [training_memory, prediction_memory])
def test_memory_is_shown_by_purpose(memory):
    rows = cells(to_html(memory(mlpconv.create_model("lenet"))))
    assert [row[0] for row in rows[1:-1]] == ["weights", "gradients", "optimizer", "batch", "activations", "working"]
    assert rows[1][1] == "241.0 KiB"  # 61,706 parameters of 4 bytes


def test_networks_are_compared_side_by_side():
    html = compare(*(mlpconv.create_model(name) for name in ("nin", "lenet", "alexnet", "vgg11")))
    rows = cells(html)
    assert rows[0] == ["", "nin", "lenet", "alexnet", "vgg11"]
    table = {row[0]: row[1:] for row in rows}
    assert table["parameters"][0] == "1,992,166"
    assert table["of these fully connected"][0] == "0.0%"
    with pytest.raises(NetworkError, match="1 to 4 networks"):
        compare()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_data_set_shows_samples_of_each_class(channels):
    data = dataset(7, channels=channels)
    html = to_html(data)
    assert [row[:2] for row in cells(html)[1:]] == [[HOSTILE, "4"], ["b", "3"]]
    assert len(list(parse(html).iter("img"))) == 2
    assert "7 images" in text(to_html(Splits(data, data)))


def test_a_data_set_of_other_channels_is_only_described():
    assert not list(parse(to_html(dataset(3, channels=2))).iter("img"))


def test_a_class_without_images_has_an_empty_row():
    data = ImageDataset(random_images(2), np.zeros(2, np.int64), ("a", "none"), "x")
    assert cells(to_html(data))[2] == ["none", "0", ""]


def test_large_images_are_shown_small():
    assert len(to_html(dataset(4, side=1500))) < 400_000


@pytest.mark.parametrize("channels", [1, 3])
def test_images_show_as_pictures_with_captions(channels):
    pictures = random_images(3, channels)
    tree = parse(show_images(pictures, [HOSTILE, "b", "c"]))
    assert [img.get("alt") for img in tree.iter("img")] == [HOSTILE, "b", "c"]
    assert [caption.text for caption in tree.iter("figcaption")] == [HOSTILE, "b", "c"]
    many = parse(show_images(random_images(61, channels)))
    assert len(list(many.iter("img"))) == 60
    assert "and 1 more" in "".join(many.itertext())


def test_a_picture_holds_the_pixels():
    import base64
    import io

    from PIL import Image

    pixels = random_images(1)
    (img,) = parse(show_images(pixels)).iter("img")
    raw = base64.b64decode(img.get("src").partition(",")[2])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(raw))), pixels[0, ..., 0])


@pytest.mark.parametrize(
    ("images", "captions"),
    [
        (random_images(2)[0], ()),
        (random_images(2).astype(np.float32), ()),
        (random_images(2, 2), ()),
        (random_images(0), ()),
        (random_images(2), ["one"]),
    ],
)
def test_other_arrays_are_refused(images, captions):
    with pytest.raises(DataError, match=r"show_images: .*(received|give one for each)"):
        show_images(images, captions)


def test_predictions_are_a_list_and_shown_as_pictures():
    one = Prediction(HOSTILE, [Guess(HOSTILE, 0.75), Guess("b", 0.25)], looks_inverted=True)
    predictions = Predictions([one, one], random_images(2))
    assert predictions == [one, one]
    shown = text(to_html(predictions))
    assert HOSTILE in shown
    assert "75.0%" in shown
    assert "invert=True" in shown


def test_the_display_of_a_network_imports_nothing_heavy():
    import subprocess

    code = (
        "import sys; from mlpconv.models.nin import nin; from mlpconv.notebook import to_html; to_html(nin()); "
        "print(*sorted({'IPython', 'torch', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
