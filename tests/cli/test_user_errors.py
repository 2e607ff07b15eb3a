"""User errors end with exit code 2 and one message: where, what was received, what to do."""

import json

import pytest

MISTAKES = {
    "no such command": (["sumary", "nin"], "No such command 'sumary'"),
    "misspelt option": (["summary", "nin", "--dept", "layer"], "--depth"),
    "misspelt option of train": (["train", "--epoch", "1"], "--epochs"),
    "no model": (["summary"], "MODEL"),
    "misspelt model": (["summary", "ninn"], "did you mean 'nin'?"),
    "misspelt model to compare": (["summary", "nin", "--compare", "vgg"], "did you mean 'vgg11'?"),
    "two models": (["summary", "nin", "vgg11"], "mlpconv summary nin --compare vgg11"),
    "no such network file": (["summary", "none.json"], "none.json: cannot be read"),
    "no such module": (["summary", "nowhere_at_all:net"], "nowhere_at_all"),
    "input in words": (["summary", "nin", "--input", "big"], "--input big: expected channels"),
    "input of two numbers": (["summary", "nin", "--input", "224x224"], "--input 224x224"),
    "empty input": (["summary", "nin", "--input", ""], "--input"),
    "input of nothing": (["summary", "nin", "--input", "1x0x224"], "--input 1x0x224"),
    "input too small": (["summary", "nin", "--input", "1x10x10"], "block1.conv"),
    "no classes": (["summary", "nin", "--classes", "0"], "num_classes"),
    "classes in words": (["summary", "nin", "--classes", "ten"], "--classes"),
    "empty batch": (["summary", "nin", "--batch-size", "0"], "--batch-size 0"),
    "unknown optimiser": (["summary", "nin", "--optimizer", "adamm"], "did you mean 'adam'?"),
    "unknown precision": (["summary", "nin", "--precision", "int8"], "float32, bfloat16"),
    "unknown depth": (["summary", "nin", "--depth", "layers"], "did you mean 'layer'?"),
    "diagram nowhere": (["summary", "nin", "--svg", "nowhere/nin.svg"], "--svg nowhere/nin.svg: cannot be written"),
    "diagram over a directory": (["summary", "nin", "--svg", "."], "is a directory"),
    "too many to draw": (["summary", "nin", *["--compare", "lenet"] * 4, "--svg", "x.svg"], "1 to 4"),
    "misspelt data set": (["data", "get", "fashion"], "did you mean 'fashion-mnist'?"),
    "misspelt data set to show": (["data", "show", "digit"], "did you mean 'digits'?"),
    "data set that is no file": (["data", "get", "digits", "--directory", "here"], "comes with scikit-learn"),
    "unknown split": (["data", "show", "digits", "--split", "val"], "--split val"),
    "negative seed": (["data", "show", "digits", "--seed", "-1"], "--seed"),
    "picture nowhere": (["data", "show", "digits", "--out", "nowhere/x.png"], "--out nowhere/x.png: cannot be written"),
    "misspelt recipe": (["train", "--recipe", "quik"], "did you mean 'quick'?"),
    "misspelt recipe to measure": (["bench", "recipe", "quik"], "did you mean 'quick'?"),
    "misspelt data set to train": (["train", "--data", "fashion-mnst"], "fashion-mnist"),
    "misspelt key": (["train", "--data", "digits", "--set", "learning_rat=1"], "did you mean 'learning_rate'?"),
    "wrong value": (["train", "--data", "digits", "--set", "epochs=many"], "epochs"),
    "no epochs": (["train", "--data", "digits", "--epochs", "0"], "epochs must be at least 1, not 0"),
    "no such data directory": (["train", "--data-dir", "nowhere"], "nowhere: no such directory"),
    "image too small": (["train", "--data", "digits", "--model", "nin", "--image-size", "8"], "block1.conv"),
    "unwritable run": (
        ["train", "--data", "digits", "--model", "lenet", "--image-size", "28", "--out", "file/run"],
        "file/run",
    ),
    "no such run": (["evaluate", "nowhere"], "nowhere: there is no such directory"),
    "no run yet": (["predict", "latest", "x.png"], "`mlpconv train` makes one"),
    "foreign directory": (["evaluate", "."], "not a run directory"),
    "no such file": (["predict", "none.safetensors", "x.png"], "none.safetensors: there is no such file"),
    "a PyTorch file": (["predict", "w.pt", "x.png"], "mlpconv convert"),
    "weights alone": (["predict", "bare.safetensors", "x.png"], "mlpconv convert"),
    "no safetensors file": (["predict", "text.safetensors", "x.png"], "not a safetensors file"),
    "another file": (["predict", "file", "x.png"], "not a safetensors file"),
    "convert without a model": (["convert", "w.pt", "--out", "x.safetensors"], "--model"),
    "convert a damaged file": (
        ["convert", "w.pt", "--model", "nin", "--out", "x.safetensors"],
        "torch.save(net.state_dict()",
    ),
    "convert nothing": (["convert", "none.pt", "--model", "nin", "--out", "x.safetensors"], "there is no such file"),
}


