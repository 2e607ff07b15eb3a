import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpconv.arch.cost import count
from mlpconv.arch.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    ReLU6,
    Sigmoid,
)
from mlpconv.arch.network import Block, Network
from mlpconv.arch.shapes import block_shapes, show
from mlpconv.drawing.diagram import compare_svg, to_svg, to_text
from mlpconv.drawing.svg import escape, shorten, text_width
from mlpconv.errors import NetworkError
from mlpconv.models import create_model, list_models
from support.strategies import networks

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert(\'1\')</script>" onload="x" & ]]> {}'


def drawn(svg):
    """The picture as a tree, and its texts in the order in which they are drawn."""
    root = ElementTree.fromstring(svg)
    return root, [element.text if not len(element) else element[0].tail for element in root.iter(f"{SVG}text")]


def boxes(root):
    return [
        tuple(float(rect.get(key)) for key in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SVG}rect")
        if rect.get("class") not in ("paper", "block")
    ]


def assert_well_made(svg):
    root, texts = drawn(svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root[0].tag == f"{SVG}title"
    assert root[0].text
    assert root[1].tag == f"{SVG}desc"
    assert root[1].text
    width, height = float(root.get("width")), float(root.get("height"))
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    for x, y, wide, high in boxes(root):
        assert 0 < x < x + wide < width
        assert 0 < y < y + high < height
    rectangles = sorted(boxes(root))
    for at, (x, y, wide, high) in enumerate(rectangles):
        for x2, y2, _, high2 in rectangles[at + 1 :]:
            assert x2 >= x + wide or y2 >= y + high or y >= y2 + high2
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in {"svg", "title", "desc", "style", "rect", "text", "path"}
        assert not [key for key in element.attrib if "href" in key or key.startswith("on") or key == "style"]
    style = root.find(f"{SVG}style").text
    assert "prefers-color-scheme:dark" in style
    assert not re.search(r"url\(|@import|@font-face|http", style)
    for text in texts:
        assert text
    return texts


@pytest.mark.parametrize("name", list_models())
def test_every_known_network_is_drawn_with_all_its_layers_shapes_and_counts(name):
    network = create_model(name)
    texts = assert_well_made(to_svg(network))
    notes = {note for text in texts for note in text.split(", ")}
    for _, layer in network.walk():
        assert layer.label in texts or layer.label in notes
    costs = count(network)
    assert texts[0] == name
    assert f"{costs.parameters:,} parameters" in texts[1]
    assert f"{costs.macs:,} MACs" in texts[1]
    for layer_name, layer in network.layers.items():
        assert layer_name in texts or isinstance(layer, ReLU | ReLU6 | Sigmoid)
    for _, kind, shape in block_shapes(network):
        assert show(shape) in texts or kind in ("Conv2d", "Linear")


def test_the_diagram_of_nin_is_that_of_the_chapter():
    _, texts = drawn(to_svg(create_model("nin")))
    first = texts.index("1×224×224")
    assert texts[first : first + 11] == [
        "1×224×224",
        "11×11 conv, 96, stride 4",
        "ReLU",
        "1×1 conv, 96",
        "ReLU",
        "1×1 conv, 96",
        "ReLU",
        "block1",
        "30,336 parameters",
        "87.6 M MACs",
        "96×54×54",
    ]
    assert texts[-1] == "10"


def test_another_image_size_is_drawn_with_its_shapes():
    svg, text = (draw(create_model("nin"), (1, 80, 80)) for draw in (to_svg, to_text))
    assert "96×18×18" in drawn(svg)[1]
    assert "↓ 96×18×18" in text
    with pytest.raises(NetworkError, match="does not fit"):
        to_svg(create_model("nin"), (1, 8, 8))
    with pytest.raises(NetworkError, match="does not fit"):
        to_text(create_model("nin"), (1, 8, 8))


@given(networks(most_layers=8))
@settings(max_examples=60)
def test_any_network_is_drawn(network):
    texts = assert_well_made(to_svg(network))
    notes = {note for text in texts for note in text.split(", ")}
    lines = to_text(network)
    for _, layer in network.walk():
        assert layer.label in texts or layer.label in notes
        assert layer.label in lines
    assert_well_made(compare_svg([network, create_model("nin")]))


@pytest.mark.parametrize(
    "name",
    [HOSTILE, "网络中的网络", "ネットワーク・イン・ネットワーク", "a" * 400, "网" * 200, "\u202e\u200b\ufffe&#0;"],
)
def test_any_name_is_only_text(name):
    network = create_model("nin_28").replace(name=name)
    for svg in (to_svg(network), compare_svg([network])):
        assert_well_made(svg)
        root = ElementTree.fromstring(svg)
        shown = name.replace("\ufffe", "\ufffd")
        assert root[0].text.startswith(shown)
        visible = next(text for text in root.iter(f"{SVG}text") if text.get("class") in ("title", "head"))
        assert (visible[0].text if len(visible) else visible.text) == shown
        assert "<script" not in svg
    assert to_text(network).startswith(name)


def test_long_names_are_cut_and_complete_in_the_tooltip():
    network = Network.named({"a" * 300: Conv2d(2, 3), "b" * 300: Block(c=Conv2d(2, 1), r=ReLU())}, input_size=8)
    for svg in (to_svg(network), compare_svg([network])):
        root = ElementTree.fromstring(svg)
        assert float(root.get("width")) < 900
    hints = [element.text for element in ElementTree.fromstring(to_svg(network)).iter(f"{SVG}title")]
    assert {"a" * 300, "b" * 300} <= set(hints)


def test_the_chapters_figure_has_both_networks_and_both_blocks():
    svg = compare_svg([create_model("vgg11"), create_model("nin")])
    texts = assert_well_made(svg)
    assert {"vgg11", "nin"} <= set(texts)
    assert [text for text in texts if text.startswith("VGG block")] == [
        "VGG block (1 conv, 64)",
        "VGG block (1 conv, 128)",
        "VGG block (2 convs, 256)",
        "VGG block (2 convs, 512)",
        "VGG block (2 convs, 512)",
        "VGG block (block3)",
    ]
    assert [text for text in texts if text.startswith("NiN block")] == [
        "NiN block (11×11, 96, stride 4)",
        "NiN block (5×5, 256, pad 2)",
        "NiN block (3×3, 384, pad 1)",
        "NiN block (3×3, 10, pad 1)",
        "NiN block (block1)",
    ]
    assert texts.count("3×3 conv, 256, pad 1") == 2
    assert texts.count("2×2 max pool, stride 2") == 1
    assert texts.count("1×1 conv, 96") == 2
    assert "global average pool" in texts
    assert texts.count("fully connected, 4096") == 2


@pytest.mark.parametrize(
    "names", [["lenet"], ["lenet", "alexnet", "vgg11"], ["nin", "nin_28", "nin_imagenet", "vgg11"]]
)
def test_one_to_four_networks_are_drawn_side_by_side(names):
    texts = assert_well_made(compare_svg([create_model(name) for name in names]))
    assert [text for text in texts if text in names] == names


@pytest.mark.parametrize("number", [0, 5])
def test_no_network_or_too_many_are_refused(number):
    with pytest.raises(NetworkError, match=f"expected 1 to 4 networks, received {number}"):
        compare_svg([create_model("lenet")] * number)


def test_blocks_have_their_names_from_the_literature():
    network = Network(
        Block(a=Conv2d(8, 3, padding=1), n=BatchNorm2d(), r=ReLU(), b=Conv2d(6, 1), c=Conv2d(4, 1)),
        Block(a=Conv2d(8, 3, padding=1), r=ReLU(), p=MaxPool2d(2)),
        Block(a=Conv2d(8, 3, padding=1), d=Dropout(0.5)),
        Block(only=Conv2d(5, 1)),
        input_size=12,
    )
    _, texts = drawn(compare_svg([network]))
    assert "NiN block (3×3, 8/6/4, pad 1)" in texts
    assert "VGG block (1 conv, 8)" in texts
    assert "block (2 layers, 8×11×11)" in texts
    assert "1×1 conv, 5" in texts


@pytest.mark.parametrize(
    ("layer", "label"),
    [
        (Conv2d(96, 11, stride=4), "11×11 conv, 96, stride 4"),
        (Conv2d(8, (3, 5), stride=(2, 1), padding=(1, 2)), "3×5 conv, 8, stride 2×1, pad 1×2"),
        (Conv2d(192, 5, padding=2, depthwise=True), "5×5 depthwise conv, 192, pad 2"),
        (MaxPool2d(3, stride=2), "3×3 max pool, stride 2"),
        (MaxPool2d(3, stride=2, ceil_mode=True), "3×3 max pool, stride 2, rounding up"),
        (AvgPool2d(2, stride=2, padding=1), "2×2 average pool, stride 2, pad 1"),
        (Dropout(0.5), "dropout 0.5"),
        (GlobalAvgPool2d(), "global average pool"),
        (Flatten(), "flatten"),
        (Linear(4096), "fully connected, 4096"),
        (BatchNorm2d(), "batch norm"),
        (ReLU(), "ReLU"),
        (ReLU6(), "ReLU6"),
        (Sigmoid(), "sigmoid"),
    ],
)
def test_a_layer_has_a_short_description(layer, label):
    assert layer.label == label


def test_the_text_of_a_small_network():
    network = Network(
        Block(conv=Conv2d(4, 3), relu=ReLU(), mlp1=Conv2d(2, 1)),
        MaxPool2d(2, stride=2),
        Flatten(),
        Linear(1),
        input_size=6,
        name="tiny",
    )
    assert to_text(network) == (
        "tiny: 59 parameters, 712 MACs for one 1×6×6 image\n"
        "\n"
        "         ↓ 1×6×6\n"
        "block1   ┌ 3×3 conv, 4 → ReLU\n"
        "         └ 1×1 conv, 2             50 parameters\n"
        "         ↓ 2×4×4\n"
        "pool1    ─ 2×2 max pool, stride 2\n"
        "         ↓ 2×2×2\n"
        "flatten  ─ flatten\n"
        "         ↓ 8\n"
        "fc1      ─ fully connected, 1       9 parameters\n"
        "         ↓ 1\n"
    )


@given(st.text())
def test_any_text_is_escaped_for_xml(text):
    root = ElementTree.fromstring(f'<a b="{escape(text)}">{escape(text)}</a>'.encode())
    expected = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
    assert (root.text or "") == expected.replace("\r\n", "\n").replace("\r", "\n")
    assert not len(root)


@given(st.text(), st.floats(20, 300))
def test_a_shortened_text_fits_and_is_the_start_of_the_text(text, most):
    cut = shorten(text, most)
    assert text_width(cut) <= most
    assert cut == text or (cut.endswith("…") and text.startswith(cut[:-1]))


def test_a_block_with_a_depthwise_convolution_is_neither_of_nin_nor_of_vgg():
    mobile = Block(conv=Conv2d(8, 1), relu=ReLU6(), mlp1=Conv2d(8, 3, padding=1, depthwise=True), relu1=ReLU6())
    point = Block(conv=Conv2d(8, 3), mlp1=Conv2d(8, 1, depthwise=True))
    pooled = Block(conv=Conv2d(8, 3, padding=1, depthwise=True), pool=MaxPool2d(2))
    network = Network(mobile, point, pooled, input_size=12)
    assert "3×3 depthwise conv, 8, pad 1 → ReLU6" in to_text(network)
    texts = assert_well_made(compare_svg([network]))
    assert [text for text in texts if text.startswith(("NiN block", "VGG block"))] == []
    assert [text for text in texts if text.startswith("block (") and "layers" in text] == [
        "block (4 layers, 8×12×12)",
        "block (2 layers, 8×10×10)",
        "block (2 layers, 8×9×9)",
    ]
