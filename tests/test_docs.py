"""The documentation site builds without warnings, its links are valid, and its reference is complete."""

import importlib.util
import os
import re
import subprocess
import sys
from typing import get_args
from urllib.parse import unquote, urlsplit

import filelock
import pytest
from languages import LANGUAGES

import mlpconv
from mlpconv.arch.layers import AnyLayer
from mlpconv.models import list_models
from mlpconv.training.recipes import RECIPES
from support.chromium import CHROMIUM, launched
from support.documentation import DOCS, BuiltPage

pytest.importorskip("sphinx", reason="sphinx is not installed")
pytest.importorskip("furo", reason="furo is not installed")

spec = importlib.util.spec_from_file_location("generated", DOCS / "_ext" / "generated.py")
generated = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generated)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the built site; the first worker that needs it builds it for all."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    with filelock.FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
            command += ["-d", folder / "doctrees", DOCS, folder / "html"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert not done.stderr
            (folder / "complete").touch()
    return folder / "html"


@pytest.fixture(scope="session")
def pages(site):
    return {path: BuiltPage(path) for path in site.rglob("*.html")}


def test_every_page_is_built(site):
    for page in DOCS.rglob("*.md"):
        if "_build" not in page.parts:
            assert (site / page.relative_to(DOCS)).with_suffix(".html").is_file(), page


def test_every_page_states_its_language(pages, site):
    codes = {language.code for language in LANGUAGES[1:]}
    stated = {path.relative_to(site).as_posix(): page.language for path, page in pages.items()}
    for name, language in stated.items():
        code = name.removesuffix(".html").rpartition(".")[2]
        assert language == (code if code in codes else "en"), name
    assert codes <= set(stated.values())


def test_translated_pages_are_in_the_navigation_and_linked_from_the_start_page(pages, site):
    start = pages[site / "index.html"]
    for text in ("editions/index", "exercises/index"):
        for language in LANGUAGES[1:]:
            # Once in the navigation, once in the text.
            assert start.links.count(f"{text}.{language.code}.html") >= 2, (text, language.code)


def test_links_and_anchors_are_valid(pages, site):
    count = 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme == "https", f"{path.relative_to(site)}: {link}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.relative_to(site)}: {link} leads nowhere"
            # Pages without content, such as the search, create their anchors by script.
            if parts.fragment and target.suffix == ".html":
                known = pages[target].anchors
                assert unquote(parts.fragment) in known, f"{path.relative_to(site)}: {link} has no such anchor"
            count += 1
    assert count > 500


def test_nothing_is_loaded_from_other_hosts(pages, site):
    for path, page in pages.items():
        for address in page.loaded:
            assert not urlsplit(address).netloc, f"{path}: loads {address}"
            assert (path.parent / unquote(urlsplit(address).path)).is_file(), f"{path}: {address} does not exist"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(\s*['\"]?|@import\s+['\"])(https?:)?//", sheet.read_text(encoding="utf-8"))


def test_every_public_name_is_in_the_reference(pages, site):
    anchors = pages[site / "reference" / "python.html"].anchors
    assert {f"mlpconv.{name}" for name in mlpconv.__all__} <= anchors
    assert {f"mlpconv.arch.layers.{layer.__name__}" for layer in get_args(AnyLayer)} <= anchors


def test_docstrings_are_shown_as_written(site):
    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    # A colon in the first line of a field's docstring: the text before it is not a type.
    assert "<p>Confusion matrix on the test images: rows are true classes" in text
    assert "<strong>**changes</strong>" in text
    # Python's own docstring of a field of a NamedTuple; each field has one that describes it.
    assert "Alias for field number" not in text
    assert text.count('class="rubric">Example') == len(mlpconv.__all__)


def test_every_command_and_option_is_in_the_reference(site):
    import typer

    from mlpconv.cli import app

    text = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    group = typer.main.get_command(app)
    known = {f"mlpconv {name}": command for name, command in group.commands.items()}
    for name in ("data", "bench"):
        known |= {f"mlpconv {name} {inner}": command for inner, command in group.commands[name].commands.items()}
    del known["mlpconv data"]  # a group without an action
    for name, command in known.items():
        assert f'id="{name.replace(" ", "-")}"' in text, name
        section = text.partition(f'id="{name.replace(" ", "-")}"')[2].partition("<section")[0]
        for parameter in command.params:
            is_option = parameter.param_type_name == "option"
            for shown in parameter.opts if is_option else [parameter.metavar or parameter.name]:
                assert shown in section, f"{name} {shown}"


@pytest.mark.parametrize(("page", "names"), [("networks", list_models()), ("recipes", list(RECIPES))])
def test_every_registered_name_has_a_section(pages, site, page, names):
    anchors = pages[site / "reference" / f"{page}.html"].anchors
    assert {name.replace("_", "-") for name in names} <= anchors


def test_every_schema_is_in_the_reference(pages, site):
    page = pages[site / "reference" / "json.html"]
    for schema in (DOCS / "json").glob("*.schema.json"):
        assert schema.name.removesuffix(".schema.json") in page.anchors
        assert any(link.endswith(schema.name) for link in page.links)


def test_every_error_has_its_exit_code(site):
    text = (site / "reference" / "exit-codes.html").read_text(encoding="utf-8")
    for name in ("NetworkError", "DataError", "RecipeError", "RunError", "WeightsError", "MissingDependency"):
        assert re.search(rf"{name}.*?<p>2</p>", text, re.DOTALL)
    assert re.search(r"TrainingFailed.*?<p>3</p>", text, re.DOTALL)


def test_every_file_of_a_run_is_described():
    import mlpconv.runs.run as run

    text = (DOCS / "reference" / "files.md").read_text(encoding="utf-8")
    for line in run.__doc__.splitlines()[2:]:
        assert f"| `{line.split()[0]}` |" in text


def test_every_mark_is_replaced_in_the_built_page(site):
    for page in (DOCS / "reference").glob("*.md"):
        for name in generated.MARK.findall(page.read_text(encoding="utf-8")):
            assert generated.GENERATED[name]()
        built = (site / "reference" / f"{page.stem}.html").read_text(encoding="utf-8")
        assert not re.search("(<|&lt;)!-- generated:", built)


def test_a_generated_table_escapes_its_cells():
    assert generated.table(["a", "b"], [("x | y", "z")]).splitlines()[2] == "| x &#124; y | z |"


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt install chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(site, width, scheme):
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    names = ["index", "tutorial/chapter", "how-to/own-network", "reference/command-line", "reference/json", "costs"]
    names += ["editions/pytorch.zh", "editions/three-frameworks.ja"]
    complaints = []
    with launched() as browser:
        page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith("http") and complaints.append(request.url))
        for name in names:
            page.goto((site / f"{name}.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide"
            for found in axe.Axe().run(page, options={"preload": False}).response["violations"]:
                if found["impact"] in ("serious", "critical"):
                    places = [node["html"][:120] for node in found["nodes"][:3]]
                    complaints.append(f"{name}: {found['id']}: {places}")
    assert not complaints
