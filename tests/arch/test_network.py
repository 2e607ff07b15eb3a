import copy
import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Dropout, Flatten, GlobalAvgPool2d, MaxPool2d, ReLU
from mlpconv.arch.network import Block, Network, Preprocess
from mlpconv.errors import NetworkError
from mlpconv.models import create_model
from support.strategies import LAYER_NAMES, networks

NIN_DIGEST = "d649737dde1ca5d0de4c0b5e4cfd58e6d29dc9daf6fbb43ffe7e8db3f796320a"


@given(networks())
def test_json_gives_the_same_network_back(network):
    again = Network.from_json(network.to_json())
    assert again == network
    assert hash(again) == hash(network)
    assert again.digest == network.digest
    assert again.to_json() == network.to_json()
    assert Network.from_json(network.to_json().encode()) == network
    assert Network.from_dict(network.to_dict()) == network


@given(networks())
@settings(max_examples=30)
def test_a_network_can_be_copied_and_sent_to_another_process(network):
    assert pickle.loads(pickle.dumps(network)) == copy.deepcopy(network) == network
    block = Block(conv=Conv2d(2, 1))
    assert pickle.loads(pickle.dumps(block)) == block


@given(networks(), LAYER_NAMES)
@settings(max_examples=30)
def test_the_digest_depends_only_on_what_the_network_computes(network, name):
    assert network.replace(name="another").digest == network.digest
    assert network.replace(input_size=99).digest == network.digest
    assert network.replace(input_channels=network.input_channels + 1).digest != network.digest
    first = next(iter(network.layers))
    renamed = {name if key == first else key: layer for key, layer in network.layers.items()}
    if name not in network.layers:
        assert Network.named(renamed, input_channels=network.input_channels).digest != network.digest


def test_the_digest_of_nin_is_unchanged():
    # Stored runs and weights carry it: if this fails, files written before no longer match.
    assert create_model("nin").digest == NIN_DIGEST


def test_the_order_of_layers_is_part_of_the_network():
    one, other = {"a": ReLU(), "b": Dropout(0.5)}, {"b": Dropout(0.5), "a": ReLU()}
    assert Network.named(one) != Network.named(other)
    assert Network.named(one).digest != Network.named(other).digest
    assert Block(**one) != Block(**other)


def test_layers_are_named_and_numbered():
    network = Network(
        Conv2d(4, 3),
        BatchNorm2d(),
        ReLU(),
        MaxPool2d(2),
        Block(conv=Conv2d(3, 1), relu=ReLU()),
        Conv2d(2, 1),
        MaxPool2d(2),
        Block(conv=Conv2d(3, 1)),
        GlobalAvgPool2d(),
        GlobalAvgPool2d(),
        Flatten(),
    )
    names = [name for name, _ in network.walk()]
    assert names == [
        "conv1",
        "norm1",
        "relu1",
        "pool1",
        "block1.conv",
        "block1.relu",
        "conv2",
        "pool2",
        "block2.conv",
        "gap",
        "gap2",
        "flatten",
    ]


def test_replace_exchanges_layers_by_name():
    network = create_model("nin")
    changed = network.replace({"dropout1": Dropout(0.2)}, input_channels=3, input_size=(80, 96), name="mine")
    assert changed.layers["dropout1"] == Dropout(0.2)
    assert changed.input_shape == (3, 80, 96)
    assert changed.name == "mine"
    assert list(changed.layers) == list(network.layers)
    assert network.layers["dropout1"] == Dropout(0.5)
    with pytest.raises(NetworkError, match=r"replace: there is no layer 'dropout9'; known: block1, pool1"):
        network.replace({"dropout9": Dropout(0.2)})


def test_networks_and_blocks_are_frozen():
    network, block = create_model("nin"), Block(conv=Conv2d(2, 1))
    with pytest.raises(AttributeError, match=r"use replace\(name=…\)"):
        network.name = "other"
    with pytest.raises(AttributeError, match="frozen"):
        block.layers = {}
    with pytest.raises(TypeError):
        network.layers["block1"] = block  # type: ignore[index]


