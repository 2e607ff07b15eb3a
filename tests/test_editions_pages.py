"""The pages on the editions of the chapter: their numbers, tables and commands agree with the code."""

import re
import shlex

import pytest
import typer
from languages import EDITIONS, LANGUAGES, TEXTS, original, path

from mlpconv.arch.cost import count
from mlpconv.arch.layers import MaxPool2d
from mlpconv.arch.shapes import block_shapes, show
from mlpconv.cli import app
from mlpconv.drawing.diagram import compare_svg
from mlpconv.models import create_model
from support.documentation import DOCS, code_blocks

PAGES = sorted((DOCS / "editions").glob("*.md"))
NIN = create_model("nin")
COSTS = count(NIN)
CONVOLUTIONS = [layer for layer in COSTS.layers if layer.parameters]

EDITION_COSTS = [
    ("Block 1: Conv", "112×1×96", "33.85 M"),
    ("Block 1: 1x1", "1×96×96", "26.87 M"),
    ("Block 1: 1x1", "1×96×96", "26.87 M"),
    ("Block 2: Conv", "5×5×96×256", "415.29 M"),
    ("Block 2: 1x1", "1×256×256", "44.30 M"),
    ("Block 2: 1x1", "1×256×256", "44.30 M"),
    ("Block 3: Conv", "3×3×256×384", "127.40 M"),
    ("Block 3: 1x1", "1×384×384", "21.23 M"),
    ("Block 3: 1x1", "1×384×384", "21.23 M"),
    ("Block 4: Conv", "3×3×384×10", "0.86 M"),
    ("Block 4: 1x1", "1×10×10", "0.0025 M"),
    ("Block 4: 1x1", "1×10×10", "0.0025 M"),
]
"""The edition's cells: stage, parameters, and multiplications, which it also gives as additions."""
WRONG = {"112×1×96", "33.85 M", "415.29 M"}

BIASES = sum(layer.bias_additions for layer in COSTS.layers)
RELU = sum(layer.activation_ops for layer in COSTS.layers)
_INPUTS = {layer.name: layer.input_shape for layer in COSTS.layers}
MAX_POOLING = sum(c * h * w for name, (c, h, w) in _INPUTS.items() if name.startswith("pool"))
AVERAGE_POOLING = sum(layer.pooling_ops for layer in COSTS.layers if layer.kind == "GlobalAvgPool2d")
COUNTERS = {
    "mlpconv, MACs": COSTS.macs,
    "mlpconv, FLOPs": 2 * COSTS.macs,
    "`FlopCounterMode` of PyTorch 2.13": 2 * COSTS.macs,
    "torchinfo 1.8.0, mult-adds": COSTS.macs + BIASES,
    'ptflops 0.7.5, `backend="aten"`': COSTS.macs + BIASES,
    "ptflops 0.7.5, default": COSTS.macs + BIASES + 2 * (RELU + MAX_POOLING + AVERAGE_POOLING),
    "ptflops 0.7.5, `count_functional` off": COSTS.macs + BIASES + RELU + MAX_POOLING + AVERAGE_POOLING,
    'fvcore 0.1.5, "flops"': COSTS.macs + AVERAGE_POOLING,
    "thop 0.1.1": COSTS.macs + AVERAGE_POOLING + 10,
    "calflops 0.3.2, MACs": COSTS.macs,
    "calflops 0.3.2, FLOPs": 2 * COSTS.macs + BIASES + RELU + MAX_POOLING + AVERAGE_POOLING,
}
"""What each counter printed for the chapter's network, as a sum of our counts."""


def read(page):
    return (DOCS / "editions" / page).read_text(encoding="utf-8")


def tables(text):
    """The rows of each table, without its header, as lists of cells."""
    found = re.findall(r"^\|.*\n\| ---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[[cell.strip() for cell in row.strip("| ").split(" | ")] for row in rows.splitlines()] for rows in found]


def numbers(text):
    """The integers that are written with thousands separators."""
    return re.findall(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])", text)


def millions(cell):
    return float(cell.removesuffix(" M"))


