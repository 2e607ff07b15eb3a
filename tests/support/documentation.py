"""What stands in the documentation, read for the tests: its code blocks, and the links of the built pages."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r"((?:^<!--[^\n]*-->\n)?)^```(\{code-block\} )?(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class CodeBlock(NamedTuple):
    """A fenced block. note: the comment directly before it. file: the name under which the reader is to save it."""

    language: str
    code: str
    note: str
    file: str | None
    line: int


def code_blocks(page: Path) -> list[CodeBlock]:
    """The code blocks of a Markdown page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        note, directive, language, code = match.groups()
        file = None
        if directive:
            caption, _, code = code.partition("\n\n")
            file = caption.removeprefix(":caption: ")
        line = text.count("\n", 0, match.start(4)) + 1
        found.append(CodeBlock(language, code, note.strip().removeprefix("<!-- ").removesuffix(" -->"), file, line))
    return found


class BuiltPage(HTMLParser):
    """The links, the anchors and what a built page loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {key: value or "" for key, value in attrs}
        self.anchors |= {said[key] for key in ("id", "name") if key in said}
        if tag == "a" and "href" in said:
            self.links.append(said["href"])
        if tag == "link" and said.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(said["href"])
        if "src" in said:
            self.loaded.append(said["src"])
