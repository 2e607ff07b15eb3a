"""Reads the documentation for the tests: code blocks, and the links of built pages."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r"((?:^<!--[^\n]*-->\n)?)^```(\{code-block\} )?(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class CodeBlock(NamedTuple):
    """A fenced code block."""

    language: str
    code: str
    note: str
    """The comment directly before the block."""
    file: str | None
    """The file name under which the reader saves the block."""
    line: int


def code_blocks(page: Path) -> list[CodeBlock]:
    """The code blocks of a Markdown page, in order."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in FENCE.finditer(text):
        note, directive, language, code = match.groups()
        file = None
        if directive:
            caption, _, code = code.partition("\n\n")
            file = caption.removeprefix(":caption: ")
        line = text.count("\n", 0, match.start(4)) + 1
        blocks.append(CodeBlock(language, code, note.strip().removeprefix("<!-- ").removesuffix(" -->"), file, line))
    return blocks


class BuiltPage(HTMLParser):
    """The links, anchors and language of a built page, and the files that it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.language = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {key: value or "" for key, value in attrs}
        self.anchors |= {attributes[key] for key in ("id", "name") if key in attributes}
        if tag == "html":
            self.language = attributes.get("lang", "")
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag == "link" and attributes.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(attributes["href"])
        if "src" in attributes:
            self.loaded.append(attributes["src"])