def rounded_down(value, cell):
    """A count in the unit and with the decimals of a cell such as 26.87 M, cut off."""
    decimals = len(cell.removesuffix(" M").partition(".")[2])
    return f"{value * 10**decimals // 10**6 / 10**decimals:.{decimals}f} M"


@pytest.mark.parametrize("page", ["pytorch.md", "pytorch.zh.md"])
def test_the_cost_table_has_the_cells_of_the_edition_next_to_the_exact_values(page):
    (rows,) = (rows for rows in tables(read(page)) if rows[0][0].startswith("Block 1"))

    def shown(cell):
        return f"**{cell}**" if cell in WRONG else cell

    expected = [
        [
            f"{stage}, `{layer.name}`",
            shown(parameters),
            f"{layer.weights:,} + {layer.biases:,}",
            shown(products),
            f"{layer.multiplications:,}",
            f"**{products}**",
            f"{layer.additions:,} + {layer.bias_additions:,}",
        ]
        for (stage, parameters, products), layer in zip(EDITION_COSTS, CONVOLUTIONS, strict=True)
    ]
    assert rows[:-1] == expected
    weights, biases = (sum(getattr(layer, name) for layer in CONVOLUTIONS) for name in ("weights", "biases"))
    additions = sum(layer.additions for layer in CONVOLUTIONS)
    assert rows[-1][1:] == [
        "≈ 1.99 M",
        f"{weights:,} + {biases:,}",
        "**762.2 M**",
        f"{COSTS.macs:,}",
        "**762.2 M**",
        f"{additions:,} + {BIASES:,}",
    ]


def test_the_cells_of_the_edition_are_wrong_where_the_page_says_so():
    for (_, parameters, products), layer in zip(EDITION_COSTS, CONVOLUTIONS, strict=True):
        product = 1
        for factor in parameters.split("×"):
            product *= int(factor)
        assert (product == layer.weights) == (parameters not in WRONG)
        decimals = len(products.removesuffix(" M").partition(".")[2])
        assert (abs(millions(products) - layer.multiplications / 1e6) <= 10**-decimals / 2) == (products not in WRONG)


def test_the_page_corrects_the_cells_with_the_arithmetic_that_it_shows():
    text = read("pytorch.md")
    assert "121·54²·96 = 33,872,256" in text
    assert 121 * 54**2 * 96 == CONVOLUTIONS[0].multiplications == 33_872_256
    assert "2,400·26²·256 = 415,334,400" in text
    assert 2400 * 26**2 * 256 == CONVOLUTIONS[3].multiplications == 415_334_400
    assert not any(abs(121 * side**2 * 96 / 1e6 - 33.85) < 0.005 for side in range(1, 225))
    in_total = sum(millions(products) for _, _, products in EDITION_COSTS)
    assert f"{in_total:.1f}" == "762.2"
    assert f"{COSTS.macs / 1e6:.2f}" == "762.30"
    lacking = [
        layer.multiplications / 1e6 - millions(products)
        for (_, _, products), layer in zip(EDITION_COSTS, CONVOLUTIONS, strict=True)
    ]
    assert f"{lacking[0] + lacking[3]:.2f}" == "0.07"
    assert f"{sum(lacking) - lacking[0] - lacking[3]:.2f}" == "0.03"
    others = zip(EDITION_COSTS, CONVOLUTIONS, strict=True)
    assert all(rounded_down(layer.macs, cell) == cell for (_, _, cell), layer in others if cell not in WRONG)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_large_number_is_one_of_the_code(page):
    known = {BIASES, MAX_POOLING, COSTS.macs, 2400}
    for layer in CONVOLUTIONS:
        known |= {layer.weights, layer.biases, layer.multiplications, layer.additions, layer.bias_additions}
    known |= {sum(getattr(layer, name) for layer in CONVOLUTIONS) for name in ("weights", "biases", "additions")}
    for name in ("nin", "nin_imagenet", "nin_cifar10", "nin_cifar100"):
        known |= {count(create_model(name)).parameters, count(create_model(name)).macs}
    known |= {count(create_model("nin", 100, 3)).parameters, count(create_model("nin_imagenet", 10, 1)).parameters}
    known.add(4 * count(create_model("nin_imagenet")).parameters)
    if page.name == "paper.md":  # the code on the page asserts these two
        known |= {1_986_026, 349_674}
    found = {int(number.replace(",", "")) for number in numbers(page.read_text(encoding="utf-8"))}
    assert found <= known
    assert found


