"""The code of tutorial, guides and explanations runs, and so do the examples in the docstrings of the public names."""

import doctest
import importlib.util
import re
import shlex
import sys

import numpy as np
import pytest

import mlpconv
from mlpconv.data import ImageDataset, Splits, dataset_source
from support.documentation import DOCS, code_blocks

PAGES = sorted(
    page
    for page in [
        *DOCS.glob("*.md"),
        *(page for part in ("tutorial", "how-to", "explanation") for page in (DOCS / part).glob("*.md")),
        # Their translations have the same code: tests/test_editions_pages.py.
        *(page for page in (DOCS / "editions").glob("*.md") if "." not in page.stem),
    ]
    if code_blocks(page)
)

NOT_OURS = ("make", "source", "pip", "sudo")
"""Programs in the pages that the tests do not run, because they install something."""

SMALLER = {"--max-time 30m": "--max-time 0.001s", " --open": ""}


def stripes(count, seed):
    """Images of 28×28 in ten classes that differ by where they are light."""
    labels = np.arange(count) % 10
    images = np.random.default_rng(seed).integers(0, 60, (count, 28, 28, 1)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 + 2 * label : 6 + 2 * label] += 150
    return images, labels.astype(np.int64)


@pytest.fixture
def few_images(monkeypatch, tmp_path):
    """Every data set has few images, nothing is downloaded, and the pages' picture and folder of images exist."""
    from PIL import Image

    import mlpconv.data
    import mlpconv.jobs.prepare
    import mlpconv.jobs.run_data

    def load(name, **options):
        names = dataset_source(name).class_names if isinstance(name, str) else name.class_names
        splits = [ImageDataset(*stripes(20, seed), names, f"{name}/{seed}") for seed in (0, 1)]
        return Splits(*splits)

    def get(name, *, into=None, **options):
        return mlpconv.data.Location(tmp_path / (into or "cache"), "here")

    monkeypatch.setattr(mlpconv.data, "load_dataset", load)
    monkeypatch.setattr(mlpconv, "load_dataset", load, raising=False)
    monkeypatch.setattr(mlpconv.data, "get_dataset", get)
    monkeypatch.setattr(mlpconv.jobs.run_data, "load_dataset", load)
    # Three epochs of few images are enough here.
    monkeypatch.setattr(mlpconv.jobs.prepare, "epochs_of", lambda recipe, count: recipe.epochs)
    for index, image in enumerate(stripes(20, 3)[0]):
        path = tmp_path / "photos" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)
    Image.fromarray(stripes(1, 2)[0][0, ..., 0]).resize((90, 60)).save(tmp_path / "shirt.jpg")