def test_a_network_has_a_readable_repr():
    text = repr(create_model("nin"))
    assert text.startswith("Network nin (input 1×224×224)\n  block1: Block(conv=Conv2d(out_channels=96, kernel_size=11")
    assert "pool1: MaxPool2d(kernel_size=3, stride=2)" in text


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Network(), ["at least one layer"]),
        (lambda: Network("conv"), ["layer1", "made of layers and blocks", "'conv'"]),  # type: ignore[arg-type]
        (lambda: Network(ReLU(), input_channels=0), ["input_channels", "at least 1", "not 0"]),
        (lambda: Network(ReLU(), input_channels=True), ["input_channels", "whole", "True"]),
        (lambda: Network(ReLU(), input_size=0), ["input_size", "at least 1", "not 0"]),
        (lambda: Network(ReLU(), input_size=(3, 4, 5)), ["input_size", "(height, width)", "(3, 4, 5)"]),  # type: ignore[arg-type]
        (lambda: Network(ReLU(), input_size="28"), ["input_size", "'28'"]),  # type: ignore[arg-type]
        (lambda: Network(ReLU(), name="two\nlines"), ["name", "one line of text", "'two\\nlines'"]),
        (lambda: Network(ReLU(), name=7), ["name", "text", "7"]),  # type: ignore[arg-type]
        (lambda: Network.named({"block1.conv": ReLU()}), ["layer's name", "letters, digits or _", "'block1.conv'"]),
        (lambda: Network.named({"1st": ReLU()}), ["layer's name", "'1st'"]),
        (lambda: Network.named({"": ReLU()}), ["layer's name", "''"]),
        (lambda: Block(), ["Block", "at least one layer"]),
        (lambda: Block(inner=Block(relu=ReLU())), ["Block: inner", "blocks do not nest"]),  # type: ignore[arg-type]
        (lambda: Block(**{"a-b": ReLU()}), ["layer's name", "'a-b'"]),
        (lambda: Preprocess(0), ["preprocess: size", "at least 1", "not 0"]),
        (lambda: Preprocess(8, mode="RGB"), ["preprocess", "RGB has 3 channels", "mean has 1"]),
        (lambda: Preprocess(8, std=(0.0,)), ["preprocess: std", "above 0", "(0.0,)"]),
    ],
)
def test_invalid_networks_are_refused_with_a_message(make, words):
    with pytest.raises(NetworkError) as caught:
        make()
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["not JSON"]),
        ("{", ["not JSON", "line 1"]),
        ("[]", ["expected an object", "'layers'", "not []"]),
        ("null", ["expected an object", "not None"]),
        ('{"format": 1}', ["expected an object with 'format' and 'layers'"]),
        ('{"format": 1, "layers": [1]}', ["expected an object with 'format' and 'layers'"]),
        ('{"layers": {}}', ["format is None", 'write "format": 1']),
        ('{"format": 2, "layers": {}}', ["format is 2", "reads 1", "newer mlpconv: update mlpconv"]),
        ('{"format": 0, "layers": {}}', ["format is 0", 'write "format": 1']),
        ('{"format": true, "layers": {}}', ["format is True", 'write "format": 1']),
        ('{"format": 1, "layers": {}}', ["at least one layer"]),
        ('{"format": 1, "layers": {"a": <relu>}, "sizes": 3}', ["unknown field 'sizes'", "newer mlpconv"]),
        ('{"format": 1, "layers": {"a": 3}}', ["layers.a", 'such as {"kind": "relu"}', "not 3"]),
        ('{"format": 1, "layers": {"a": {}}}', ["layers.a", 'such as {"kind": "relu"}', "not {}"]),
        ('{"format": 1, "layers": {"a": {"kind": "relo"}}}', ["layers.a", "did you mean 'relu'?", "conv2d"]),
        ('{"format": 1, "layers": {"a": {"kind": "relu", "slope": 1}}}', ["layers.a", "`slope`", "fields of relu"]),
        ('{"format": 1, "layers": {"a": {"kind": "conv2d"}}}', ["layers.a", "`out_channels`", "kernel_size, stride"]),
        (
            '{"format": 1, "layers": {"b": {"a": {"kind": "linear", "out_features": "10"}}}}',
            ["layers.b.a", "Expected `int`, got `str`", "'10'", "out_features, bias"],
        ),
        (
            '{"format": 1, "layers": {"b": {"c": {"kind": "conv2d", "out_channels": 1, "kernel_size": [1, 2, 3]}}}}',
            ["layers.b.c", "kernel_size"],
        ),
        ('{"format": 1, "layers": {"a": {"kind": "dropout", "p": 1}}}', ["layers.a", "below 1"]),
        ('{"format": 1, "layers": {"b": {"c": {"d": <relu>}}}}', ["layers.b.c", 'such as {"kind": "relu"}']),
        ('{"format": 1, "layers": {"a b": <relu>}}', ["layer's name", "'a b'"]),
        ('{"format": 1, "layers": {"b": {"a b": <relu>}}}', ["layers.b", "layer's name", "'a b'"]),
        ('{"format": 1, "layers": {"a": <relu>, "a": <relu>}}', ["'a' is given twice", "once"]),
        ('{"format": 1, "layers": {"a": <relu>}, "input_channels": "3"}', ["input_channels", "whole", "'3'"]),
        ('{"format": 1, "layers": {"a": <relu>}, "input_size": [28]}', ["input_size", "(height, width)", "28"]),
        ('{"format": 1, "layers": {"a": <relu>}, "input_size": 0.5}', ["input_size", "0.5"]),
        ('{"format": 1, "layers": {"a": <relu>}, "name": 5}', ["name", "text", "5"]),
        ('{"format": 1, "layers": {"a": <relu>}, "name": "\\ud800"}', ["name", "text", "'\\ud800'"]),
        ('{"format": 1, "layers": {"a": {"kind": "batch_norm2d", "eps": NaN}}}', ["layers.a", "eps", "nan"]),
        ("[" * 100_000, ["not JSON", "recursion"]),
        ('{"format": 1, "layers": {"a": {"kind": "dropout", "\\ud800": 1}}}', ["layers.a: ", "surrogates"]),
        ('{"format":' + "1" * 5000 + "}", ["not JSON"]),
    ],
)
def test_the_error_of_a_broken_file_states_the_place_and_a_remedy(text, words):
    with pytest.raises(NetworkError) as caught:
        Network.from_json(text.replace("<relu>", '{"kind": "relu"}'), where="net.json")
    message = str(caught.value)
    assert message.startswith("net.json: ")
    assert [word for word in words if word not in message] == []
    assert len(message) < 500