@pytest.fixture
def folder(tmp_path):
    """A working directory with files that are neither runs nor classifiers nor weights."""
    from safetensors.numpy import save_file

    (tmp_path / "file").write_text("not a directory")
    (tmp_path / "w.pt").write_bytes(b"no weights")
    (tmp_path / "text.safetensors").write_text("no tensors")
    save_file({}, tmp_path / "bare.safetensors")
    return tmp_path


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts)


@pytest.mark.parametrize("name", MISTAKES)
def test_an_error_is_one_message_and_writes_nothing(cli, folder, name):
    arguments, message = MISTAKES[name]
    before = everything(folder)
    said = cli(*arguments)
    assert said.code == 2
    assert message in " ".join(said.err.split())
    assert not said.out
    assert "Traceback" not in said.err
    assert everything(folder) == before
    if not said.err.startswith("Usage"):
        assert said.err.startswith("error: ")
        assert said.err.count("error: ") == 1


@pytest.mark.parametrize(
    "arguments",
    [["summary", "ninn"], ["data", "get", "fashion"], ["evaluate", "nowhere"], ["train", "--recipe", "quik"]],
    ids=" ".join,
)
def test_an_error_is_not_printed_as_json(cli, arguments):
    said = cli(*arguments, "--json")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")


@pytest.mark.parametrize("image", ["text", "cut", "nothing", "folder"])
def test_a_file_that_is_not_an_image(cli, digits_run, digit, tmp_path, image):
    path, label = digit
    bad = tmp_path / "bad.png"
    if image == "text":
        bad.write_text("no image")
    elif image == "cut":
        bad.write_bytes(path.read_bytes()[:60])
    elif image == "folder":
        bad.mkdir()
    for files in ([path, bad], [bad, path]):
        said = cli("predict", digits_run, *files)
        assert said.code == 2
        assert said.err.startswith(f"error: {bad}")
        # The others are predicted; a folder without files is a mistake that is found before anything is read.
        assert said.out.startswith(f"{path}: {label} ") == (image != "folder")


def test_unreadable_files_do_not_end_a_prediction(cli, digits_run, digit, tmp_path):
    path, label = digit
    bad, missing = tmp_path / "bad.jpg", tmp_path / "missing.png"
    bad.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n{} loop\n")
    files = (bad, path, missing)
    said = cli("predict", digits_run, *files, "--json")
    assert said.code == 2
    rows = json.loads(said.out)
    assert [row["file"] for row in rows] == [str(file) for file in files]
    assert rows[1]["top"][0]["label"] == label
    assert "PostScript" in rows[0]["error"]
    assert rows[2]["error"] == "there is no such file; check the path"
    assert said.err.count("error: ") == 2
    for name in ("p.csv", "p.jsonl"):
        said = cli("predict", digits_run, *files, "--out", name)
        assert said.code == 2
        assert f"1 prediction in {name}, 2 files skipped" in said.out
        assert len((tmp_path / name).read_text().splitlines()) == 3 + name.endswith("csv")


def test_a_network_file_of_another_format(cli, tmp_path):
    for text, message in (
        ("", "net.json"),
        ("[]", "net.json: expected an object"),
        (json.dumps({"format": 2, "layers": {}}), "newer mlpconv"),
        (json.dumps({"format": 1, "layers": {"a": {"kind": "conv3d"}}}), "layers.a"),
    ):
        (tmp_path / "net.json").write_text(text)
        said = cli("summary", "net.json")
        assert said.code == 2
        assert message in said.err


def test_a_network_for_other_classes(cli, digits_run):
    said = cli("evaluate", digits_run, "--data", "fashion-mnist", "--data-dir", "nowhere")
    assert said.code == 2
    said = cli("evaluate", digits_run, "--split", "validation")
    assert "--split validation" in said.err


def test_an_unknown_level(cli, monkeypatch):
    monkeypatch.setenv("MLPCONV_LOG", "loud")
    said = cli("models")
    assert (said.code, said.out) == (2, "")
    assert "MLPCONV_LOG" in said.err
