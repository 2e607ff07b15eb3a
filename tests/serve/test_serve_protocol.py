"""The Open Inference Protocol of a real server: JSON and binary tensors, its errors, and two real clients."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

INFER = "/v2/models/gray/infer"


def images(count, seed=0, shape=(28, 28, 1)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def message(x, **more):
    return {"inputs": [{"name": "images", "datatype": "UINT8", "shape": x.shape, "data": x.tolist()}], **more}


def outputs(answer):
    assert answer.status_code == 200, answer.text
    return {
        each["name"]: np.array(each["data"], np.float32).reshape(each["shape"]) for each in answer.json()["outputs"]
    }


def test_all_outputs_in_json(server):
    x = images(3)
    answer = server.post(INFER, json=message(x, id="7"))
    values = outputs(answer)
    assert {name: value.shape for name, value in values.items()} == {
        "logits": (3, 10),
        "probabilities": (3, 10),
        "class_maps": (3, 10, 7, 7),
    }
    assert (answer.json()["id"], answer.json()["model_name"], answer.json()["model_version"]) == ("7", "gray", "1")
    np.testing.assert_allclose(values["probabilities"].sum(1), 1, rtol=1e-5)


def test_flat_and_nested_values_mean_the_same(server):
    x = images(2)
    flat = message(x)
    flat["inputs"][0]["data"] = x.ravel().tolist()
    wanted = [{"name": "logits"}]
    nested = server.post(INFER, json=message(x, outputs=wanted)).json()
    assert server.post(INFER, json={**flat, "outputs": wanted}).json() == nested
    assert [each["name"] for each in nested["outputs"]] == ["logits"]


def test_images_of_any_size_are_answered_as_files_are(server, pictures):
    from PIL import Image

    pixels = np.asarray(Image.open(pictures[2]))[None]
    values = outputs(server.post("/v2/models/color/infer", json=message(pixels)))
    (said,) = server.post("/predict?model=color&top=10", pictures[2].read_bytes()).json()["predictions"]
    wanted = {guess["label"]: guess["probability"] for guess in said["top"]}
    np.testing.assert_allclose(values["probabilities"][0], [wanted[name] for name in "abcdefghij"], atol=1e-5)


def test_more_images_than_are_computed_at_once(server):
    x = images(150)
    together = outputs(server.post(INFER, json=message(x)))["logits"]
    for start in (0, 100):
        alone = outputs(server.post(INFER, json=message(x[start : start + 1])))["logits"]
        np.testing.assert_allclose(together[start : start + 1], alone, rtol=1e-4, atol=1e-4)


def changed(**fields):
    """A request with other fields of its tensor; None removes one."""
    request = message(images(1))
    tensor = {**request["inputs"][0], **fields}
    request["inputs"][0] = {name: value for name, value in tensor.items() if value is not None}
    return request


@pytest.mark.parametrize(
    ("message_", "body"),
    [
        ("the request: Input data was truncated", b"{"),
        ("the request: JSON is malformed", b"{]"),
        ("the request: Input data was truncated", b""),
        ("the request: Expected `object`, got `array`", b"[]"),
        ("the request: Object missing required field `inputs`", b"{}"),
        ("the request:", b"\xff"),
        ("the request:", b"[" * 100_000),
        ("the request: JSON is malformed", json.dumps(changed(data=[float("nan")] * 784))),
        ("images: data: Expected `int`, got `float`", changed(data=[0.5] * 784)),
        ("images: data: Expected `int` <= 255", changed(data=[256] * 784)),
        ("images: data: Expected `int` >= 0", changed(data=[-1] * 784)),
        ("images: data: Expected `int`, got `str`", changed(data=["a"] * 784)),
        ("images: data: Expected `int`, got `object`", changed(data={})),
        ("images: 0 values, but the shape [1, 28, 28, 1] has 784", changed(data=None)),
        ("images: 783 values, but the shape [1, 28, 28, 1] has 784", changed(data=[0] * 783)),
        ("received UINT8 [28, 28]", changed(shape=[28, 28])),
        ("received UINT8 [0, 28, 28, 1]", changed(shape=[0, 28, 28, 1], data=[])),
        ("received FP32 [1, 28, 28, 1]", changed(datatype="FP32")),
        ("Expected `int` >= 0", changed(shape=[-1, 28, 28, 1])),
        ("at most 1024 are accepted", changed(shape=[1025, 28, 28, 1])),
        ("images: 5 channels; expected 1, or 1 to 4", changed(shape=[1, 28, 28, 5])),
        ("images: 99999×99999 are more than the limit", changed(shape=[1, 99999, 99999, 1])),
        ("images: 20000×1; at most 16,384 pixels are accepted on a side", changed(shape=[1, 20000, 1, 1])),
        ("inputs: expected one, named 'images'; received ['x']", changed(name="x")),
        ("inputs: expected one, named 'images'; received []", {"inputs": []}),
        (
            "outputs: 'x' is unknown; there are logits, probabilities, class_maps",
            changed() | {"outputs": [{"name": "x"}]},
        ),
        ("images: binary_data_size is 3, and 0 bytes follow", changed(parameters={"binary_data_size": 3})),
        (
            "'classification' is not supported",
            changed() | {"outputs": [{"name": "logits", "parameters": {"classification": 3}}]},
        ),
    ],
)
def test_errors_of_infer(server, message_, body):
    answer = server.post(INFER, body if isinstance(body, bytes | str) else json.dumps(body))
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert message_ in error
    assert "\n" not in error
    assert len(error) < 300


@pytest.mark.parametrize("length", ["9999", "-1", "x", "9" * 5000, "\xb2"])
def test_wrong_lengths_of_the_header(server, length):
    answer = server.post(INFER, b"{}", headers={"Inference-Header-Content-Length": length.encode("latin-1")})
    assert answer.status_code == 400
    assert "but the body has 2 bytes" in answer.json()["error"]


@pytest.mark.parametrize("path", ["", "/ready", "/versions/1", "/versions/1/ready"])
def test_models(server, path):
    assert server.get("/v2/models/gray" + path).status_code == 200
    answer = server.get("/v2/models/dog" + path)
    assert (answer.status_code, answer.json()) == (404, {"error": "there is no model 'dog'; there are: gray, color"})


def test_another_version(server):
    answer = server.get("/v2/models/gray/versions/2")
    assert (answer.status_code, answer.json()) == (404, {"error": "the model 'gray' has version 1 only, not '2'"})
    assert server.post("/v2/models/dog/infer", b"{}").status_code == 404


def test_tritonclient(server):
    client_library = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    x = images(5, seed=1)
    expected = outputs(server.post(INFER, json=message(x)))
    with client_library.InferenceServerClient(server.address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("gray")
        assert not client.is_model_ready("dog")
        assert client.get_server_metadata()["name"] == "mlpconv"
        metadata = client.get_model_metadata("gray")
        (described,) = metadata["inputs"]
        tensor = client_library.InferInput(described["name"], x.shape, described["datatype"])
        for binary in (True, False):
            tensor.set_data_from_numpy(x, binary_data=binary)
            wanted = [
                client_library.InferRequestedOutput(each["name"], binary_data=binary) for each in metadata["outputs"]
            ]
            for compression in (None, "gzip", "deflate"):
                result = client.infer(
                    "gray",
                    [tensor],
                    model_version="1",
                    request_id="a",
                    outputs=wanted,
                    request_compression_algorithm=compression,
                    response_compression_algorithm=compression,
                )
                for name, value in expected.items():
                    np.testing.assert_allclose(result.as_numpy(name), value, rtol=1e-4, atol=1e-5)
        result = client.infer("gray", [tensor])  # all outputs, which it asks for as binary data
        np.testing.assert_allclose(result.as_numpy("logits"), expected["logits"], rtol=1e-4, atol=1e-5)
        with pytest.raises(client_library.InferenceServerException, match="there is no model 'dog'"):
            client.infer("dog", [tensor])


def test_kserve_client(server, tmp_path):
    """KServe's client needs older packages than mlpconv's tests: KSERVE_PYTHON names an interpreter that has it."""
    python = os.environ.get("KSERVE_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import kserve"], capture_output=True).returncode:
        pytest.skip("kserve is not installed; KSERVE_PYTHON can name a Python that has it")
    x = images(5, seed=1)
    np.save(tmp_path / "x.npy", x)
    code = """
        import asyncio, sys
        import numpy as np
        from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

        async def main(url):
            client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
            assert await client.is_server_live(url)
            assert await client.is_server_ready(url)
            assert await client.is_model_ready(url, "gray")
            x = np.load("x.npy")
            for binary in (True, False):
                tensor = InferInput("images", list(x.shape), "UINT8")
                tensor.set_data_from_numpy(x, binary_data=binary)
                request = InferRequest("gray", [tensor], request_id="1", parameters={"binary_data_output": binary})
                answer = await client.infer(url, request, model_name="gray")
                values = {output.name: output.as_numpy() for output in answer.outputs}
                np.savez(f"{binary}.npz", **values)
            await client.close()

        asyncio.run(main(sys.argv[1]))
    """
    subprocess.run(
        [python, "-c", textwrap.dedent(code), server.url],
        cwd=tmp_path,
        check=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    for name, value in outputs(server.post(INFER, json=message(x))).items():
        for binary in (True, False):
            given = np.load(tmp_path / f"{binary}.npz")[name].reshape(value.shape)
            np.testing.assert_allclose(given, value, rtol=1e-4, atol=1e-5)
