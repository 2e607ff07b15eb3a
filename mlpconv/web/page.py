"""The page as one HTML file that loads nothing: the joined modules, the style, the network and what is known of it."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpconv.version import __version__

_DIRECTORY = Path(__file__).parent
_MAIN = _DIRECTORY / "page" / "main.js"
_IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.{1,2}/[\w./]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=async function |function |const |let |class )", re.MULTILINE)
_NAME = re.compile(r"^(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)


def assemble(classifier: bytes | bytearray, about: Mapping[str, Any], title: str) -> str:
    """The page of a classifier.

    Args:
        classifier: The content of a classifier file (.safetensors) with tensors of float16 or float32.
        about: What the page tells about the network; page/about.js defines the fields (``About``).
        title: The title while the page is loading.

    Returns:
        The HTML. Its content security policy allows no request and only the scripts and styles that it contains.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    program, style = join_modules(_MAIN), (_DIRECTORY / "page" / "page.css").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src '{_hash(program)}' 'wasm-unsafe-eval'; style-src '{_hash(style)}'; "
        "img-src data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'"
    )
    templates = Environment(loader=FileSystemLoader(_DIRECTORY / "page"), autoescape=True, undefined=StrictUndefined)
    return templates.get_template("page.html.j2").render(
        policy=Markup(policy),
        version=__version__,
        title=title,
        style=Markup(style),
        program=Markup(program),
        about=Markup(_embedded(about)),
        kernel=_base64((_DIRECTORY / "engine" / "kernel.wasm").read_bytes()),
        classifier=_base64(classifier),
    )


def join_modules(main: Path) -> str:
    """A module and all modules that it imports as one script, in the order in which they need each other.

    The modules share one scope, so their names at the top level must differ, and they import names unchanged.
    """
    texts: dict[Path, str] = {}

    def add(path: Path) -> None:
        if path in texts:
            return
        text = path.read_text(encoding="utf-8")
        for names, other in _IMPORT.findall(text):
            assert " as " not in names, f"{path}: imports a name under another one"
            add((path.parent / other).resolve())
        texts[path] = _EXPORT.sub("", _IMPORT.sub("", text))

    add(main.resolve())
    joined = "".join(texts.values())
    names = _NAME.findall(joined)
    assert len(set(names)) == len(names), f"defined twice: {sorted(name for name in names if names.count(name) > 1)}"
    assert not re.search(r"^(import|export)\b|</script|<!--", joined, re.MULTILINE)
    return f'"use strict";\n(() => {{\n{joined}}})();\n'


def _hash(text: str) -> str:
    """The source expression that allows a script or style in a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embedded(value: Mapping[str, Any]) -> str:
    """JSON for a script element: no text in it can end the element."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _base64(content: bytes | bytearray) -> str:
    return base64.b64encode(content).decode()
