"""Every language has its texts, which link to each other.

The READMEs agree in their commands, code, networks, recipes and numbers.
"""

import re

import pytest
from languages import (
    EDITIONS,
    LANGUAGES,
    STUDY_PAGES,
    TEXTS,
    TRANSLATIONS,
    languages_of,
    links,
    original,
    path,
    with_links,
)

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
    """Decimal numbers outside of code, but not those of sections, which differ between the editions."""
    text = re.sub(r"`[^`]*`|\([^)]*\)|（[^）]*）|\d+\.\d+ [节節]|section \d+\.\d+", "", text)
    return set(re.findall(r"(?<![\w./])\d+\.\d+(?![\w/]|\.\d)", text))


def paragraphs(text):
    """The paragraphs and list items of a page, without headings, code, tables, images and links."""
    text = re.sub(r"^```.*?^```|^<!--.*?-->$", "", text, flags=re.DOTALL | re.MULTILINE)
    blocks = re.split(r"\n\s*\n|\n(?=- |\d+\. )", text)
    return [
        block for block in blocks if block.strip() and not re.match(r"\s*(#|\||!\[|\[.*\) · |\*\*.*\*\* · )", block)
    ]


TRANSLATED = [(text, language) for text in (*TEXTS, *EDITIONS) for language in languages_of(text)]


def each(texts):
    return [pytest.param(text, language, id=path(text, language)) for text, language in texts]


in_every_language = pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.code)


@pytest.fixture(params=TRANSLATIONS, ids=lambda language: language.code)
def translated(request):
    return read(path("README.md", request.param))


@pytest.mark.parametrize(("text", "language"), each(TRANSLATED))
def test_every_text_exists_and_links_to_its_translations(text, language):
    content = read(path(text, language))
    assert content == with_links(content, text, language), "run: python tools/languages.py"


@pytest.mark.parametrize("text", [*TEXTS, *EDITIONS])
def test_every_translated_text_is_in_the_list_of_languages(text):
    stem, _, suffix = text.rpartition(".")
    files = [ROOT / f"{stem}.{suffix}", *ROOT.glob(f"{stem}.*.{suffix}")]
    assert {file.relative_to(ROOT).as_posix() for file in files} == {
        path(text, language) for language in languages_of(text)
    }


def test_every_translation_in_docs_is_known():
    found = {file.relative_to(ROOT).as_posix() for file in DOCS.rglob("*.*.md") if "_build" not in file.parts}
    known = {path(text, language) for text, language in TRANSLATED}
    assert found == {name for name in known if name.startswith("docs/") and name.count(".") > 1}


@pytest.mark.parametrize(
    ("text", "language"),
    each(pair for pair in TRANSLATED if pair[0].endswith(".md") and pair[0] not in STUDY_PAGES),  # mostly numbers
)
def test_every_paragraph_is_in_its_language(text, language):
    found = paragraphs(read(path(text, language)))
    assert len(found) > (2 if "editions" in text else 5)  # the pages on editions are mostly tables
    long = [paragraph for paragraph in found if len(paragraph) > 30]
    assert [paragraph for paragraph in long if not re.search(language.recognized_by, paragraph)] == []


def test_the_links_are_written_in_place_of_those_of_another_language_or_after_the_heading():
    first, second = LANGUAGES[:2]
    line = links("README.md", second)
    assert line.startswith(f"[{first.name}](README.md) · **{second.name}**")
    copied = f"# mlpconv\n\n{links('README.md', first)}\n\ntext\n"
    without = "# mlpconv\n\ntext\n"
    for page in (copied, without):
        assert with_links(page, "README.md", second) == f"# mlpconv\n\n{line}\n\ntext\n"


def test_the_columns_of_the_glossary_are_languages():
    header = next(line for line in read("docs/glossary.md").splitlines() if line.startswith("| term"))
    assert set(header.strip("| ").split(" | ")[2:]) <= {language.name for language in TRANSLATIONS}


@in_every_language
def test_the_commands_are_introduced_first_and_links_are_valid(language):
    text = read(path("README.md", language))
    assert text.index("make train") < text.index("make test") < text.index("![")
    for target in re.findall(r"(?<!!)\[[^]]*\]\((?!https?://)([^)#]+)", text):
        assert (ROOT / target).exists(), target
    titles = re.findall(r"^## (.*)$", read("README.md"), re.MULTILINE)
    for heading in re.findall(r"\]\(README\.md#([a-z-]+)\)", text):
        assert heading in {title.lower().replace(",", "").replace(" ", "-") for title in titles}


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
        return {original(target) for target in found}  # a page may have its own translation

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
    pages = [path(text, language) for text, language in TRANSLATED if language.code == "zh"]
    for name in pages:
        assert "池化" not in read(name)
