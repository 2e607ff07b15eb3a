"""The command line, called in this process in an empty directory; and one short real training run."""

import json
import sys
from typing import NamedTuple

import pytest

from mlpconv.__main__ import main
from mlpconv.cli import output


class Said(NamedTuple):
    """What a command wrote, and how it ended."""

    code: int
    out: str
    err: str

    def json(self):
        assert self.code == 0, self.err
        assert not self.err
        return json.loads(self.out)


def call(capture, arguments, patch):
    """Run a command as the installed program does."""
    # Consoles keep the width that they were made with.
    output.out.cache_clear()
    output.err.cache_clear()
    patch.setattr(sys, "argv", ["mlpconv", *map(str, arguments)])
    capture.readouterr()
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    return Said(code, *capture.readouterr())


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path_factory):
    """Neither the tester's data and cache nor the tester's terminal take part."""
    for name in ("MLPCONV_DATA", "MLPCONV_CACHE", "MLPCONV_LOG", "COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    # The switch is of the whole process, and other tests run in this one.
    monkeypatch.setenv("MLPCONV_ALLOCATOR", "system")


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """cli("summary", "nin") → Said(code, out, err), in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: call(capsys, arguments, monkeypatch)


DIGITS = (
    "train",
    "--data",
    "digits",
    "--model",
    "nin_28",
    "--image-size",
    "14",
    "--batch-size",
    "32",
    "--epochs",
    "1",
    "--precision",
    "float32",
    "--set",
    "augmentation.flip=false",
)
"""A network that learns the handwritten digits in about a second."""


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """The directory of a run that `mlpconv train` made, trained for an epoch on the digits."""
    import contextlib
    import io

    path = tmp_path_factory.mktemp("digits") / "run"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setenv("MLPCONV_ALLOCATOR", "system")
        patch.setattr(sys, "argv", ["mlpconv", *DIGITS, "--out", str(path), "--json"])
        with contextlib.suppress(SystemExit):
            main()
    (path.parent / "said.json").write_text(said.getvalue())
    return path


@pytest.fixture
def digit(tmp_path):
    """An image file: a handwritten digit, light on dark as those that the network learnt from, and its label."""
    from PIL import Image

    from mlpconv.data import load_dataset

    test = load_dataset("digits").test
    path = tmp_path / "digit.png"
    Image.fromarray(test.images[0, ..., 0]).save(path)
    return path, test.class_names[test.labels[0]]


@pytest.fixture(scope="session")
def chapter_file(tmp_path_factory):
    """What the chapter's LeNet leaves when its state_dict is saved."""
    import torch

    from support import chapter_pytorch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("chapter") / "lenet.pt"
    torch.save(chapter_pytorch.lenet(lazy=False).state_dict(), path)
    return path
