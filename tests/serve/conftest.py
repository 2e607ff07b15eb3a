"""A server process with two models, shared by the tests of this folder."""

import socket

import numpy as np
import pytest

from mlpconv.arch.preprocess import Preprocess
from mlpconv.models import create_model
from mlpconv.runs.classifier_file import write_classifier
from support.random_values import random_weights
from support.served import Server, need_serve

NAMES = tuple("abcdefghij")


@pytest.fixture(scope="session")
def model_files(tmp_path_factory):
    """The folder of gray.safetensors, 28×28, and color.onnx, the same network for 32×32 in RGB."""
    need_serve()
    from mlpconv.export.onnx_file import onnx_model
    from mlpconv.runs.classifier_file import read_classifier

    folder = tmp_path_factory.mktemp("models")
    for name, preprocess in (
        ("gray", Preprocess(28, source_size=(28, 28), max_pixels=1_000_000)),
        ("color", Preprocess.of_channels(28, 3, source_size=(32, 32))),
    ):
        network = create_model("nin_tiny", len(NAMES), preprocess.channels)
        path = folder / f"{name}.safetensors"
        weights = random_weights(network, dtype=np.float32)
        write_classifier(path, weights, network, preprocess, NAMES, data="letters", background=0.1)
    (folder / "color.onnx").write_bytes(onnx_model(read_classifier(folder / "color.safetensors")).SerializeToString())
    return folder


@pytest.fixture(scope="session")
def server(model_files):
    """A server with the models gray and color, and small limits."""
    server = Server(model_files, "gray.safetensors", "color.onnx", "--max-body", "1", "--timeout", "2")
    yield server
    assert server.stop() == 0
    assert server.log.read_text() == ""


@pytest.fixture
def connection(server):
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port)), 30) as made:
        yield made
    assert server.get("/v2/health/ready").status_code == 200


@pytest.fixture(scope="session")
def pictures(model_files):
    """Paths of picture files of several formats and sizes."""
    from PIL import Image

    draw = np.random.default_rng(0)
    paths = []
    for number, (name, size, mode) in enumerate(
        [
            ("a.png", (28, 28), "L"),
            ("b.jpg", (300, 200), "RGB"),
            ("c.png", (50, 40), "RGBA"),
            ("d.webp", (64, 64), "RGB"),
        ]
    ):
        small = draw.integers(0, 256, (6 + number, 6, len(mode)), np.uint8)
        image = Image.fromarray(small[..., 0] if mode == "L" else small, mode if mode != "L" else None)
        image.resize(size, Image.Resampling.BICUBIC).save(model_files / name)
        paths.append(model_files / name)
    return paths
