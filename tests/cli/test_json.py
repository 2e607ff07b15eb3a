"""What --json prints, checked against its schema in docs/json."""

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from support.random_values import random_weights
from support.run_directories import make_run
from support.served import Server, need_serve

SCHEMAS = Path(__file__).parents[2] / "docs" / "json"
NAMES = sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.schema.json"))
CHECKED = {
    "compare",
    "convert",
    "data-check",
    "data-clean",
    "data-get",
    "data-list",
    "dead-classes",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "models",
    "predict",
    "predict-out",
    "recipes",
    "report",
    "runs",
    "serve",
    "summary",
    "train",
}


def check(name, value):
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
    return value


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_valid(name):
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


def test_every_schema_is_in_the_documentation():
    assert set(NAMES) >= CHECKED


def test_models(cli):
    rows = check("models", cli("models", "--json").json())
    nin = next(row for row in rows if row["name"] == "nin")
    assert (nin["parameters"], nin["macs"], nin["input_shape"]) == (1_992_166, 762_297_352, [1, 224, 224])


def test_summary_has_the_published_numbers(cli):
    value = check("summary", cli("summary", "nin", "--json").json())
    assert value["format"] == 1
    assert value["flops"] == 1_524_594_704
    assert value["training_flops"] == 4_506_039_600
    assert value["memory"]["batch"] == 128
    for kind in ("prediction", "training"):
        terms = dict(value["memory"][kind])
        assert terms.pop("total") == sum(terms.values())
    for key in ("parameters", "macs", "flops"):
        assert value[key] == sum(layer[key] for layer in value["layers"])
    assert value["layers"][-1]["output_shape"] == [10]
    assert "compare" not in value


@pytest.mark.parametrize(
    "names",
    [
        ("--compare", "alexnet", "vgg11", "lenet"),
        ("--compare", "alexnet", "--compare", "vgg11", "--compare", "lenet"),
        ("--compare", "alexnet", "--batch-size", "8", "vgg11", "lenet"),
    ],
)
def test_summary_of_several_networks(cli, names):
    value = check("summary", cli("summary", "nin", *names, "--json").json())
    assert value["name"] == "nin"
    assert [each["name"] for each in value["compare"]] == ["alexnet", "vgg11", "lenet"]
    shares = [each["fully_connected_parameters"] / each["parameters"] for each in value["compare"]]
    assert value["fully_connected_parameters"] == 0
    assert min(shares) > 0.9


def test_summary_of_a_network_without_a_map(cli, tmp_path):
    layers = {"flatten": {"kind": "flatten"}, "fc1": {"kind": "linear", "out_features": 3}}
    (tmp_path / "net.json").write_text(json.dumps({"format": 1, "input_size": 4, "layers": layers}))
    value = check("summary", cli("summary", "net.json", "--json").json())
    assert value["receptive_field"] is None
    assert value["parameters"] == 16 * 3 + 3


def test_data_list(cli):
    rows = check("data-list", cli("data", "list", "--json").json())
    digits = next(row for row in rows if row["name"] == "digits")
    assert digits["image_shape"] == [1, 8, 8]
    assert digits["path"]


def test_data_get(cli):
    assert check("data-get", cli("data", "get", "digits", "--json").json())["origin"] == "scikit-learn"


def test_recipes(cli):
    rows = check("recipes", cli("recipes", "--json").json())
    assert {"quick", "d2l"} <= {row["name"] for row in rows}


def test_export(cli, tmp_path):
    run = make_run(tmp_path / "run")
    run.write_weights(random_weights(run.config.make_network(), dtype=np.float32))
    value = check("export", cli("export", "run", "--to", "html", "--json").json())
    assert (value["file"], value["real_images"], value["weights"]) == ("run/run.html", False, "float16")
    assert check("export", cli("export", "run", "--to", "mxnet", "--json").json())["to"] == "mxnet"


