"""Files of weights from elsewhere, under any name; what is damaged, hostile or something else is refused."""

import gzip
import os
import pickle
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from mlpconv.backends.weights import weight_shapes
from mlpconv.convert import read_torch_file, read_weights, recognize_format
from mlpconv.errors import MissingDependency, WeightsError
from mlpconv.models import create_model
from support import chapter_pytorch as chapter
from support.damaged_files import cut_or_changed

LENET = create_model("lenet")


class Program:
    """Unpickled without care, it makes a directory."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def write_with_torch(value: object, path: Path) -> None:
    torch.save(value, path)


def write_with_old_torch(value: object, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def write_with_pickle(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def test_the_content_decides_and_not_an_index_beside_it(tmp_path: Path):
    torch.save({}, tmp_path / "weights.pt")
    (tmp_path / "weights.pt.index").touch()
    assert recognize_format(tmp_path / "weights.pt").name == "PyTorch"
    (tmp_path / "weights.pt").unlink()
    assert recognize_format(tmp_path / "weights.pt").name == "TensorFlow"


@pytest.mark.parametrize("write", [write_with_torch, write_with_old_torch, write_with_pickle])
def test_a_file_with_code_is_refused_and_not_executed(write, tmp_path: Path):
    marker, path = tmp_path / "it ran", tmp_path / "weights.pt"
    write({**chapter.lenet_state(), "extra": Program(marker)}, path)
    with pytest.raises(WeightsError) as refusal:
        read_torch_file(path)
    assert not marker.exists()
    assert str(refusal.value).startswith(f"{path}: ")
    assert "torch.save(net.state_dict()" in str(refusal.value)
    assert "weights_only" not in str(refusal.value)
    pickle.loads(pickle.dumps(Program(marker)))
    assert marker.exists(), "the file was harmless, so the test has shown nothing"


def test_the_error_names_the_object_that_was_found(tmp_path: Path):
    torch.save({"extra": Program(tmp_path / "it ran")}, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match=r"refused, nothing in it was executed: it contains posix\.mkdir"):
        read_torch_file(tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            chapter.lenet(False),
            r"nothing in it was executed: it contains a whole module \(torch\.nn\.modules\.container\.Sequential",
        ),
        (
            {"epoch": 3, "state_dict": {}},
            "expected a state_dict .*, received a dictionary of epoch, state_dict",
        ),
        ([1, 2], "expected a state_dict .*, received list"),
    ],
)
def test_a_file_with_more_than_weights_is_refused(value: object, message: str, tmp_path: Path):
    torch.save(value, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=message):
        read_torch_file(tmp_path / "net.pt")


@pytest.mark.parametrize("content", [b"hello", b"PK\x03\x04" + bytes(40), b"\x80\x02" + bytes(40), bytes(8) + b"{"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_damaged_file_is_refused(content: bytes, suffix: str, tmp_path: Path):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"{suffix}: (damaged, or not a|refused, nothing in it was executed)"):
        read_torch_file(path)
    with pytest.raises(WeightsError, match=f"{suffix}: (damaged, or not a|refused, nothing in it was executed)"):
        read_weights(LENET, path)


@pytest.mark.parametrize("name", ["net.params", "nin.keras", "weights.h5", "weights.bin", "weights", "net.safetensors"])
def test_a_pytorch_file_is_read_under_any_name(name: str, tmp_path: Path):
    for write in (write_with_torch, write_with_old_torch):
        write(chapter.lenet_state(), tmp_path / name)
        assert list(read_weights(LENET, tmp_path / name)) == list(weight_shapes(LENET))


def test_a_safetensors_file_is_read_under_any_name(tmp_path: Path):
    save_file(chapter.lenet_state(), tmp_path / "net.params")
    assert list(read_weights(LENET, tmp_path / "net.params")) == list(weight_shapes(LENET))


OTHERS = {
    "empty": (b"", "an empty file"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "a Git LFS pointer.*git lfs pull",
    ),
    "page": (b"\n<!DOCTYPE html><html>", r"a web page \(HTML\)"),
    "page 2": (b"<html>not found</html>", r"a web page \(HTML\)"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(20), "a picture"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(20), "a picture"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x031.9", "an ONNX model"),
    "onnx 2": (b"\x08\x0a:\xff\x01", "an ONNX model"),
    "gzip": (gzip.compress(b"weights"), "a compressed archive"),
    "numpy": (b"\x93NUMPY\x01\0", "a NumPy array"),
    "json": (b'{"nodes": [{"op": "null"}]}', "a text file .*no weights"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(20), "a TensorFlow Lite model"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_file_of_weights_is_named(name: str, tmp_path: Path):
    content, message = OTHERS[name]
    for path in (tmp_path / "net.pt", tmp_path / "net.params"):
        path.write_bytes(content)
        for read in (read_torch_file, lambda path: read_weights(LENET, path)):
            with pytest.raises(WeightsError, match=f"{path.name}: this is {message}"):
                read(path)


def test_other_archives_are_named(tmp_path: Path):
    np.savez(tmp_path / "net.npz", a=np.ones(3))
    with pytest.raises(WeightsError, match=r"net\.npz: this is a NumPy archive; .*safetensors"):
        read_weights(LENET, tmp_path / "net.npz")
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("nin/net.pt", b"...")
    with pytest.raises(WeightsError, match=r"net\.pt: this is a zip archive without weights; unpack it"):
        read_weights(LENET, tmp_path / "net.pt")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        torch.jit.script(nn.Sequential(nn.Linear(2, 2))).save(tmp_path / "net.ptj")
    with pytest.raises(WeightsError, match=r"net\.ptj: a TorchScript program; .*torch\.jit\.load\(\"net\.ptj\"\)"):
        read_weights(LENET, tmp_path / "net.ptj")


def test_a_missing_file_and_a_directory(tmp_path: Path):
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(WeightsError, match="there is no such file"):
            read_torch_file(path)


@settings(max_examples=150)
@given(st.sampled_from([".pt", ".safetensors"]), st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, suffix: str, data):
    path = tmp_path_factory.mktemp("damaged") / f"net{suffix}"
    state = {"0.weight": torch.ones(3, 2), "0.bias": torch.ones(3)}
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    path.write_bytes(cut_or_changed(path.read_bytes(), data))
    refusal, found = str(path), {}
    try:
        found = read_torch_file(path)
    except WeightsError as error:
        refusal = str(error)
    assert refusal.startswith(str(path))
    assert all(isinstance(value, np.ndarray) for value in found.values())


def test_an_old_pytorch_does_not_read_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch.save(chapter.lenet_state(), tmp_path / "net.pt")
    save_file(chapter.lenet_state(), tmp_path / "net.safetensors")
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(MissingDependency, match=r"can make PyTorch 2\.9\.1\+cpu run programs"):
        read_torch_file(tmp_path / "net.pt")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependency, match=r'not installed; pip install "mlpconv\[torch\]"'):
        read_torch_file(tmp_path / "net.pt")
    assert len(read_torch_file(tmp_path / "net.safetensors")) == 10
