"""What a file is, decided by its first bytes: one of the formats of weights, or something else that has a name."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zipfile import ZipInfo

MAX_DIRECTORY_BYTES = 4 << 20
"""The largest list of contents that a zip archive may have: reading it takes ten times as much memory."""
_END, _END_BYTES = b"PK\x05\x06", 22
_END_64, _END_64_BYTES = b"PK\x06\x06", 56 + 20
"""The records at the end of a zip archive, which say where its list of contents is."""
HEAD_BYTES = 4096
"""The number of bytes at the start of a file that the functions here receive as ``head``."""

SAVE = {
    "PyTorch": 'torch.save(net.state_dict(), "weights.pt")',
    "Keras": 'net.save("weights.keras")',
    "Gluon": 'net.save_parameters("weights.params")',
    "Flax": 'open("weights.msgpack", "wb").write(flax.serialization.to_bytes(variables))',
}
"""How weights are saved in each program, for messages."""

_MAX_LAYERS = 100_000
"""Fields of a Caffe network of which it is asked whether they are layers."""
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # PyTorch's magic number, as a pickle
_GLUON = (0x112).to_bytes(8, "little")


def read_head(path: Path) -> bytes:
    """The first bytes of a file, or none of a directory or of a path that is the start of several names."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def is_pytorch(path: Path, head: bytes) -> bool:
    """Whether it is a file of ``torch.save``: a zip archive with a pickle, or a pickle alone (before PyTorch 1.6)."""
    return is_pickle(head) or any(name.endswith("data.pkl") for name in zip_names(path, head))


def is_pickle(head: bytes) -> bool:
    """Whether it is a pickle, of PyTorch or another program."""
    return head.startswith(_TORCH_LEGACY) or (head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"))


def is_safetensors(path: Path, head: bytes) -> bool:
    """Whether it starts with the size of a header and the header's first character."""
    return head[8:9] == b"{" and head[:1] != b"{"


def is_keras(path: Path, head: bytes) -> bool:
    """Whether it is a ``.keras`` archive, or HDF5 as written by Keras 2 and for ``.weights.h5``."""
    return head.startswith(b"\x89HDF\r\n\x1a\n") or "model.weights.h5" in zip_names(path, head)


def is_gluon(path: Path, head: bytes) -> bool:
    """Whether it starts with the magic number of a list of MXNet arrays."""
    return head.startswith(_GLUON)


def is_flax(path: Path, head: bytes) -> bool:
    """Whether it starts as a MessagePack map whose first key is text."""
    first = head[:1]
    after = {b"\xde": 3, b"\xdf": 5}.get(first, 1 if b"\x81" <= first <= b"\x8f" else 0)
    key = head[after : after + 1]
    return bool(after) and (b"\xa0" <= key <= b"\xbf" or key in (b"\xd9", b"\xda", b"\xdb"))


def is_caffe(path: Path, head: bytes) -> bool:
    """Whether its top-level fields are those of Caffe's NetParameter: texts and layers, with at least one layer."""
    from mlpconv.convert.protobuf import top_level_fields

    if head[:1] not in (b"\x0a", b"\x12", b"\xa2"):
        return False
    try:
        numbers = [number for number, _ in islice(top_level_fields(path), _MAX_LAYERS)]
    except ValueError:
        return False
    return bool({2, 100} & set(numbers)) and set(numbers) <= {1, 2, 3, 4, 5, 6, 7, 8, 100} and numbers.count(1) <= 1


def is_tensorflow(path: Path, head: bytes) -> bool:
    """Whether it is a SavedModel directory, a directory of checkpoints, or the name of a checkpoint."""
    if path.is_dir():
        return any((path / name).is_file() for name in ("saved_model.pb", "checkpoint", "variables.index"))
    return path.suffix == ".index" or path.with_name(f"{path.name}.index").is_file()


def zip_names(path: Path, head: bytes) -> list[str]:
    """The names of the files in a zip archive; none if it is not one, or damaged."""
    return [entry.filename for entry in zip_entries(path, head)]


def zip_entries(path: Path, head: bytes) -> "list[ZipInfo]":
    """The files in a zip archive; none if it is not one, damaged, or has far more files than any file of weights."""
    if not head.startswith(b"PK\x03\x04") or _directory_bytes(path) > MAX_DIRECTORY_BYTES:
        return []
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):  # damaged, or of a kind that is not read
        return []


