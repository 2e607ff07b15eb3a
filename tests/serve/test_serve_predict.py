"""The answers of a real server for image files, its page, and what it tells about itself."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from mlpconv.inference.classifier import Classifier


@pytest.fixture(scope="module")
def expected(model_files, pictures):
    """What `mlpconv predict` says about the pictures, by model."""
    pytest.importorskip("torch", reason="torch is not installed")
    return {
        name: Classifier(model_files / f"{name}.safetensors", precision="float32").predict(pictures, top=10)
        for name in ("gray", "color")
    }


def check(answer, predictions):
    assert [item["file"] for item in answer] == [prediction.file.rpartition("/")[2] for prediction in predictions]
    for item, prediction in zip(answer, predictions, strict=True):
        assert item["looks_inverted"] == prediction.looks_inverted
        wanted = dict(prediction.top)
        assert {guess["label"] for guess in item["top"]} == wanted.keys()
        for guess in item["top"]:
            assert guess["probability"] == pytest.approx(wanted[guess["label"]], abs=1e-4)


def form(pictures):
    return [("files", (path.name, path.read_bytes())) for path in pictures]


@pytest.mark.parametrize("name", ["gray", "color"])
def test_a_form_of_files_is_answered_as_predict_does(server, pictures, expected, name):
    answer = server.post("/predict", files=form(pictures), params={"model": name, "top": 10})
    assert answer.status_code == 200
    assert answer.json()["model"] == name
    check(answer.json()["predictions"], expected[name])


def test_a_body_is_one_file(server, pictures, expected):
    for path, prediction in zip(pictures, expected["gray"], strict=True):
        (item,) = server.post("/predict", path.read_bytes(), params={"top": 10}).json()["predictions"]
        check([{**item, "file": path.name}], [prediction])


def test_three_classes_by_default_the_most_probable_first(server, pictures, expected):
    (item,) = server.post("/predict", pictures[0].read_bytes()).json()["predictions"]
    assert [guess["label"] for guess in item["top"]] == [guess.label for guess in expected["gray"][0].top[:3]]


def test_a_file_that_cannot_be_read_among_others(server, pictures):
    files = [("files", ("x<y>.png", b"no picture")), *form(pictures[:1])]
    answer = server.post("/predict", files=files)
    assert answer.status_code == 200
    first, second = answer.json()["predictions"]
    assert first["file"] == "x<y>.png"
    assert first["error"].startswith("not an image in a supported format")
    assert second["top"]


def png(width, height):
    """A PNG file that announces a size and contains almost nothing."""
    content = io.BytesIO()
    Image.new("L", (1, 1)).save(content, "PNG")
    data = bytearray(content.getvalue())
    import zlib

    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("status", "message", "body", "options"),
    [
        (400, "no image file", b"", {}),
        (400, "body: not an image in a supported format", b"no picture", {}),
        (413, "body: refused before decoding: 10,000,000,000 pixels", png(100_000, 100_000), {}),
        (413, "body: refused before decoding: 1,001,000 pixels", png(1001, 1000), {}),
        (400, "top: expected a whole number from 1, received '0'", b"x", {"params": {"top": "0"}}),
        (400, "top: expected a whole number from 1, received 'x'", b"x", {"params": {"top": "x"}}),
        (404, "there is no model 'dog'; there are: gray, color", b"x", {"params": {"model": "dog"}}),
        (400, "boundary", b"x", {"headers": {"Content-Type": "multipart/form-data"}}),
        (
            400,
            "Invalid multipart data",  # the fixture of the server checks that its log stays empty
            b"--x\r\nContent-Disposition\r: form-data\r\n\r\n",
            {"headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        ),
        (413, "the body is larger than 1.00 MiB", b"x" * ((1 << 20) + 1), {}),
        (415, "Content-Encoding: 'br'; expected gzip or deflate", b"x", {"headers": {"Content-Encoding": "br"}}),
        (400, "cannot be decompressed", b"x", {"headers": {"Content-Encoding": "gzip"}}),
    ],
)
def test_errors_of_predict(server, status, message, body, options):
    answer = server.post("/predict", body, **options)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/json"
    error = answer.json()["error"]
    assert message in error
    assert "\n" not in error


def test_many_files_of_a_form_are_refused(server):
    files = [("files", (f"{number}.png", b"x")) for number in range(257)]
    answer = server.post("/predict", files=files)
    assert (answer.status_code, answer.json()) == (400, {"error": "Too many files. Maximum number of files is 256."})


def test_the_page_is_the_exported_one(server, model_files):
    answer = server.get("/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    from mlpconv.export.html import export_html

    assert answer.text == export_html(model_files / "gray.safetensors", weights="float32", check=False).page


def test_an_onnx_file_has_a_page_too(server):
    answer = server.get("/", params={"model": "color"})
    assert answer.status_code == 200
    assert 'id="classifier"' in answer.text


def test_other_paths_and_methods(server):
    assert server.get("/nothing").status_code == 404
    assert server.get("/nothing").json() == {"error": "Not Found"}
    answer = server.get("/predict")
    assert (answer.status_code, answer.json()) == (405, {"error": "Method Not Allowed"})


def test_what_it_says_when_it_is_ready(server):
    assert server.said == {"url": server.url, "models": ["gray", "color"]}
    assert server.url.startswith("http://127.0.0.1:")


def test_metrics(server, pictures):
    server.post("/predict", pictures[0].read_bytes())
    server.get("/no/such/path")
    text = server.get("/metrics").text
    assert 'mlpconv_requests_total{route="/predict",status="200"}' in text
    assert 'mlpconv_requests_total{route="none",status="404"}' in text
    assert "mlpconv_batch_size_bucket" in text


def test_class_names_are_in_the_metadata(server):
    metadata = server.get("/v2/models/gray").json()
    assert metadata["parameters"] == {"class_names": list("abcdefghij")}
    assert json.dumps(metadata)
    assert np.array([each["shape"][1] for each in metadata["outputs"]]).tolist() == [10, 10, 10]
