import re
import sys

import pytest

from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d
from mlpconv.arch.network import Network
from mlpconv.errors import NetworkError
from mlpconv.models import create_model, list_models, model_entry, register_model
from mlpconv.models import registry as registry_module

MODULE = """
from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d
from mlpconv.arch.network import Network

NOT_A_FUNCTION = 3


def tiny(num_classes=4, input_channels=1):
    return Network(Conv2d(num_classes, 3), GlobalAvgPool2d(), Flatten(), input_channels=input_channels, input_size=8)


def fixed():
    return tiny(4)


def any_options(**options):
    return tiny(**options).replace(name="its_own_name")


def greedy(num_classes, width):
    return tiny(num_classes)


def broken():
    return Network(Conv2d(0, 3))


def wrong_kind():
    return [1, 2]


def divides():
    return 1 / 0


def stump():
    return Network(Conv2d(4, 3), input_size=8)
"""
LINE = MODULE.splitlines().index("    return 1 / 0") + 1


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


@pytest.fixture
def own(here):
    (here / "own_networks.py").write_text(MODULE)
    return here


def refused(name, **options):
    with pytest.raises(NetworkError) as caught:
        create_model(name, **options)
    return str(caught.value)


def test_every_entry_states_its_source():
    for name in list_models():
        entry = model_entry(name)
        assert entry.name == name
        assert re.search(r"arXiv:\d{4}\.\d{4,5}|gist [0-9a-f]{20}|section \d+\.\d", entry.source)
        assert entry.build().layers


def test_the_chapters_network_is_listed_first():
    assert list_models()[0] == "nin"


def test_a_network_can_be_registered(monkeypatch):
    monkeypatch.setattr(registry_module, "_ENTRIES", dict(registry_module._ENTRIES))

    @register_model(source="this test")
    def my_net(num_classes: int = 3, input_channels: int = 1) -> Network:
        return Network(Conv2d(num_classes, 3), GlobalAvgPool2d(), Flatten(), input_channels=input_channels)

    register_model(source="this test", name="again")(my_net)
    assert list_models()[-2:] == ["my_net", "again"]
    assert create_model("my_net", num_classes=5).name == "my_net"
    assert create_model("again").name == "again"
    with pytest.raises(NetworkError, match="'my_net' is taken; give another name"):
        register_model(source="this test")(my_net)


def test_the_error_of_an_unknown_name_lists_similar_names_and_alternatives():
    message = refused("nin_cifar11")
    assert "unknown model 'nin_cifar11'; did you mean 'nin_cifar10'?" in message
    assert "vgg11" in message
    assert "net.json" in message
    assert "module:function" in message
    assert "did you mean" not in refused("zzz")


@pytest.mark.parametrize("option", ["num_classes", "input_channels"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "10"])
def test_options_are_whole_numbers_from_one(option, value):
    message = refused("nin", **{option: value})
    assert message == f"nin: {option} must be a whole number of at least 1, not {value!r}"


def test_a_json_file_is_a_network(here):
    network = create_model("nin_28", num_classes=5)
    (here / "net.json").write_text(network.replace(name="").to_json(), encoding="utf-8")
    assert create_model("net.json") == network.replace(name="net")
    assert create_model(str(here / "net.json"), num_classes=5, input_channels=3).input_channels == 3
    (here / "named.json").write_text(network.replace(name="网络").to_json(), encoding="utf-8-sig")
    assert create_model("named.json").name == "网络"


def test_a_json_file_that_fails_is_named_with_the_reason(here):
    assert "missing.json: cannot be read" in refused("missing.json")
    (here / "folder.json").mkdir()
    assert "folder.json: cannot be read" in refused("folder.json")
    (here / "latin.json").write_bytes(b'{"name": "\xe9"}')
    assert "latin.json: not text in UTF-8" in refused("latin.json")
    assert "save it as UTF-8" in refused("latin.json")
    (here / "half.json").write_text(create_model("nin").to_json()[:200])
    assert "half.json: not JSON" in refused("half.json")
    assert "cannot be read" in refused("nul\0.json")
    (here / "net.json").write_text(create_model("nin_28").to_json())
    assert refused("net.json", num_classes=100) == (
        "net.json: it has 10 classes, requested are 100; change its last block"
    )


def test_a_function_can_return_a_network(own):
    assert create_model("own_networks:tiny").name == "tiny"
    other = create_model("own_networks:tiny", num_classes=7, input_channels=3)
    assert other.input_channels == 3
    assert other.layers["conv1"] == Conv2d(7, 3)
    assert create_model("own_networks:fixed", num_classes=4, input_channels=2).input_channels == 2
    assert create_model("own_networks:any_options", num_classes=9).name == "its_own_name"
    assert create_model("own_networks:any_options", num_classes=9).layers["conv1"] == Conv2d(9, 3)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_networks:fixed", ["it has 4 classes, requested are 6"]),
        ("own_networks:tinny", ["unknown function 'tinny'", "did you mean 'tiny'?", "fixed"]),
        ("own_networks:NOT_A_FUNCTION", ["unknown function 'NOT_A_FUNCTION'"]),
        ("own_networks:greedy", ["call failed", "TypeError", "'width'"]),
        ("own_networks:broken", ["own_networks:broken: the call failed: Conv2d: out_channels must be whole"]),
        ("own_networks:wrong_kind", ["must return an mlpconv Network, not list"]),
        ("own_networks:divides", ["call failed", "ZeroDivisionError", f"own_networks.py, line {LINE}"]),
        ("own_networks:stump", ["ends in a map", "GlobalAvgPool2d and Flatten"]),
        ("own_nothing:tiny", ["module 'own_nothing' cannot be imported", "ModuleNotFoundError"]),
        ("own_networks.inner:tiny", ["module 'own_networks.inner' cannot be imported"]),
        (":tiny", ["not a module:function", "my_networks:tiny_nin"]),
        ("own_networks:", ["not a module:function"]),
        ("own_networks:tiny:more", ["not a module:function"]),
        (".own_networks:tiny", ["not a module:function"]),
        ("C:/net", ["not a module:function"]),
        ("math:hypot", ["call failed", "signature"]),
    ],
)
def test_a_function_that_fails_is_named_with_the_reason(own, name, words):
    message = refused(name, num_classes=6)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def f(:\n", ["SyntaxError", "line 1"]),
        ("import own_missing_thing\n", ["ModuleNotFoundError", "own_missing_thing", "own_bad.py, line 1"]),
        ("x = 1\ny = x / 0\n", ["ZeroDivisionError", "own_bad.py, line 2"]),
    ],
)
def test_the_error_of_a_module_that_cannot_be_imported_names_the_line(here, text, words):
    (here / "own_bad.py").write_text(text)
    message = refused("own_bad:f")
    assert "the module 'own_bad' cannot be imported" in message
    assert [word for word in words if word not in message] == []
