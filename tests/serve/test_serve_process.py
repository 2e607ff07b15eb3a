"""`mlpconv serve` as a process: how it starts, stops and fails."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mlpconv.__main__ import main
from mlpconv.cli import output
from support.served import Server

pytestmark = pytest.mark.usefixtures("model_files")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def refused(monkeypatch, capsys, model_files):
    """refused(ARGUMENT…): what `mlpconv serve ARGUMENT…` writes before it ends with exit code 2."""

    def run(*arguments):
        for console in (output.out, output.err):
            console.cache_clear()
        monkeypatch.chdir(model_files)
        monkeypatch.setattr(sys, "argv", ["mlpconv", "serve", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        written = capsys.readouterr()
        assert written.out == ""
        return written.err

    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_after_the_requests_that_it_has_received(model_files, number):
    server = Server(model_files, "gray.safetensors")
    x = np.zeros((1024, 28, 28, 1), np.uint8)
    answers = []
    body = (
        b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1024,28,28,1],"parameters":{"binary_data_size":%d}}]}'
        % x.nbytes
    )
    headers = {"Inference-Header-Content-Length": str(len(body))}

    def ask():
        answers.append(server.post("/v2/models/gray/infer", body + x.tobytes(), headers=headers))

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.1)
    code = server.stop(number)
    asking.join()
    assert code == 0
    assert [answer.status_code for answer in answers] == [200]
    assert server.log.read_text() == ""


def test_a_second_signal_does_not_hurt(model_files):
    server = Server(model_files, "gray.safetensors")
    server.process.send_signal(signal.SIGTERM)
    assert server.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_used_port(refused, host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as other:
        try:
            other.bind((host, 0))
        except OSError:
            pytest.skip(f"{host} is not available")
        other.listen()
        port = other.getsockname()[1]
        written = refused("gray.safetensors", "--port", port, "--host", host)
    assert written == f"error: --port {port}: used by another program; choose another one, or 0 for any\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gray.safetensors", "--host", "203.0.113.9"), "--host 203.0.113.9 --port 0: cannot listen there: "),
        (("gray.safetensors", "--host", "no host"), "--host no host --port 0: cannot listen there: "),
        (("no.onnx",), "no.onnx: there is no such file"),
        (("no.safetensors",), "no.safetensors: "),
        (("a.png.onnx",), "a.png.onnx: damaged, or not an ONNX model"),
        (("other.onnx",), "other.onnx: an ONNX model that mlpconv did not write"),
        (("gray.safetensors", "gray.safetensors"), "has the same name, 'gray'"),
        (("nan.safetensors",), "nan.safetensors: "),
    ],
)
def test_errors(refused, arguments, message):
    *progress, line = refused(*arguments, "--port", "0").splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert all(each.startswith("loading ") for each in progress)


@pytest.fixture(scope="module", autouse=True)
def bad_files(model_files):
    """An ONNX file that is none, one of another program, and a classifier with weights that are not finite."""
    import onnx
    from onnx import TensorProto, helper

    from mlpconv.runs.classifier_file import read_classifier, write_classifier

    (model_files / "a.png.onnx").write_bytes(b"no model")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, model_files / "other.onnx")
    stored = read_classifier(model_files / "gray.safetensors")
    weights = {name: np.where(value == value.flat[0], 3e38, value) for name, value in stored.weights.items()}
    write_classifier(
        model_files / "nan.safetensors",
        {name: value.astype(np.float32) for name, value in weights.items()},
        stored.network,
        stored.preprocess,
        stored.class_names,
    )


def test_pytorch_is_not_imported_and_it_is_ready_soon(model_files):
    code = (
        "import sys\nfrom mlpconv.serve.model import ServedModel\nfrom mlpconv.serve.app import make_app\n"
        "from mlpconv.serve.limits import Limits\nfrom mlpconv.serve.page import make_page\n"
        "model = ServedModel('gray.safetensors')\nmake_app({'gray': model}, Limits())\nmake_page(model)\n"
        "print([name for name in ('torch', 'tensorflow', 'jax', 'keras', 'pandas') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=model_files, env=environment, capture_output=True, text=True
    )
    assert ended.stdout == "[]\n", ended.stderr


def test_what_it_says_to_people(model_files):
    with (model_files / "said.txt").open("w+") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlpconv", "serve", "gray.safetensors", "--port", "0"],
            cwd=model_files,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=file,
            stderr=subprocess.DEVNULL,
        )
        start = time.monotonic()
        while not (said := (model_files / "said.txt").read_text()) and time.monotonic() < start + 60:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert said.startswith("serving gray at http://127.0.0.1:")
    assert said.endswith(" (Ctrl-C stops it)\n")
