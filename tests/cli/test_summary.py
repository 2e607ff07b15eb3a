"""`mlpconv summary` and `models`, as people read them."""

import re
from xml.etree import ElementTree

import pytest

from mlpconv.models import list_models


def numbers(text):
    return set(re.findall(r"\d[\d,]*", text))


def test_the_table_of_the_chapter(cli):
    said = cli("summary", "nin")
    assert said.code == 0
    rows = {line.split()[0]: line.split() for line in said.out.splitlines() if line.strip()}
    shapes = {
        "input": "1×224×224",
        "block1": "96×54×54",
        "pool1": "96×26×26",
        "block2": "256×26×26",
        "pool2": "256×12×12",
        "block3": "384×12×12",
        "pool3": "384×5×5",
        "dropout1": "384×5×5",
        "block4": "10×5×5",
        "gap": "10×1×1",
    }
    for name, shape in shapes.items():
        assert shape in rows[name]
    assert rows["flatten"][2] == "10"
    assert {"1,992,166", "762,297,352", "1,524,594,704", "4,506,039,600"} <= numbers(said.out)
    assert "batch 128, float32" in said.out
    assert "training with sgd" in said.out


def test_the_table_with_every_layer(cli):
    said = cli("summary", "nin", "--depth", "layer")
    line = next(line for line in said.out.splitlines() if line.startswith("block1.conv"))
    assert numbers(line) >= {"11,712", "33,872,256", "33,592,320", "279,936", "67,744,512", "11"}
    assert "normalization" not in said.out
    assert "normalization" in cli("summary", "nin_28", "--depth", "layer").out


@pytest.mark.parametrize("columns", [60, 80, 100, 120])
@pytest.mark.parametrize(
    "command",
    [
        ["models"],
        ["recipes"],
        ["data", "list"],
        *(["summary", name, "--depth", depth] for name in ("nin", "vgg11") for depth in ("block", "layer")),
        ["summary", "nin", "--compare", *list_models()],
    ],
    ids=" ".join,
)
def test_nothing_is_wider_than_the_terminal(cli, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    said = cli(*command)
    # Commands to copy, paths and the least that a layer's row says are not broken.
    lines = [line for line in said.out.partition("\nnext:")[0].splitlines() if "/" not in line]
    least = 71 if "layer" in command else 0
    assert max(map(len, lines)) <= max(columns, least)
    assert "…" not in said.out


def test_columns_that_do_not_fit_are_named(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "no space for type, " in cli("summary", "nin", "--depth", "layer").out
    monkeypatch.setenv("COLUMNS", "200")
    assert "no space" not in cli("summary", "nin", "--depth", "layer").out


def test_options_change_the_numbers(cli):
    small = cli("summary", "nin", "--batch-size", "1", "--optimizer", "adam", "--precision", "bfloat16").out
    assert "batch 1, bfloat16" in small
    # Two float32 values for each parameter, at every precision.
    line = next(line for line in small.splitlines() if line.split()[:1] == ["optimizer"])
    assert line.split()[-2:] == ["15.2", "MiB"]
    other = cli("summary", "nin_cifar10", "--input", "1x40X48", "--classes", "7").out
    assert "one image of 1×40×48, 7 classes" in other


def test_networks_side_by_side(cli):
    said = cli("summary", "nin", "--compare", "alexnet", "vgg11", "lenet")
    assert said.out.splitlines()[0].split() == ["nin", "alexnet", "vgg11", "lenet"]
    share = next(line for line in said.out.splitlines() if "fully connected" in line)
    assert share.split()[2:] == ["0.0%", "92.0%", "92.8%", "95.8%"]


def test_diagrams(cli, tmp_path):
    said = cli("summary", "nin", "--svg", "nin.svg")
    assert "nin.svg" in said.out
    both = cli("summary", "vgg11", "--svg", "both.svg", "--compare", "nin", "--json")
    assert both.json()["compare"]
    for name, words in (("nin.svg", {"nin"}), ("both.svg", {"nin", "vgg11"})):
        root = ElementTree.parse(tmp_path / name).getroot()
        assert words <= {text.strip() for text in root.itertext()}


def test_a_network_of_your_own(cli, tmp_path):
    (tmp_path / "own_network.py").write_text(
        "from mlpconv import create_model\ndef build(num_classes=3):\n    return create_model('nin_28', num_classes)\n"
    )
    said = cli("summary", "own_network:build")
    assert said.code == 0
    assert "one image of 1×28×28, 3 classes" in said.out


def test_all_models_are_listed(cli):
    said = cli("models").out
    assert [line.split()[0] for line in said.splitlines()[2 : 2 + len(list_models())]] == list_models()
    assert "Dive into Deep Learning, section 8.3" in said


def test_the_shapes_as_an_edition_prints_them(cli):
    said = cli("summary", "nin", "--as", "pytorch")
    assert said.out.splitlines()[0] == "Sequential output shape:\t torch.Size([1, 96, 54, 54])"
    assert len(said.out.splitlines()) == 10
    said = cli("summary", "nin", "--as", "pytroch")
    assert said.code == 2
    assert "unknown --as 'pytroch'; did you mean 'pytorch'" in said.err
    said = cli("summary", "nin", "--as", "gluon", "--json")
    assert said.code == 2
    assert "--as: prints the shapes of one network; omit --json" in said.err
