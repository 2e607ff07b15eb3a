"""The Chinese and Japanese READMEs agree with the English one: commands, code, networks, recipes, numbers."""

import re

import pytest

from mlpconv.training.recipes import RECIPES
from support.documentation import DOCS

ROOT = DOCS.parent


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def code(text):
    """The code blocks of a text, without comments."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [(kind, [re.sub(r"\s*#.*", "", line) for line in lines.splitlines()]) for kind, lines in blocks]


def networks(text):
    return [line.split("|")[1:5] for line in text.splitlines() if re.match(r"\| `\w+` \| [\d,]+ \| [\d,]+ \|", line)]


def decimals(text):
    """Decimal numbers outside of code; most of them are measurements."""
    return set(re.findall(r"(?<![\w./])\d+\.\d+(?![\w/]|\.\d)", re.sub(r"`[^`]*`|\([^)]*\)|（[^）]*）", "", text)))


@pytest.fixture(params=["README.zh.md", "README.ja.md"])
def translated(request):
    return read(request.param)


def test_commands_and_code_are_the_same(translated):
    assert code(translated) == code(read("README.md"))


def test_the_table_of_networks_is_the_same(translated):
    assert networks(translated) == networks(read("README.md")) != []


def test_every_recipe_is_listed(translated):
    named = re.findall(r"^\| `([\w-]+)` \|", translated, re.MULTILINE)
    assert [name for name in named if name in RECIPES] == list(RECIPES)


def test_measured_numbers_are_the_same(translated):
    """The translations contain no outdated number."""
    assert decimals(translated) - decimals(read("README.md")) == set()
    table = re.compile(r"\| ([\d.]+ \| [\d.]+) \|$", re.MULTILINE)
    assert table.findall(translated) == table.findall(read("README.md")) != []


def test_pictures_and_pages_are_the_same(translated):
    def targets(text):
        found = re.findall(r"\]\(((?:docs|notebooks|benchmarks)/[^)#]*)\)", text)
        return {re.sub(r"\.(zh|ja)\.md$", ".md", target) for target in found}  # a page may have its own translation

    # Some pages are linked from the English README only.
    missing = targets(read("README.md")) - targets(translated)
    assert missing <= {"docs/index.md"}
    assert targets(translated) <= targets(read("README.md")) | {"docs/costs.md"}