SHAPES = block_shapes(NIN)


def _first(shape):
    return (1, *shape)


def _last(shape):
    return (1, shape[0]) if shape[1:] in ((), (1, 1)) else (1, *shape[1:], shape[0])


TORCH = {"Block": "Sequential", "GlobalAvgPool2d": "AdaptiveAvgPool2d"}
KERAS = {"Block": "Sequential", "MaxPool2d": "MaxPooling2D", "GlobalAvgPool2d": "GlobalAveragePooling2D"}
PRINTED = {
    "pytorch": lambda index, kind, shape: [f"`{TORCH.get(kind, kind)}`, `torch.Size({list(_first(shape))})`"],
    "pytorch-notes": lambda index, kind, shape: [f"`{TORCH.get(kind, kind)}`, `torch.Size({list(_first(shape))})`"],
    "d2lzh-pytorch": lambda index, kind, shape: [f"`{index}`, `torch.Size({list(_first(shape))})`"],
    "gluon": lambda index, kind, shape: [f"`{_first(shape)}`"],
    "three-frameworks": lambda index, kind, shape: [
        f"`{_first(shape)}`",
        f"`{KERAS.get(kind, kind)}`, `{_last(shape)}`",
    ],
}
"""The lines that each edition's cell prints for a block."""


@pytest.mark.parametrize("text", EDITIONS)
def test_the_printed_shapes_stand_next_to_those_of_summary(text):
    edition = text.rpartition("/")[2].removesuffix(".md")
    expected = [
        [*PRINTED[edition](index, kind, shape), f"`{name}` {show(shape)}"]
        for index, (name, kind, shape) in enumerate(SHAPES)
    ]
    for language in LANGUAGES:
        if language.code in ("en", EDITIONS[text]):
            assert expected in tables(read(path(text, language).rpartition("/")[2]))


@pytest.mark.parametrize("text", EDITIONS)
def test_a_translation_has_the_code_and_numbers_of_the_original(text):
    (language,) = (each for each in LANGUAGES if each.code == EDITIONS[text])
    english, translated = (DOCS.parent / text, DOCS.parent / path(text, language))
    assert [block.code for block in code_blocks(translated)] == [block.code for block in code_blocks(english)]
    pages = [page.read_text(encoding="utf-8") for page in (english, translated)]
    assert len({tuple(sorted(numbers(page))) for page in pages}) == 1
    assert len({tuple(len(rows) for rows in tables(page)) for page in pages}) == 1
    links = [
        {original(re.sub(r"#.*", "", link)) for link in re.findall(r"\]\(([^)]+)\)", page)} - {english.name}
        for page in pages
    ]
    assert links[0] == links[1]


