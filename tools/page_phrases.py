"""Translate the generated pages of docs/exercises/ by the phrases of docs/exercises/phrases.toml.

Each entry of that file is an English phrase and its translations. A phrase may have placeholders: ``{name}`` stands for
one name or number and ``{name:kept}`` for any text, which are kept; ``{name:text}`` for another phrase and
``{name:sentence}`` for one without its period; ``{name:list}`` for several phrases with commas between and
``{name:parts}`` with semicolons. A text that begins with a capital may have its phrase without it.
"""

import re
import tomllib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

PHRASES = Path(__file__).parents[1] / "docs" / "exercises" / "phrases.toml"

_PATTERNS = {
    None: r"\S+(?: [kKMGT](?:iB)?)?",
    "kept": r".+",
    "text": r".+",
    "sentence": r".+",
    "list": r"[^;]+",
    "parts": r".+",
}
"""What a placeholder of each kind stands for."""

_SEPARATORS = {"list": ", ", "parts": "; "}
"""What is between the items of a list; a phrase like the others."""

_PLACEHOLDER = re.compile(r"\{(\w+)(?::(\w+))?\}")


class MissingPhrases(Exception):
    """Texts that no phrase translates."""


class _Template(NamedTuple):
    """A phrase with placeholders."""

    english: re.Pattern[str]
    translation: str
    kinds: dict[str, str | None]


class Translator:
    """Translates pages into one language.

    Args:
        code: The code of the language, as in docs/languages.toml.
    """

    def __init__(self, code: str):
        entries = tomllib.loads(PHRASES.read_text(encoding="utf-8"))
        self._phrases = {english: translated[code] for english, translated in entries.items()}
        self._missing: list[str] = []

    @cached_property
    def _templates(self) -> list[_Template]:
        """The phrases with placeholders, those with most text first."""
        with_places = [english for english in self._phrases if _PLACEHOLDER.search(english)]
        with_places.sort(key=lambda english: -len(_PLACEHOLDER.sub("", english)))
        return [_Template(_pattern(english), self._phrases[english], _kinds(english)) for english in with_places]

    def page(self, text: str) -> str:
        """Translate a page.

        Raises:
            MissingPhrases: Texts of the page are not translated; the message has each of them.
        """
        self._missing = []
        translated = "\n".join("".join(self._line(line)) for line in text.split("\n"))
        if self._missing:
            raise MissingPhrases("\n".join(dict.fromkeys(self._missing)))
        return translated

    def _line(self, line: str) -> Iterator[str]:
        """The translated parts of a line of Markdown."""
        if line.startswith("|"):
            cells = line.strip("| ").split(" | ")
            yield f"| {' | '.join(map(self._phrase, cells))} |"
        elif found := re.fullmatch(r"(#+ |- |\*|!\[)?(.*?)(\*|\]\(\S+\))?", line):
            mark, words, end = found.groups(default="")
            yield from (mark, self._phrase(words), end)

    def _phrase(self, text: str) -> str:
        """Translate a sentence, cell or part of one."""
        found = self._find(text)
        if found is None:
            items = [self._find(item) for item in text.split(_SEPARATORS["list"])]
            found = None if None in items else self._phrases[_SEPARATORS["list"]].join(filter(None, items))
        if found is None and " " in text and re.search(r"[A-Za-z]{2} ?[a-z(]", re.sub(r"`[^`]*`", "", text)):
            self._missing.append(text)
        return text if found is None else found

    def _find(self, text: str) -> str | None:
        """The translation of a text by one phrase, if there is one."""
        for written in (text, f"{text[:1].lower()}{text[1:]}"):
            if written in self._phrases:
                return self._phrases[written]
        for template in self._templates:
            if match := template.english.fullmatch(text):
                values = {name: self._value(value, template.kinds[name]) for name, value in match.groupdict().items()}
                return template.translation.format(**values)
        return None

    def _value(self, text: str, kind: str | None) -> str:
        """Translate the text of a placeholder."""
        if kind in _SEPARATORS:
            items = map(self._phrase, text.split(_SEPARATORS[kind]))
            return self._phrases[_SEPARATORS[kind]].join(items)
        if kind == "sentence":
            return self._phrase(f"{text}.")
        return self._phrase(text) if kind == "text" else text


def _pattern(english: str) -> re.Pattern[str]:
    pattern, end = "", 0
    for found in _PLACEHOLDER.finditer(english):
        pattern += f"{re.escape(english[end : found.start()])}(?P<{found[1]}>{_PATTERNS[found[2]]})"
        end = found.end()
    return re.compile(pattern + re.escape(english[end:]))


def _kinds(english: str) -> dict[str, str | None]:
    return {found[1]: found[2] for found in _PLACEHOLDER.finditer(english)}
