"""`mlpconv export`: the file that it writes, what it says, and its errors."""

import json
import sys

import numpy as np
import pytest

from mlpconv.inference.classifier import Classifier
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


def needs_onnx():
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def test_a_run_becomes_an_onnx_file_that_is_used_like_it(cli, run, tmp_path):
    needs_onnx()
    said = cli("export", "runs/one", "--to", "onnx", "--license", "CC0-1.0")
    assert said.code == 0, said.err
    assert said.out.startswith("runs/one/one.onnx: ")
    assert "(16 synthetic images); no test image is stored" in said.out
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
    opened = Classifier(run.path / "one.onnx", backend="onnxruntime")
    np.testing.assert_allclose(opened.logits(images), Classifier(run, precision="float32").logits(images), atol=1e-4)
    texts = opened.model.texts
    assert (texts["license"], texts["source"]) == ("CC0-1.0", "one")
    assert float(texts["accuracy"]) == run.result.test_accuracy
    value = cli("export", "latest", "--to", "onnx", "--out", "a.onnx", "--json").json()
    assert (value["to"], value["file"], value["weights"], value["real_images"]) == ("onnx", "a.onnx", "float32", False)
    assert value["bytes"] == (tmp_path / "a.onnx").stat().st_size


def test_onnx_needs_weights_that_give_numbers(cli, tmp_path):
    needs_onnx()
    made = make_run(tmp_path / "run")
    weights = random_weights(made.config.make_network(), dtype=np.float32)
    made.write_weights({name: value * np.float32(1e30) for name, value in weights.items()})
    said = cli("export", "run", "--to", "onnx")
    assert (said.code, "not finite" in said.err) == (2, True)
    assert not list(tmp_path.rglob("*.onnx"))


def test_an_onnx_file_is_not_exported_again(cli, run):
    needs_onnx()
    cli("export", "runs/one", "--to", "onnx")
    said = cli("export", "runs/one/one.onnx", "--to", "html")
    assert (said.code, "already an ONNX file" in said.err) == (2, True)


def test_a_missing_package_is_named(cli, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in [name for name in sys.modules if name.startswith("mlpconv.export.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    said = cli("export", "runs/one", "--to", "onnx")
    assert said.code == 2
    assert 'pip install "mlpconv[export]"' in said.err


def test_a_torch_export_program(cli, run, tmp_path):
    torch = pytest.importorskip("torch")
    value = cli("export", "runs/one", "--to", "torch", "--json").json()
    assert value["file"] == "runs/one/one.pt2"
    texts = {"mlpconv.class_names": ""}
    program = torch.export.load(run.path / "one.pt2", extra_files=texts).module()
    assert tuple(json.loads(texts["mlpconv.class_names"])) == run.config.data.class_names
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), np.uint8)
    expected = Classifier(run, precision="float32").logits(images)
    np.testing.assert_allclose(program(torch.from_numpy(images)).detach(), expected, atol=1e-4)


def test_weights_for_gluon_as_convert_writes_them(cli, run, tmp_path):
    value = cli("export", "runs/one", "--to", "mxnet", "--json").json()
    assert value["bytes"] == (run.path / "one.params").stat().st_size
    assert cli("convert", "runs/one", "--out", "b.params").code == 0
    assert (run.path / "one.params").read_bytes() == (tmp_path / "b.params").read_bytes()
    said = cli("export", "runs/one", "--to", "mxnet", "--out", "b.txt")
    assert (said.code, ".params" in said.err) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--to", "onnx", "--weights", "float16"),
        ("--to", "torch", "--no-examples"),
        ("--to", "html", "--license", "MIT"),
        ("--to", "triton", "--open"),
    ],
)
def test_options_of_another_kind_are_refused(cli, run, arguments):
    said = cli("export", "runs/one", *arguments)
    assert said.code == 2
    assert f"leave it out for --to {arguments[1]}" in said.err
    assert len(list(run.path.iterdir())) == len(list(make_names(run)))


def make_names(run):
    """The files of the run itself."""
    return [path for path in run.path.iterdir() if not path.name.startswith("one")]


def test_a_model_repository_of_triton(cli, run, tmp_path):
    needs_onnx()
    value = cli("export", "runs/one", "--to", "triton", "--out", "models", "--json").json()
    assert (value["file"], value["model"]) == ("models", "one")
    files = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "models").rglob("*") if path.is_file())
    assert files == ["models/one/1/model.onnx", "models/one/config.pbtxt", "models/one/labels.txt"]
    said = cli("export", "runs/one", "--to", "triton", "--out", "models")
    assert (said.code, "already has one" in said.err) == (2, True)
    assert cli("export", "runs/one/weights.safetensors", "--to", "triton", "--out", "models").code == 0
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["one", "weights"]
