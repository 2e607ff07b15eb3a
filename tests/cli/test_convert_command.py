"""`mlpconv convert`, and what one does with the one file that it writes."""

import json

import pytest
import torch

import mlpconv


def test_the_chapters_weights_become_a_classifier(cli, chapter_file, digit):
    said = cli("convert", chapter_file, "--model", "lenet", "--data", "digits", "--out", "own.safetensors")
    assert said.code == 0
    assert "mlpconv evaluate own.safetensors" in said.out
    value = cli("evaluate", "own.safetensors", "--json").json()
    assert value["run"] == "own.safetensors"
    assert value["data"] == "digits/test"
    path, _ = digit
    (guess,) = cli("predict", "own.safetensors", path, "--json").json()
    assert not guess["looks_inverted"]


def test_a_converted_network_computes_the_same(cli, chapter_file, tmp_path):
    import numpy as np

    from support import chapter_pytorch

    cli("convert", chapter_file, "--model", "lenet", "--out", "own.safetensors")
    net = chapter_pytorch.lenet(lazy=False)
    net.load_state_dict(torch.load(chapter_file, weights_only=True))
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
    with torch.no_grad():
        expected = net(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).numpy()
    classifier = mlpconv.Classifier(tmp_path / "own.safetensors", precision="float32")
    np.testing.assert_allclose(classifier.logits(images), expected, atol=1e-4 * np.abs(expected).max())


def test_class_names_and_image_size_can_be_chosen(cli, chapter_file, tmp_path, digit):
    names = ",".join(f"class {letter}" for letter in "abcdefghij")
    said = cli("convert", chapter_file, "--model", "lenet", "--class-names", names, "--out", "own.safetensors")
    assert said.code == 0, said.err
    (guess,) = cli("predict", "own.safetensors", digit[0], "--json", "--top", "10").json()
    assert sorted(each["label"] for each in guess["top"]) == names.split(",")
    said = cli("evaluate", "own.safetensors")
    assert said.code == 2
    assert "--data" in said.err


def test_image_size_decides_the_shapes(cli, chapter_file):
    said = cli("convert", chapter_file, "--model", "lenet", "--image-size", "32", "--out", "own.safetensors")
    assert said.code == 2
    assert "fc1.weight" in said.err or "(120, 576)" in said.err


def test_the_weights_file_of_a_run_is_a_classifier(cli, digits_run, digit, tmp_path):
    path, label = digit
    weights = digits_run / "weights.safetensors"
    whole, alone = (cli("predict", source, path, "--json").json() for source in (digits_run, weights))
    assert whole == alone
    assert whole[0]["top"][0]["label"] == label
    assert cli("evaluate", weights, "--json").json()["accuracy"] > 0.8
    assert mlpconv.load(weights).predict([path])[0].top[0].label == label


def test_an_inverted_image_is_detected_with_only_the_file(cli, digits_run, digit):
    from PIL import Image, ImageOps

    path, label = digit
    with Image.open(path) as image:
        ImageOps.invert(image).save(path)
    said = cli("predict", digits_run / "weights.safetensors", path)
    assert "--invert" in said.err
    turned = cli("predict", digits_run / "weights.safetensors", path, "--invert", "--json").json()
    assert turned[0]["top"][0]["label"] == label


