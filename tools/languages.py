"""Write into each translated text the line that links it to its translations.

The languages are those of docs/languages.toml. Missing texts are reported; the exit code is then 1.

Example: python tools/languages.py
"""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LIST = ROOT / "docs" / "languages.toml"
STUDY_PAGES = tuple(f"docs/exercises/{each.stem}.md" for each in sorted((ROOT / "docs/exercises").glob("*.json")))
"""The pages of studies, which tools/study_pages.py writes in every language."""

TEXTS = ("README.md", "docs/editions/index.md", "docs/exercises/index.md", "notebooks/chapter.ipynb", *STUDY_PAGES)
"""The texts that exist in every language, by their paths in the first one."""

EDITIONS = {
    "docs/editions/gluon.md": "zh",
    "docs/editions/pytorch.md": "zh",
    "docs/editions/d2lzh-pytorch.md": "zh",
    "docs/editions/pytorch-notes.md": "zh",
    "docs/editions/three-frameworks.md": "ja",
}
"""The pages on the editions of the chapter, and the language of each edition, into which its page is translated."""


class Language(NamedTuple):
    """An entry of the list of languages."""

    code: str
    """Its code in file names and in the attribute ``lang`` of HTML."""
    name: str
    """Its name in the language itself."""
    recognized_by: str
    """A regular expression for its script or frequent words, found in every paragraph of more than 30 characters."""


LANGUAGES = tuple(Language(**each) for each in tomllib.loads(LIST.read_text(encoding="utf-8"))["language"])
TRANSLATIONS = LANGUAGES[1:]


def languages_of(text: str) -> tuple[Language, ...]:
    """The languages in which one of the ``TEXTS`` or ``EDITIONS`` exists."""
    if text in EDITIONS:
        return tuple(language for language in LANGUAGES if language.code in (LANGUAGES[0].code, EDITIONS[text]))
    return LANGUAGES


def path(text: str, language: Language) -> str:
    """The path of a text in a language, from its path in the first one."""
    if language == LANGUAGES[0]:
        return text
    stem, _, suffix = text.rpartition(".")
    return f"{stem}.{language.code}.{suffix}"


def original(text: str) -> str:
    """The path of a text in the first language, from its path in any."""
    codes = "|".join(re.escape(language.code) for language in TRANSLATIONS)
    return re.sub(rf"\.(?:{codes})(\.(?:md|ipynb))$", r"\1", text)


def links(text: str, language: Language) -> str:
    """The line that links a text in a language to its translations."""
    return " · ".join(
        f"**{other.name}**" if other == language else f"[{other.name}]({Path(path(text, other)).name})"
        for other in languages_of(text)
    )


def with_links(content: str, text: str, language: Language) -> str:
    """The content of a file, with that line as the third of the page, or of the notebook's first cell."""
    if text.endswith(".ipynb"):
        book = json.loads(content)
        cell = book["cells"][0]
        cell["source"] = _with_third_line("".join(cell["source"]), links(text, language)).splitlines(keepends=True)
        return json.dumps(book, indent=1, ensure_ascii=False) + "\n"
    return _with_third_line(content, links(text, language))


def _with_third_line(page: str, line: str) -> str:
    """A page with a line after its heading, instead of the line of links that it has."""
    heading, empty, third, *rest = page.split("\n")
    has_links = any(f"**{language.name}**" in third for language in LANGUAGES)
    return "\n".join([heading, empty, line, *([] if has_links else ["", third]), *rest])


def main() -> int:
    """Write the lines, print what is missing, and return the exit code."""
    missing = 0
    for text in (*TEXTS, *EDITIONS):
        for language in languages_of(text):
            file = ROOT / path(text, language)
            if file.is_file():
                file.write_text(with_links(file.read_text(encoding="utf-8"), text, language), encoding="utf-8")
            else:
                print(f"{path(text, language)}: missing; write it in {language.name}", file=sys.stderr)
                missing += 1
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
