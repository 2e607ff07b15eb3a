"""The commands and files of docs/how-to/serve.md, with a real server."""

import json
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from support.documentation import DOCS, code_blocks
from support.random_values import random_weights
from support.run_directories import make_run
from support.served import Server

BLOCKS = [
    block
    for block in code_blocks(DOCS / "how-to" / "serve.md")
    if block.note == "not run: tests/serve/test_serve_docs.py"
]


@pytest.fixture(scope="module")
def clothes(model_files, tmp_path_factory):
    """The server that the page starts, in a folder with the page's pictures."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("clothes")
    run = make_run(folder / "clothes")
    run.write_weights(random_weights(run.config.make_network(), dtype=np.float32))
    pixels = np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8)
    for name in ("shirt.jpg", "shoe.png"):
        Image.fromarray(pixels).save(folder / name)
    server = Server(folder, "clothes")
    yield server, folder
    assert server.stop() == 0


def here(code, server):
    assert "127.0.0.1:8000" in code
    return code.replace("127.0.0.1:8000", server.address)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_commands(clothes):
    server, folder = clothes
    (block,) = (block for block in BLOCKS if block.language == "sh")
    answers = []
    for line in here(block.code, server).splitlines():
        program, *arguments = shlex.split(line)
        assert program == "curl"
        command = ["curl", "--silent", "--show-error", "--fail", *arguments]
        answers.append(json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout))
    one, two = answers
    assert len(one["predictions"][0]["top"]) == 3
    assert [item["file"] for item in two["predictions"]] == ["shirt.jpg", "shoe.png"]
    assert [len(item["top"]) for item in two["predictions"]] == [2, 2]


def test_the_client(clothes):
    pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    server, folder = clothes
    (block,) = (block for block in BLOCKS if block.language == "python")
    command = [sys.executable, "-c", here(block.code, server)]
    said = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
    assert said in server.get("/v2/models/clothes").json()["parameters"]["class_names"]


def arguments_of(command):
    """The arguments of a command of the page, for the model and port of a test."""
    program, subcommand, model, *options = command
    assert program.rpartition("/")[2] == "mlpconv"
    assert (subcommand, model.rpartition("/")[2]) == ("serve", "clothes")
    return ["clothes", *options]


def files():
    return {block.file: block.code for block in BLOCKS if block.file}


def starts(folder, arguments):
    server = Server(folder, *arguments, "--port", "0")
    ready = server.get("/v2/health/ready").status_code if server.url.startswith("http://127.") else 200
    return ready == 200 and server.stop() == 0


def test_the_container_file(clothes):
    lines = files()["Containerfile"].splitlines()
    (command,) = (json.loads(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD "))
    assert "COPY clothes /models/clothes" in lines
    assert starts(clothes[1], arguments_of(command))


def test_the_compose_file(clothes):
    import yaml

    (service,) = yaml.safe_load(files()["compose.yaml"])["services"].values()
    assert service["build"]["dockerfile"] in files()
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    _, program, option, code = service["healthcheck"]["test"]
    assert program == "python"
    command = [sys.executable, option, here(code, clothes[0])]
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_the_unit(clothes, tmp_path):
    text = files()["mlpconv.service"]
    (command,) = (line.removeprefix("ExecStart=") for line in text.splitlines() if line.startswith("ExecStart="))
    assert starts(clothes[1], arguments_of(shlex.split(command)))
    if shutil.which("systemd-analyze"):
        unit = tmp_path / "mlpconv.service"
        unit.write_text(text.replace(command.split()[0], sys.executable))
        done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
