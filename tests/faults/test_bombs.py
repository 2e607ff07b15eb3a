"""Small files whose content would take gigabytes: `convert` refuses them before it allocates memory for them."""

import io
import re
import struct
import zipfile

import pytest

torch = pytest.importorskip("torch")

LIMITED = """
import os, resource
has = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (has + (256 << 20), resource.RLIM_INFINITY))
"""
MEGABYTES = 400
"""The size of a content: more than the process may take."""


def zipped(path, name, *, others=()):
    """A zip archive of ``others`` and a compressed file of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for other, content in others:
            archive.writestr(other, content, zipfile.ZIP_STORED)
        with archive.open(name, "w") as file:
            for _ in range(MEGABYTES):
                file.write(bytes(1 << 20))


def state(path, value):
    torch.save({"fc1.weight": value}, path)


def torch_of_zeros(path):
    content = io.BytesIO()
    torch.save({"fc1.weight": torch.zeros(4)}, content)
    with zipfile.ZipFile(content) as archive:
        others = [(name, archive.read(name)) for name in archive.namelist() if not name.endswith("data/0")]
    zipped(path, "archive/data/0", others=others)


def torch_pickle(path):
    zipped(path, "archive/data.pkl", others=[("archive/version", b"3\n")])


def torch_repeated(path):
    state(path, torch.zeros(1, 1).expand(MEGABYTES << 9, 512))


def torch_sparse(path):
    state(path, torch.sparse_coo_tensor([[0], [0]], [1.0], (1 << 14, 1 << 14), check_invariants=False))


def keras_of_zeros(path):
    zipped(path, "model.weights.h5")


def array_of_many_dimensions(path):
    # Its sides, whose product takes hours, are in the file.
    sides = 4_000_000
    header = struct.pack("<QQQ", 0x112, 0, 1) + struct.pack("<Iii", 0xF993FAC9, 0, sides)
    path.write_bytes(header + b"\xff\xff\xff\x7f\0\0\0\0" * sides + struct.pack("<iii", 1, 0, 0))


def deep_tree(path):
    path.write_bytes(b"\x81\xa6params" + b"\x81\xa1a" * 1_000_000 + b"\xc0")


def shape_of_many_sides(path):
    shape = b"\x0a" + _length(20_000_000) + b"\x01" * 20_000_000
    blob = b"\x3a" + _length(len(shape)) + shape
    layer = b"\x3a" + _length(len(blob)) + blob
    path.write_bytes(b"\xa2\x06" + _length(len(layer)) + layer)


def many_fields(path):
    path.write_bytes(b"\x0a\x01a" + b"\x20\x00" * 20_000_000)


def header_of_many_tensors(path):
    text = b"{" + b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % k for k in range(300_000)) + b"}"
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def list_of_many_files(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    content = path.read_bytes()
    start = content.index(b"PK\x01\x02")
    end = content.rindex(b"PK\x05\x06")
    count = 200_000
    record = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65_535, 65_535, count * (end - start), start, 0)
    path.write_bytes(content[:start] + count * content[start:end] + record)


def _length(number):
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


BOMBS = {
    torch_of_zeros: r"contains 419,\d\d\d,\d\d\d bytes, and the weights of small ",
    torch_pickle: r"contains 419,\d\d\d,\d\d\d bytes, and the weights of small ",
    torch_repeated: "has arrays of 419,430,400 bytes, and the weights of small ",
    torch_sparse: "fc1.weight is a sparse tensor; save it as ",
    keras_of_zeros: "contains 419,430,400 bytes, and the weights of small ",
    array_of_many_dimensions: "not a file of Gluon parameters .an array of 4,000,000 dimensions",
    deep_tree: "not written by flax",
    shape_of_many_sides: "a shape of 20,000,00",
    many_fields: "damaged, or not a file of weights",
    list_of_many_files: "damaged, or not a file of weights",
    header_of_many_tensors: "its header has 17,288,891 bytes, more than 8,388,608, the limit for it",
}


@pytest.mark.parametrize("make", BOMBS, ids=lambda make: make.__name__)
def test_13_a_small_file_of_weights_with_a_giant_content(processes, command, tmp_path, make):
    path, out = tmp_path / "weights", tmp_path / "out.safetensors"
    make(path)
    model = command[command.index("--model") + 1]
    done = processes.run("convert", path, "--model", model, "--out", out, program=LIMITED)
    assert done.code == 2, done
    assert done.err.startswith(f"error: {path}: ")
    assert re.search(BOMBS[make], done.err), done.err
    assert not out.exists()
