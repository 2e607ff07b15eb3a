"""The Chinese and Japanese READMEs agree with the English one: commands, code, networks, recipes, numbers."""

import re

import pytest
from documentation import DOCS

from mlpconv.training.recipes import RECIPES

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
    """Decimal numbers outside of code, but not those of sections, which differ between the editions."""
    text = re.sub(r"`[^`]*`|\([^)]*\)|（[^）]*）|\d+\.\d+ [节節]|section \d+\.\d+", "", text)
    return set(re.findall(r"(?<![\w./])\d+\.\d+(?![\w/]|\.\d)", text))


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
    assert decimals(translated) == decimals(read("README.md"))
    table = re.compile(r"\| ([\d.]+ \| [\d.]+) \|$", re.MULTILINE)
    assert table.findall(translated) == table.findall(read("README.md")) != []


def test_pictures_and_pages_are_the_same(translated):
    def targets(text):
        found = re.findall(r"\]\(((?:docs|notebooks|benchmarks)/[^)#]*)\)", text)
        return {re.sub(r"\.(zh|ja)\.md$", ".md", target) for target in found}  # a page may have its own translation

    assert targets(translated) == targets(read("README.md"))


def test_tables_and_sections_have_the_same_size(translated):
    """A row, a column or a section that a translation lacks is reported."""

    def sizes(text):
        sections = re.split(
            r"^## ", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), flags=re.MULTILINE
        )
        return [[line.count("|") for line in section.splitlines() if line.startswith("|")] for section in sections]

    assert sizes(translated) == sizes(read("README.md"))


def test_one_chinese_term_for_pooling():
    for name in ("README.zh.md", "docs/exercises/index.zh.md", "notebooks/chapter.zh.ipynb"):
        assert "池化" not in read(name)