def commands(text):
    """The mlpconv commands in code blocks and code spans, as lists of arguments."""
    text = re.sub(r"^<!--.*-->$", "", text, flags=re.MULTILINE)
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
    ]
    lines += re.findall(r"`(mlpconv [^`…]+)`", text)
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("mlpconv ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_exists(page):
    group = typer.main.get_command(app)
    found = commands(page.read_text(encoding="utf-8"))
    assert found or page.name == "paper.md"
    for name, *arguments in found:
        assert name in group.commands, name
        options = {option for parameter in group.commands[name].params for option in parameter.opts}
        for argument in arguments:
            assert not argument.startswith("--") or argument in options, f"{name} {argument}"


def test_the_counters_of_others_are_sums_of_our_counts():
    text = (DOCS / "costs.md").read_text(encoding="utf-8")
    section = text.partition("## What other counters print\n")[2].partition("\n## ")[0]
    printed, terms = tables(section)
    names = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", row[0]) for row in printed]
    assert dict(zip(names, [row[1] for row in printed], strict=True)) == {
        name: f"{value:,}" for name, value in COUNTERS.items()
    }
    assert [row[:2] for row in terms] == [
        ["biases", f"{BIASES:,}"],
        ["ReLU", f"{RELU:,}"],
        ["max pooling", f"{MAX_POOLING:,}"],
        ["average pooling", f"{AVERAGE_POOLING:,}"],
    ]
    comparisons = sum(layer.pooling_ops for layer in COSTS.layers if layer.kind == "MaxPool2d")
    assert f"mlpconv counts comparisons instead: {comparisons:,}" in section


def test_the_sizes_of_the_pools_are_those_of_the_registered_networks():
    def sides(name):
        shapes = block_shapes(create_model(name))
        return " → ".join(
            str(shape[1]) for index, (_, kind, shape) in enumerate(shapes) if index == 0 or "Pool2d" in kind
        )

    text = read("paper.md")
    assert f"**up**: {sides('nin_imagenet').removesuffix(' → 1')} " in text
    assert f"**down**: {sides('nin').removesuffix(' → 1')} " in text
    assert f"down: {sides('nin_cifar10').removesuffix(' → 1')} " in text
    imagenet = count(create_model("nin_imagenet")).parameters
    assert f"× 4 bytes = {4 * imagenet:,} bytes = {4 * imagenet / 2**20:.2f} MiB" in text
    # As in cuda-convnet and Caffe: no padding, rounded up. The maps have the same size.
    up = create_model("nin_cifar10").replace(
        layers={
            name: MaxPool2d(3, stride=2, ceil_mode=True) if name in ("pool1", "pool2") else layer
            for name, layer in create_model("nin_cifar10").layers.items()
        }
    )
    assert [shape for _, _, shape in block_shapes(up)] == [
        shape for _, _, shape in block_shapes(create_model("nin_cifar10"))
    ]


def test_the_figure_is_what_summary_draws():
    stored = (DOCS / "images" / "vgg-nin.svg").read_text(encoding="utf-8")
    networks = [create_model("vgg11"), NIN]
    assert stored == compare_svg(networks)
    for page in ("README.md", "README.zh.md", "README.ja.md", "docs/index.md"):
        text = (DOCS.parent / page).read_text(encoding="utf-8")
        (alternative,) = re.findall(r"!\[([^]]+)\]\((?:docs/)?images/vgg-nin\.svg\)", text)
        assert numbers(alternative) == [f"{count(network).parameters:,}" for network in networks]


@pytest.mark.parametrize("initializer", ["xavier", "torch"])
def test_the_dead_classes_before_the_first_step_are_those_of_the_pages(initializer):
    pytest.importorskip("torch")
    from mlpconv.data import load_dataset
    from mlpconv.errors import DataError
    from mlpconv.explain.dead_classes import initial_dead_classes

    try:
        images = load_dataset("fashion-mnist", download=False).test.images[:64]
    except DataError:
        pytest.skip("Fashion-MNIST is not installed")
    network = NIN.replace(input_size=(70, 70))
    dead = [len(found.classes) for found in initial_dead_classes(network, images, initializer)]
    said = f"{min(dead)} to {max(dead)} of the 10 classes are dead before the first step"
    pages = (
        ("d2lzh-pytorch.md",)
        if initializer == "torch"
        else ("pytorch.md", "pytorch-notes.md", "gluon.md", "three-frameworks.md")
    )
    for page in pages:
        assert said in " ".join(read(page).split()), page


def test_every_page_on_an_edition_is_in_the_index_of_its_language():
    index = "docs/editions/index.md"
    assert index in TEXTS
    for text, code in EDITIONS.items():
        (language,) = (each for each in LANGUAGES if each.code == code)
        assert f"]({text.rpartition('/')[2]})" in read("index.md")
        assert f"]({path(text, language).rpartition('/')[2]})" in read(path(index, language).rpartition("/")[2])