@pytest.mark.parametrize("to", ["onnx", "triton"])
def test_export_of_onnx(cli, tmp_path, to):
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    run = make_run(tmp_path / "run")
    run.write_weights(random_weights(run.config.make_network(), dtype=np.float32))
    assert check("export", cli("export", "run", "--to", to, "--json").json())["weights"] == "float32"


def test_serve(tmp_path):
    need_serve()
    run = make_run(tmp_path / "run")
    run.write_weights(random_weights(run.config.make_network(), dtype=np.float32))
    server = Server(tmp_path, "run")
    assert server.stop() == 0
    assert check("serve", server.said)["models"] == ["run"]


def test_dead_classes(cli):
    pytest.importorskip("torch")
    command = ("dead-classes", "nin", "--data", "digits", "--image-size", "70", "--images", "8", "--seeds", "2")
    value = check("dead-classes", cli(*command, "--json").json())
    assert [row["seed"] for row in value["seeds"]] == [0, 1]


def test_doctor(cli):
    value = check("doctor", cli("doctor", "--json").json())
    assert value["training"]["backend"] == "torch"
    assert value["packages"]["torch"]


def test_train(digits_run):
    text = (digits_run.parent / "said.json").read_text()
    assert text.count("\n") == 1
    value = check("train", json.loads(text))
    assert value["run"] == str(digits_run)
    assert value["test_accuracy"] > 0.8


def test_evaluate_agrees_with_training(cli, digits_run):
    value = check("evaluate", cli("evaluate", digits_run, "--json", "--precision", "float32").json())
    trained = json.loads((digits_run.parent / "said.json").read_text())
    assert value["accuracy"] == pytest.approx(trained["test_accuracy"])
    assert sum(map(sum, value["confusion"])) == value["images"] == 360


def test_predict(cli, digits_run, digit):
    path, label = digit
    (said,) = check("predict", cli("predict", digits_run, path, "--json", "--top", "2").json())
    assert said["file"] == str(path)
    assert said["top"][0]["label"] == label
    assert len(said["top"]) == 2


def test_runs(cli, digits_run):
    (row,) = check("runs", cli("runs", digits_run.parent, "--json").json())
    assert row["run"] == str(digits_run)
    assert row["finished"]


def test_no_runs(cli):
    assert check("runs", cli("runs", "--json").json()) == []


def test_convert(cli, chapter_file):
    value = check(
        "convert", cli("convert", chapter_file, "--model", "lenet", "--out", "l.safetensors", "--json").json()
    )
    assert value["class_names"] == list("0123456789")


def test_report(cli, digits_run, tmp_path):
    value = check("report", cli("report", digits_run, "--out", tmp_path / "r.html", "--json").json())
    assert value["finished"]
    assert (tmp_path / "r.html").stat().st_size == value["bytes"]


def test_compare(cli, digits_run, tmp_path):
    shutil.copytree(digits_run, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "result.json").unlink()
    value = check("compare", cli("compare", digits_run, tmp_path / "unfinished", "--out", "c.html", "--json").json())
    assert value["results"]["finished"] == [True, False]
    assert value["results"]["test_accuracy"][0] == value["results"]["test_accuracy"][1] > 0.8
    assert value["results"]["seconds"][1] is None
    assert value["differences"] == {}
    assert (tmp_path / "c.html").read_text().startswith("<!doctype html>")


def test_explain(cli, digits_run, digit):
    path, label = digit
    value = check("explain", cli("explain", digits_run, path, "--figure", "--class", "3", "--json").json())
    (image,) = value["images"]
    assert image["predicted"] == label
    assert image["map_size"] == [4, 4]
    assert {"3", label} <= {row["label"] for row in image["classes"]}
    for row in image["classes"]:
        # The maps of nin_28 have no ReLU after them.
        assert row["logit"] == pytest.approx(row["evidence_for"] + row["evidence_against"], abs=1e-4)
    for picture in (image["picture"], value["figure"]):
        assert Path(picture).read_bytes().startswith(b"\x89PNG")
