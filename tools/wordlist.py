"""Report words that a reader of this project's text would stumble over, and what to write instead.

Scans the comments, docstrings and messages of Python files (of tests only comments and docstrings), the comments and
texts of JavaScript files, the text of Markdown files and notebooks outside code, and templates. Exits with 1 if
anything is found.

Example: python tools/wordlist.py mlpconv/cli docs
"""

import argparse
import ast
import io
import json
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from languages import TRANSLATIONS

ROOT = Path(__file__).parents[1]
WORDS = Path(__file__).with_name("words.txt")
SCANNED = ("mlpconv", "tests", "docs", "tools", "notebooks", "*.md", "Makefile")
SKIPPED = ("CHANGELOG.md", *(f"*.{language.code}.*" for language in TRANSLATIONS), "tools/words.txt")
SUFFIXES = (".py", ".js", ".mjs", ".md", ".ipynb", ".j2", ".toml")
CODE = re.compile(r"^(```|~~~).*?^\1|``[^`]+``|`[^`\n]+`|<!--.*?-->", re.DOTALL | re.MULTILINE)


JAVASCRIPT = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`""", re.DOTALL)
"""Comments and strings, each from its first character to its last."""


class Word(NamedTuple):
    """An entry of the word list."""

    pattern: re.Pattern[str]
    suggestion: str


class Passage(NamedTuple):
    """A piece of text and the line of its file on which it starts."""

    line: int
    text: str


def read_words(text: str) -> list[Word]:
    """The entries of a word list.

    Args:
        text: One entry per line, ``words → suggestion`` or ``/regular expression/ → suggestion``. Either matches whole
            words in any letter case; a space matches any white space. Lines that start with ``#`` are comments.
    """
    words = []
    for line in text.splitlines():
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        found, _, suggestion = entry.partition(" → ")
        regex = found[1:-1] if found.startswith("/") else re.escape(found).replace(r"\ ", " ")
        regex = regex.replace(" ", r"\s+")
        words.append(Word(re.compile(rf"\b(?:{regex})\b", re.IGNORECASE), suggestion))
    return words


def passages(path: Path) -> Iterator[Passage]:
    """The text of a file: what people read, without code."""
    text = path.read_text(encoding="utf-8")
    match path.suffix:
        case ".py":
            tests = "tests" in path.relative_to(ROOT).parts
            yield from _comments(text)
            yield from _strings(ast.parse(text), docstrings_only=tests)
        case ".js" | ".mjs":
            for found in JAVASCRIPT.finditer(text):
                if " " in found[0].strip('"` '):  # others are keys and names
                    yield Passage(1 + text.count("\n", 0, found.start()), found[0])
        case ".ipynb":
            for cell in json.loads(text)["cells"]:
                if cell["cell_type"] == "markdown":
                    yield Passage(1, _without_code("".join(cell["source"])))
        case ".md":
            yield Passage(1, _without_code(text))
        case _:
            yield Passage(1, text)


def _without_code(text: str) -> str:
    return CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), text)


def _comments(text: str) -> Iterator[Passage]:
    """Comments, those on consecutive lines as one passage."""
    lines = [
        (token.start[0], token.string.lstrip("# "))
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    ]
    start = 0
    for index in range(1, len(lines) + 1):
        if index == len(lines) or lines[index][0] != lines[index - 1][0] + 1:
            yield Passage(lines[start][0], "\n".join(comment for _, comment in lines[start:index]))
            start = index


def _strings(tree: ast.Module, *, docstrings_only: bool) -> Iterator[Passage]:
    """Strings of several words; those without a space are keys and names."""
    for node in ast.walk(tree):
        if docstrings_only and not isinstance(node, ast.Expr):
            continue
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant) and isinstance(child.value, str) and " " in child.value.strip():
                yield Passage(child.lineno, child.value)


def files(arguments: list[str]) -> Iterator[Path]:
    """The files to scan, below the given paths or all of ``SCANNED``."""
    roots = [Path(argument).resolve() for argument in arguments] or [
        path for pattern in SCANNED for path in sorted(ROOT.glob(pattern))
    ]
    for root in roots:
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            name = path.relative_to(ROOT)
            skipped = "_build" in name.parts or any(name.match(pattern) for pattern in SKIPPED)
            if path.is_file() and not skipped and (path.suffix in SUFFIXES or path.name == "Makefile"):
                yield path


def main() -> int:
    """Print each finding as FILE:LINE: and return the exit code."""
    parser = argparse.ArgumentParser(description="Report words of tools/words.txt, with what to write instead.")
    parser.add_argument("paths", nargs="*", help="Files and directories to scan; by default the whole project.")
    options = parser.parse_args()
    words = read_words(WORDS.read_text(encoding="utf-8"))
    findings = set()
    for path in files(options.paths):
        for passage in passages(path):
            for word in words:
                for found in word.pattern.finditer(passage.text):
                    line = passage.line + passage.text.count("\n", 0, found.start())
                    findings.add((str(path.relative_to(ROOT)), line, " ".join(found[0].split()), word.suggestion))
    for file, line, text, suggestion in sorted(findings):
        print(f"{file}:{line}: {text!r}: write {suggestion}")
    if findings:
        print(f"{len(findings)} findings; the list is tools/words.txt", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
