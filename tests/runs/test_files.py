"""A file is either the complete old one or the complete new one, whatever happens in between."""

import errno
import hashlib
import os
import resource

import numpy as np
import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mlpconv.errors import RunError
from mlpconv.files import write_atomic
from mlpconv.runs.files import read_tensors, write_tensors
from support.tiny_training import file_names


@pytest.fixture
def small_disk():
    """No file may grow past 4 KiB: the kernel refuses as it does on a full disk."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "a.json"
    write_atomic(path, "höhe")
    assert path.read_bytes() == "höhe".encode()
    write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert file_names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_has_the_permissions_of_new_files(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "a", "")
    finally:
        assert os.umask(before) == umask
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, small_disk):
    path = tmp_path / "a"
    write_atomic(path, "old")
    with pytest.raises(OSError, match="File too large"):
        write_atomic(path, bytes(10_000))
    assert path.read_text() == "old"
    assert file_names(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_failure_at_any_call_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call, error):
    path = tmp_path / "a"
    write_atomic(path, "old")

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(type(error)):
            write_atomic(path, "new")
    assert path.read_text() == "old"
    assert file_names(tmp_path) == ["a"]


def test_a_file_reaches_the_disk_before_its_name(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, real=real, name=name, **k: (calls.append(name), real(*a, **k))[1])
    write_atomic(tmp_path / "a", "x")
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, the directory


tensors = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=9).filter(lambda name: name != "__metadata__"),
    arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]), array_shapes(min_dims=0, max_side=4)
    ),
    min_size=1,  # safetensors cannot read its own file of nothing at all
    max_size=4,
)


@given(tensors, st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))))
def test_tensors_are_restored_bit_for_bit(tmp_path_factory, values, metadata):
    path = tmp_path_factory.getbasetemp() / "t.safetensors"
    write_tensors(path, values, metadata)
    found, texts = read_tensors(path)
    assert texts == metadata
    assert set(found) == set(values)
    for name, value in values.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert found[name].tobytes() == value.tobytes()


def test_tensors_stay_in_their_order_and_are_aligned(tmp_path):
    given = {"b": np.ones(3, np.float32), "a": np.ones(5, np.uint8), "d": np.ones(3, np.float32), "c": np.ones(2)}
    write_tensors(tmp_path / "t", given, {})
    assert list(read_tensors(tmp_path / "t")[0]) == ["c", "b", "d", "a"]
    with safetensors.safe_open(tmp_path / "t", framework="numpy") as file:
        assert all((file.get_tensor(name) == value).all() for name, value in given.items())


def test_transposed_and_strided_arrays_are_restored(tmp_path):
    value = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    given_arrays = {"a": value.transpose(2, 0, 1), "b": value[:, ::-1, ::2], "c": np.float64(3)}
    write_tensors(tmp_path / "t", given_arrays, {})
    found, _ = read_tensors(tmp_path / "t")
    for name, array in given_arrays.items():
        np.testing.assert_array_equal(found[name], array)


@given(st.binary(max_size=200))
def test_other_bytes_give_a_clear_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError, match="damaged, or not a safetensors file"):
        read_tensors(path)


def test_equal_tensors_and_texts_make_equal_files(tmp_path):
    texts = {f"mlpconv.{name}": name for name in "abcdefgh"}
    for name in "xy":
        write_tensors(tmp_path / name, {"a": np.ones(3, np.float32), "b": np.zeros((), np.int64)}, texts)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
    with safetensors.safe_open(tmp_path / "x", framework="numpy") as file:
        seal = file.metadata().pop("mlpconv.sha256")
        assert file.metadata() == texts | {"mlpconv.sha256": seal}
    content = (tmp_path / "x").read_bytes()
    assert hashlib.sha256(content.replace(seal.encode(), b"0" * 64)).hexdigest() == seal
    assert read_tensors(tmp_path / "x")[1] == texts


@pytest.mark.parametrize("keep", [0, 7, 8, 40, -1])
def test_a_truncated_file_is_detected(tmp_path, keep):
    path = tmp_path / "t.safetensors"
    write_tensors(path, {"a": np.ones(9, np.float32)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match="damaged"):
        read_tensors(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunError, match=r"none\.safetensors: there is no such file"):
        read_tensors(tmp_path / "none.safetensors")