def test_bytes_that_are_not_text_are_refused():
    with pytest.raises(NetworkError, match=r"net.json: not JSON: 'utf-8' codec"):
        Network.from_json(b"\xff\xff", where="net.json")


@pytest.mark.parametrize("depth", [50, 300, 600, 850, 900, 930, 950, 970, 990])
def test_deep_nesting_is_refused_at_every_depth(depth):
    text = '{"format": 1, "layers": {"a": ' + "[" * depth + "]" * depth + "}}"
    with pytest.raises(NetworkError):
        Network.from_json(text)


WORDS = ["format", "layers", "name", "input_channels", "input_size", "kind", "relu", "conv2d", "dropout", "p", "stride"]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.text() | st.binary())
def test_any_text_is_read_or_refused(text):
    with pytest.raises(NetworkError):
        Network.from_json(text)


@given(JSON_VALUES)
def test_any_json_is_read_or_refused(value):
    with pytest.raises(NetworkError):
        Network.from_json(json.dumps(value))


@given(networks(most_layers=3), st.data())
def test_one_changed_value_in_a_valid_file_is_read_or_refused(network, data):
    value = network.to_dict()
    place = value
    while True:
        key = data.draw(st.sampled_from(sorted(place, key=str)) if isinstance(place, dict) else st.just(0))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON_VALUES)
    text = json.dumps(value)
    try:
        understood = Network.from_json(text, where="net.json")
    except NetworkError as error:
        message = str(error)
    else:
        message = "net.json: understood"
        assert Network.from_json(understood.to_json()) == understood
    assert message.startswith("net.json: ")


def test_equal_networks_have_equal_digests_whatever_the_type_of_their_numbers():
    layers = (
        Network(BatchNorm2d(), Dropout(0.5), Conv2d(3, 1)),
        Network(
            BatchNorm2d(eps=float("1e-5"), momentum=float("0.1")),
            Dropout(float("0.5")),
            Conv2d(3, 1, stride=1, bias=True),
        ),
    )
    assert layers[0] == layers[1]
    assert layers[0].to_dict() == layers[1].to_dict()
    assert layers[0].digest == layers[1].digest
    text = layers[0].to_json().replace('"kind": "batch_norm2d"', '"kind": "batch_norm2d", "eps": 1e-05')
    assert Network.from_json(text).digest == layers[0].digest