def _directory_bytes(path: Path) -> int:
    """The size of the list of contents that a zip archive announces; 0 if it announces none."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - (1 << 16) - _END_BYTES - _END_64_BYTES)
        file.seek(start)
        tail = file.read()
    # Where Python looks for it: at the very end, or else before a comment.
    end = len(tail) - _END_BYTES
    if end < 0 or tail[end : end + 4] != _END or tail[-2:] != b"\0\0":
        end = tail.rfind(_END)
    if end < 0:
        return 0
    large = end - _END_64_BYTES
    if large >= 0 and tail[large : large + 4] == _END_64:
        return int.from_bytes(tail[large + 40 : large + 48], "little")
    return int.from_bytes(tail[end + 12 : end + 16], "little")


def describe_other(path: Path, head: bytes) -> str | None:
    """What a file without weights is, and what to do; None if that is not known."""
    return next((text for matches, text in _OTHERS if matches(path, head)), None)


def _starts(*starts: bytes) -> Callable[[Path, bytes], bool]:
    return lambda path, head: head.startswith(starts)


def _is_page(path: Path, head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))


def _is_picture(path: Path, head: bytes) -> bool:
    picture = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
    return head.startswith(picture) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")


def _is_onnx(path: Path, head: bytes) -> bool:
    """A ModelProto: the version as a number, then the name of the program that wrote it, or the graph."""
    return head[:1] == b"\x08" and b"\3" <= head[1:2] <= b"\x20" and head[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a")


def _is_archive(path: Path, head: bytes) -> bool:
    packed = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"(\xb5/\xfd", b"7z\xbc\xaf'\x1c", b"Rar!")
    return head.startswith(packed) or head[257:262] == b"ustar"


def _is_zip_with(*endings: str) -> Callable[[Path, bytes], bool]:
    return lambda path, head: any(name.endswith(endings) for name in zip_names(path, head))


_OTHERS: tuple[tuple[Callable[[Path, bytes], bool], str], ...] = (
    (lambda path, head: not head, "an empty file; download or save it again"),
    (
        _starts(b"version https://git-lfs"),
        "a Git LFS pointer, which stands for the file; download the file itself: git lfs pull",
    ),
    (_is_page, "a web page (HTML), not the file that it links to; download the file itself"),
    (_is_picture, "a picture; to classify it, use mlpconv predict"),
    (_is_onnx, "an ONNX model; save the weights in the program that exported it"),
    (lambda path, head: head[4:8] == b"TFL3", "a TensorFlow Lite model; convert the Keras model that it was made from"),
    (
        lambda path, head: path.suffix == ".pb" and head[:1] in (b"\x08", b"\x0a"),
        "a TensorFlow graph, whose weights are in other files; give the SavedModel directory that contains it",
    ),
    (
        lambda path, head: ".data-0000" in path.name,
        "one part of a TensorFlow checkpoint; give the name up to '.data', which stands for all parts",
    ),
    (_is_archive, "a compressed archive; unpack it, and give the file of weights in it"),
    (
        _starts(b"\x93NUMPY"),
        'a NumPy array; save all weights in one file: safetensors.numpy.save_file(arrays, "weights.safetensors")',
    ),
    (
        _is_zip_with(".npy"),
        'a NumPy archive; save its arrays by name: safetensors.numpy.save_file(dict(arrays), "weights.safetensors")',
    ),
    (
        lambda path, head: bool(zip_names(path, head)),
        "a zip archive without weights; unpack it, and give the file of weights in it",
    ),
    (
        lambda path, head: head.lstrip()[:1] in (b"{", b"["),
        "a text file (JSON), which describes a network but contains no weights; give the file of weights saved with it",
    ),
)
"""What people take for a file of weights: how it is recognized, and the message. The first match counts."""
