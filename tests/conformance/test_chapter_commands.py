"""The commands of docs/how-to/chapter-weights.md, in the environment of each back end."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from mlpconv.__main__ import main
from mlpconv.backends.registry import is_installed
from mlpconv.convert import read_weights, write_weights
from mlpconv.models import create_model
from support.random_values import random_weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras' own, in saving.
]
SUFFIXES = {"torch": ".pt", "tensorflow": ".keras", "jax": ".keras", "mxnet": ".params"}
"""The file in which each framework saves the weights of the chapter's network."""


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs a command in an empty directory and returns what it printed; it must succeed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mlpconv", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        printed = capsys.readouterr()
        assert not code, printed.err
        return printed.out

    return run


def test_weights_of_the_chapter_go_through_every_command(backend_name, command, tmp_path):
    if backend_name not in SUFFIXES:
        pytest.skip(f"{backend_name} has no edition of the chapter")
    if not is_installed(backend_name):
        pytest.skip(f"{backend_name} is not installed")
    network, suffix = create_model("lenet"), SUFFIXES[backend_name]
    weights = random_weights(network, dtype=np.float32)
    write_weights(tmp_path / f"net{suffix}", network, weights, names="chapter")
    draw = np.random.default_rng(0)
    names = "abcdefghij"
    for name in names:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(3):
            pixels = draw.integers(0, 256, (28, 28), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")

    command("convert", f"net{suffix}", "--model", "lenet", "--class-names", ",".join(names), "--out", "net.safetensors")
    result = json.loads(command("evaluate", "net.safetensors", "--data", "photos", "--json"))
    assert result["images"] > 0
    (predicted,) = json.loads(command("predict", "net.safetensors", "photos/a/0.png", "--json"))
    assert predicted["top"][0]["label"] in names
    command("convert", "net.safetensors", "--out", f"again{suffix}", "--names", "chapter")
    again = read_weights(network, tmp_path / f"again{suffix}")
    assert list(again) == list(weights)
    assert all(np.array_equal(again[name], weights[name]) for name in weights)