def test_a_file_with_code_is_not_executed(cli, tmp_path):
    class Program:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    torch.save({"0.0.weight": Program()}, tmp_path / "evil.pt")
    said = cli("convert", "evil.pt", "--model", "nin", "--out", "own.safetensors")
    assert said.code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.pt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nin", "--out", "own.safetensors"], "belong to another network"),
        (["--model", "lenet", "--out", "own.bin"], ".safetensors"),
        (["--model", "lenet", "--out", "nowhere/own.safetensors"], "cannot be written"),
        (["--model", "lenet", "--out", "there.safetensors"], "already exists"),
        (["--model", "lenet", "--out", "own.safetensors", "--class-names", "a,b"], "another network"),
        (["--model", "lenet", "--out", "own.safetensors", "--class-names", "a,a"], "--class-names a,a"),
        (["--model", "lenet", "--out", "own.safetensors", "--image-size", "0"], "--image-size 0"),
        (["--model", "lenet", "--out", "own.safetensors", "--data", "digit"], "did you mean 'digits'"),
    ],
    ids=lambda value: " ".join(value[3:]) if isinstance(value, list) else "",
)
def test_a_refused_conversion_leaves_no_file(cli, chapter_file, tmp_path, arguments, message):
    (tmp_path / "there.safetensors").write_bytes(b"mine")
    said = cli("convert", chapter_file, *arguments)
    assert said.code == 2
    assert not said.out
    assert message in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["there.safetensors"]
    assert (tmp_path / "there.safetensors").read_bytes() == b"mine"


def test_a_file_of_a_newer_version_is_refused(cli, digits_run, digit, tmp_path):
    from mlpconv.runs.files import read_tensors, write_tensors

    weights, texts = read_tensors(digits_run / "weights.safetensors")
    write_tensors(tmp_path / "new.safetensors", weights, texts | {"mlpconv.format": "2"})
    assert "written by a newer mlpconv" in cli("predict", "new.safetensors", digit[0]).err
    for key, value in (("class_names", "[1]"), ("preprocess", "{}"), ("network", "[]"), ("background", "dark")):
        write_tensors(tmp_path / "odd.safetensors", weights, texts | {f"mlpconv.{key}": value})
        said = cli("predict", "odd.safetensors", digit[0])
        assert said.code == 2
        assert "odd.safetensors" in said.err
    names = json.dumps(["one"])
    write_tensors(tmp_path / "few.safetensors", weights, texts | {"mlpconv.class_names": names})
    assert "1 class name" in cli("predict", "few.safetensors", digit[0]).err


@pytest.mark.parametrize("ending", [".params", ".pt"])
def test_a_run_is_exported_and_read_back(cli, digits_run, tmp_path, ending):
    assert cli("convert", digits_run, "--out", f"net{ending}").code == 0
    model = mlpconv.Run(digits_run).config.recipe.model
    said = cli(
        "convert", f"net{ending}", "--model", model, "--data", "digits", "--image-size", "28", "--out", "b.safetensors"
    )
    assert said.code == 0, said.err
    old, new = mlpconv.Run(digits_run).weights(), mlpconv.Classifier(tmp_path / "b.safetensors").stored.weights
    assert all((old[name] == new[name]).all() for name in old)


def test_a_file_with_only_weights_needs_a_network(cli, chapter_file):
    said = cli("convert", chapter_file, "--out", "own.safetensors")
    assert said.code == 2
    assert "--model nin" in said.err


def test_options_that_repeat_the_run_are_refused(cli, digits_run):
    said = cli("convert", digits_run, "--data", "digits", "--out", "own.safetensors")
    assert said.code == 2
    assert "omit --data" in said.err


def test_predict_names_convert_for_weights_under_any_name(cli, chapter_file, digit, tmp_path):
    for name in ("net.params", "net.pt"):
        (tmp_path / name).write_bytes(chapter_file.read_bytes())
        said = cli("predict", name, digit[0])
        assert said.code == 2
        assert (
            f"{name}: not a safetensors file; if it contains weights, mlpconv convert turns them into a classifier"
            in said.err
        )


def test_a_web_page_is_named_with_and_without_a_model(cli, tmp_path):
    (tmp_path / "nin.pt").write_bytes(b"<!DOCTYPE html><html></html>")
    for options in ([], ["--model", "nin"]):
        said = cli("convert", "nin.pt", *options, "--out", "own.safetensors")
        assert said.code == 2
        assert "nin.pt: this is a web page (HTML)" in said.err


