"""`mlpconv export`: the file that it writes, what it says, and its errors."""

import json

import numpy as np
import pytest

from support.random_values import random_weights
from support.run_directories import make_run


@pytest.fixture
def run(tmp_path):
    made = make_run(tmp_path / "runs" / "one")
    made.write_weights(random_weights(made.config.make_network(), dtype=np.float32))
    return made


def test_a_run_becomes_a_page_in_its_directory(cli, run):
    said = cli("export", "runs/one", "--to", "html")
    assert said.code == 0
    path = run.path / "one.html"
    first, second, *_ = said.out.splitlines()
    assert first.startswith("runs/one/one.html: 1.")
    assert first.endswith(" MiB, weights in float16")
    assert "by at most" in second
    assert "(16 synthetic images)" in second
    assert path.read_text().startswith("<!doctype html>")
    assert f"xdg-open {path.relative_to(run.path.parents[1])}" in said.out
    assert "comparing" in said.err


def test_json_and_another_file(cli, run, tmp_path):
    value = cli("export", "latest", "--to", "html", "--out", "a.html", "--weights", "float32", "--json").json()
    assert value["file"] == "a.html"
    assert value["bytes"] == (tmp_path / "a.html").stat().st_size
    assert (value["weights"], value["largest_difference"], value["examples"]) == ("float32", 0, 0)


def test_a_classifier_file(cli, run):
    assert cli("export", "runs/one/weights.safetensors", "--to", "html").code == 0
    assert (run.path / "weights.html").exists()


def test_an_unfinished_run_is_said_to_be_so(cli, tmp_path):
    made = make_run(tmp_path / "run", done=1, finished=False)
    made.write_weights(random_weights(made.config.make_network(), dtype=np.float32))
    assert "not finished" in cli("export", "run", "--to", "html").err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("runs/two", "--to", "html"), "runs/two"),
        (("runs/one",), "--to"),
        (("runs/one", "--to", "exe"), "html"),
        (("runs/one", "--to", "html", "--out", "runs"), "--out runs: is a directory"),
        (("runs/one", "--to", "html", "--out", "no/a.html"), "--out no/a.html: cannot be written"),
    ],
)
def test_errors(cli, run, arguments, message):
    said = cli("export", *arguments)
    assert said.code == 2
    assert message in said.err
    assert "Traceback" not in said.err


def test_a_run_without_weights(cli, tmp_path):
    make_run(tmp_path / "run", done=0, finished=False)
    said = cli("export", "run", "--to", "html")
    assert said.code == 2
    assert "no weights.safetensors yet" in said.err
    assert not (tmp_path / "run" / "run.html").exists()


def test_weights_that_float16_cannot_hold(cli, tmp_path):
    made = make_run(tmp_path / "run")
    weights = random_weights(made.config.make_network(), dtype=np.float32)
    name = next(name for name, value in weights.items() if value.ndim == 4)
    weights[name] *= 1e6
    made.write_weights(weights)
    value = json.loads(cli("export", "run", "--to", "html", "--json").out)
    assert value["weights"] == "float32"
    said = cli("export", "run", "--to", "html", "--weights", "float16")
    assert (said.code, "use --weights float32" in said.err) == (2, True)
