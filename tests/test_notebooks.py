"""The chapter's notebooks: stored without results, the same in every language, and carried out on a small budget."""

import ast
import json
import re
from pathlib import Path

import pytest
from languages import LANGUAGES, TRANSLATIONS, path

from mlpconv.data import get_dataset
from mlpconv.errors import DataError

FOLDER = Path(__file__).parent.parent / "notebooks"
NAMES = [path("chapter.ipynb", language) for language in LANGUAGES]


def read(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def sources(name, kind):
    return ["".join(cell["source"]) for cell in read(name)["cells"] if cell["cell_type"] == kind]


def without_words(code):
    """The code as a tree, in which all texts are the same; comments are gone."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


def test_these_are_all_notebooks():
    assert {path.name for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_results_are_stripped(name):
    for cell in read(name)["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert set(read(name)["metadata"]) == {"kernelspec", "language_info"}


@pytest.mark.parametrize("name", NAMES[1:])
def test_the_code_is_the_same_in_every_language(name):
    ours, theirs = sources(NAMES[0], "code"), sources(name, "code")
    assert [without_words(code) for code in ours] == [without_words(code) for code in theirs]
    kinds = [[cell["cell_type"] for cell in read(each)["cells"]] for each in (NAMES[0], name)]
    assert kinds[0] == kinds[1]


def test_names_that_the_code_uses_are_not_translated():
    # The trees above do not see texts: what is loaded, trained and exchanged must be the same too.
    for word in ('"fashion-mnist"', '"quick"', '"d2l"', '"block4"', '"MLPCONV_NOTEBOOK_BUDGET"', '"nin"', '"vgg11"'):
        counts = {sum(code.count(word) for code in sources(name, "code")) for name in NAMES}
        assert len(counts) == 1
        assert counts.pop() >= 1


@pytest.mark.parametrize("language", TRANSLATIONS, ids=lambda language: language.code)
def test_every_text_is_translated(language):
    name = path(NAMES[0], language)
    for ours, theirs in zip(sources(NAMES[0], "markdown"), sources(name, "markdown"), strict=True):
        assert ours != theirs
        assert re.search(language.recognized_by, theirs)
        # Commands and code named in the text are those of the English one.
        code = [set(re.findall(r"`(mlpconv[^`]*)`", text)) for text in (ours, theirs)]
        assert code[0] == code[1]
        assert ours.count("\n#") == theirs.count("\n#")


@pytest.mark.parametrize("name", NAMES)
def test_links_have_a_target(name):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", "\n".join(sources(name, "markdown"))):
        assert (FOLDER / target).exists(), target


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_top_to_bottom(name, tmp_path, monkeypatch):
    pytest.importorskip("ipykernel")
    nbclient = pytest.importorskip("nbclient")
    import nbformat

    try:
        get_dataset("fashion-mnist", download=False)
    except DataError:
        pytest.skip("Fashion-MNIST is not on this machine")
    monkeypatch.setenv("MLPCONV_NOTEBOOK_BUDGET", "small")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # no settings of the user's
    book = nbformat.reads((FOLDER / name).read_text(encoding="utf-8"), as_version=4)
    nbformat.validate(book)
    client = nbclient.NotebookClient(
        book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert (tmp_path / "runs" / "quick-nin-1" / "result.json").exists()
    shown = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in shown if output.output_type == "error" or output.get("name") == "stderr"]
    pages = [output.data["text/html"] for output in shown if "text/html" in output.get("data", {})]
    # The network, the data, the live curves, the run, the costs, two memories, two comparisons, images, predictions.
    assert len(pages) == 11
    assert pages[2].count('class="dot test"') == 1