def test_weights_are_read_under_any_name_and_written_under_the_chapters(cli, chapter_file, tmp_path):
    from support import chapter_pytorch as chapter_networks

    (tmp_path / "net.params").write_bytes(chapter_file.read_bytes())
    assert cli("convert", "net.params", "--model", "lenet", "--out", "own.safetensors").code == 0
    weights = mlpconv.Classifier(tmp_path / "own.safetensors").stored.weights
    assert list(weights)[:3] == ["conv1.weight", "conv1.bias", "conv2.weight"]
    assert cli("convert", "own.safetensors", "--names", "chapter", "--out", "again.pt").code == 0
    again, first = (torch.load(path, weights_only=True) for path in (tmp_path / "again.pt", chapter_file))
    assert list(again) == list(first)
    assert all(torch.equal(again[name], first[name]) for name in first)
    chapter_networks.lenet(lazy=False).load_state_dict(again, strict=True)


def test_a_classifier_has_no_names_of_the_chapter(cli, digits_run):
    said = cli("convert", digits_run, "--names", "chapter", "--out", "own.safetensors")
    assert said.code == 2
    assert "--names chapter: a classifier has mlpconv's names; choose .pt or .keras" in said.err


def test_input_channels_are_those_of_the_weights(cli, tmp_path):
    import mlpconv.models

    network = mlpconv.models.create_model("lenet", input_channels=3)
    torch.save(network.build("torch").state_dict(), tmp_path / "net.pt")
    arguments = ["convert", "net.pt", "--model", "lenet", "--out", "own.safetensors"]
    assert cli(*arguments).code == 2
    said = cli(*arguments, "--input-channels", "3", "--json")
    assert said.code == 0, said.err
    assert said.json()["input_shape"] == [3, 28, 28]
    (tmp_path / "own.safetensors").unlink()
    said = cli(*arguments, "--input-channels", "3", "--data", "digits")
    assert said.code == 2
    assert "--input-channels 3: the images of digits have 1; omit one of the two" in said.err


def test_own_names_need_by_shape(cli, chapter_file, tmp_path):
    state = torch.load(chapter_file, weights_only=True)
    letters = {name: "abcdefghijkl"[int(name.partition(".")[0])] for name in state}
    torch.save({f"{letters[name]}.{name.partition('.')[2]}": state[name] for name in state}, tmp_path / "own.pt")
    arguments = ["convert", "own.pt", "--model", "lenet", "--out", "own.safetensors"]
    said = cli(*arguments)
    assert said.code == 2
    assert "--by-shape" in said.err
    assert cli(*arguments, "--by-shape").code == 0
    stored = mlpconv.Classifier(tmp_path / "own.safetensors").stored.weights
    assert (stored["fc1.weight"] == state["7.weight"].numpy()).all()


def test_caffe_weights_give_a_classifier_with_caffes_pixel_values(cli, tmp_path):
    import numpy as np

    import mlpconv.models
    from support.random_values import random_weights

    def varint(number):
        return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)

    def field(number, content):
        return varint(number << 3 | 2) + varint(len(content)) + content

    weights = random_weights(mlpconv.models.create_model("nin_cifar10"), dtype=np.float32)
    layers = dict.fromkeys(name.rpartition(".")[0] for name in weights)
    content = b"".join(
        field(
            100,
            field(1, layer.encode())
            + b"".join(
                field(7, field(7, field(1, b"".join(map(varint, value.shape)))) + field(5, value.tobytes()))
                for value in (weights[f"{layer}.weight"], weights[f"{layer}.bias"])
            ),
        )
        for layer in layers
    )
    (tmp_path / "nin").write_bytes(field(1, b"nin") + content)
    said = cli("convert", "nin", "--model", "nin_cifar10", "--out", "own.safetensors")
    assert said.code == 0, said.err
    stored = mlpconv.Classifier(tmp_path / "own.safetensors").stored
    assert stored.preprocess.std == (1 / 255,) * 3
    assert stored.preprocess.mode == "RGB"
    assert (stored.weights["block1.mlp1.weight"] == weights["block1.mlp1.weight"]).all()
    assert (stored.weights["block1.conv.weight"] == weights["block1.conv.weight"][:, ::-1]).all()