@pytest.fixture
def working_directory(monkeypatch, tmp_path):
    """An empty working directory from which modules can be imported; restores the process's state afterwards."""
    import logging

    from mlpconv.models import registry

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MLPCONV_ALLOCATOR", "system")
    # A launcher of several processes sets them for these.
    for name in ("OMP_NUM_THREADS", "GLOO_SOCKET_IFNAME", "TORCHELASTIC_SIGNALS_TO_HANDLE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name in ("MLPCONV_DATA", "MLPCONV_CACHE", "MLPCONV_LOG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    handlers, level = list(logging.root.handlers), logging.getLogger("mlpconv.api").level
    yield tmp_path
    logging.root.handlers[:] = handlers
    logging.getLogger("mlpconv.api").setLevel(level)
    sys.modules.pop("my_networks", None)


def run_shell(code, patch, capsys):
    """Run the lines of a shell block that call mlpconv; other programs must be listed in NOT_OURS."""
    from mlpconv.__main__ import main as start
    from mlpconv.cli import output

    for line in code.splitlines():
        for original, shorter in SMALLER.items():
            line = line.replace(original, shorter)
        program, *arguments = shlex.split(line, comments=True)
        if program != "mlpconv":
            assert program in NOT_OURS, line
            continue
        output.out.cache_clear()
        output.err.cache_clear()
        patch.setattr(sys, "argv", ["mlpconv", *arguments])
        try:
            start()
            status = 0
        except SystemExit as exit_request:
            status = exit_request.code or 0
        captured = capsys.readouterr()
        assert status == 0, f"{line}: {captured.err}"
        assert captured.out, line


def chapter_network():
    from support import chapter_pytorch

    return chapter_pytorch.nin(lazy=False)


GIVEN = {"given: net, the chapter's network": lambda: {"net": chapter_network()}}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_the_code_of_a_page_runs(page, working_directory, few_images, monkeypatch, capfd):
    text = page.read_text(encoding="utf-8")
    for needed in re.findall(r"^<!-- needs: (.*) -->$", text, re.MULTILINE):
        for package in needed.split(", "):
            if importlib.util.find_spec(package) is None:
                pytest.skip(f"{package} is not installed")
    names = {"__name__": "__main__"}
    for block in code_blocks(page):
        if block.note.startswith("not run: "):
            continue
        where = f"{page.name}, line {block.line}"
        if block.file:
            (working_directory / block.file).write_text(block.code, encoding="utf-8")
        elif block.language == "sh":
            run_shell(block.code, monkeypatch, capfd)
        elif block.language == "python":
            names |= GIVEN[block.note]() if block.note.startswith("given: ") else {}
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)
        else:
            assert block.language == "text", where


NEEDED = {
    "Classifier": ("sklearn", "torch"),
    "Run": ("sklearn", "torch"),
    "Splits": ("sklearn",),
    "TrainOptions": ("sklearn", "torch"),
    "create_model": ("torch",),
    "load": ("sklearn", "torch"),
    "load_dataset": ("sklearn",),
    "train": ("sklearn", "torch"),
}
"""The optional dependencies of the examples in docstrings."""


def run_example(thing, name):
    """Run the example in the docstring of a public name as a session of Python; its output must be as shown."""
    (session,) = doctest.DocTestFinder(recurse=False).find(thing, name, globs={})
    assert session.examples, f"the docstring of {name} has no example (>>>)"
    report = []
    results = doctest.DocTestRunner().run(session, out=report.append)
    assert not results.failed, "".join(report)


@pytest.mark.parametrize("name", mlpconv.__all__)
def test_the_example_of_a_public_name_runs(name, working_directory):
    for package in NEEDED.get(name, ()):
        pytest.importorskip(package, reason=f"{package} is not installed")
    run_example(getattr(mlpconv, name), name)


def test_a_docstring_without_an_example_or_with_another_output_is_reported():
    def without_example():
        """Adds numbers."""

    def other_output():
        """Adds numbers.

        Example:
            >>> 1 + 1
            3
        """

    with pytest.raises(AssertionError, match="without_example has no example"):
        run_example(without_example, "without_example")
    with pytest.raises(AssertionError, match=r"Expected:\s+3\s+Got:\s+2"):
        run_example(other_output, "other_output")


def test_a_block_is_found_with_its_note_and_name(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "a\n\n<!-- not run: x -->\n```sh\nls\n```\n\n```{code-block} toml\n:caption: f.toml\n\nk = 1\n```\n"
    )
    shell, named = code_blocks(page)
    assert (shell.language, shell.code, shell.note, shell.file, shell.line) == ("sh", "ls\n", "not run: x", None, 5)
    assert (named.language, named.code, named.file) == ("toml", "k = 1\n", "f.toml")


def test_a_command_that_fails_is_reported(working_directory, monkeypatch, capsys):
    with pytest.raises(AssertionError, match="unknown model"):
        run_shell("mlpconv summary nim\n", monkeypatch, capsys)
    with pytest.raises(AssertionError, match="rm"):
        run_shell("rm x\n", monkeypatch, capsys)


def test_there_are_pages_with_code():
    assert {page.stem for page in PAGES} >= {"first-run", "chapter", "own-network", "recipes", "resume", "speed"}
