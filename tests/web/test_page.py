"""The page as a file: it loads nothing, and no text in it becomes markup."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mlpconv.web import page
from support.html_page import Page

ROOT = Path(page.__file__).parents[2]
HOSTILE = "</script><script>alert(1)</script><!-- <b> ' \" & \u2028"


@pytest.fixture(scope="module")
def assembled():
    return page.assemble(b"the classifier", {"name": HOSTILE, "numbers": [1, 2.5, None]}, HOSTILE)


def element(text, id_):
    """The text of a script element."""
    return re.search(rf'<script[^>]* id="{id_}">(.*?)</script>', text, re.DOTALL)[1]


def test_the_page_has_its_data(assembled):
    assert json.loads(element(assembled, "about-data")) == {"name": HOSTILE, "numbers": [1, 2.5, None]}
    assert base64.b64decode(element(assembled, "classifier")) == b"the classifier"
    kernel = Path(page.__file__).parent / "engine" / "kernel.wasm"
    assert base64.b64decode(element(assembled, "kernel")) == kernel.read_bytes()


def test_hostile_text_is_text(assembled):
    parsed = Page(assembled)
    assert len(parsed.all("script")) == 4
    assert not parsed.all("b")
    assert Page(page.assemble(b"", {}, "")).tags == parsed.tags


def test_the_policy_names_the_hashes_of_what_is_in_the_page(assembled):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', assembled)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))

    def hashed(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    style = re.search(r"<style>(.*?)</style>", assembled, re.DOTALL)[1]
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"{hashed(element(assembled, 'program'))} 'wasm-unsafe-eval'"
    assert rules["style-src"] == hashed(style)
    assert "unsafe-inline" not in policy
    assert "connect-src" not in policy  # default-src holds


def test_the_page_names_no_other_place(assembled):
    assert not re.findall(r"https?://|//[a-z]+\.", element(assembled, "program").replace("http-equiv", ""))
    attributes = {key for _, tag in Page(assembled).tags for key in tag}
    assert not attributes & {"src", "style", "onclick", "onload", "onerror", "action"}
    assert [tag["href"] for tag in Page(assembled).all("link")] == ["data:,"]


def test_modules_are_joined_in_the_order_of_their_imports(tmp_path):
    (tmp_path / "a.js").write_text('import { b } from "./b.js";\nimport { c } from "./c.js";\nb(c);\n')
    (tmp_path / "b.js").write_text('import { c } from "./c.js";\nexport function b() {\n  return c;\n}\n')
    (tmp_path / "c.js").write_text("export const c = 1;\n")
    joined = page.join_modules(tmp_path / "a.js")
    body = "const c = 1;\nfunction b() {\n  return c;\n}\nb(c);\n"
    assert joined == f'"use strict";\n(() => {{\n{body}}})();\n'


@pytest.mark.parametrize(
    "text",
    ["export const c = 2;\n", "export default 3;\n", 'import * as d from "./c.js";\n', 'const d = "</script>";\n'],
)
def test_what_cannot_be_joined_is_noticed(tmp_path, text):
    (tmp_path / "a.js").write_text('import { c } from "./c.js";\nimport { b } from "./b.js";\nb(c);\n')
    (tmp_path / "b.js").write_text(text)
    (tmp_path / "c.js").write_text("export const c = 1;\n")
    with pytest.raises(AssertionError):
        page.join_modules(tmp_path / "a.js")


def test_the_modules_have_the_right_types_and_the_kernel_is_assembled():
    if not (ROOT / "node_modules" / "typescript").is_dir() or shutil.which("npm") is None:
        pytest.skip("the development tools are not installed; npm ci installs them")
    command = ["npm", "run", "--silent", "check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
