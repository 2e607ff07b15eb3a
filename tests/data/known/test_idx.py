import contextlib
import gzip
import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mlpconv.data.known.idx import parse_idx, read_contents, read_idx
from mlpconv.errors import DataError
from support.idx_files import idx_bytes, write_idx

DTYPES = [np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("idx")


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (30, 8, 9), np.uint8)


@given(
    array=hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(max_dims=5, max_side=5)),
    name=st.sampled_from(["a", "a.gz"]),
)
def test_every_dtype_and_shape_is_read(scratch, array, name):
    write_idx(scratch / name, array)
    read = read_idx(scratch / name)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    assert read.flags.writeable
    assert bytes(read_contents(scratch / name)) == idx_bytes(array)
    np.testing.assert_array_equal(parse_idx(idx_bytes(array), "here"), array)


headers = st.builds(
    lambda code, sizes, body: bytes([0, 0, code, len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes) + body,
    st.sampled_from([8, 9, 10, 11, 14]),
    st.lists(st.one_of(st.integers(0, 5), st.integers(0, 2**32 - 1)), max_size=4),
    st.binary(max_size=40),
)


@given(data=st.one_of(st.binary(), headers), zipped=st.booleans(), kept=st.integers(0, 100))
def test_any_bytes_are_an_array_or_a_data_error(scratch, data, zipped, kept):
    path = scratch / "any"
    path.write_bytes(gzip.compress(data)[: kept + 10] if zipped else data)
    for read in (lambda: read_idx(path), lambda: parse_idx(data, "here")):
        with contextlib.suppress(DataError):
            assert read().size > 0


def test_gzip_is_recognized_by_content_not_by_name(tmp_path, images):
    (tmp_path / "plain.gz").write_bytes(idx_bytes(images))
    (tmp_path / "zipped").write_bytes(gzip.compress(idx_bytes(images)))
    np.testing.assert_array_equal(read_idx(tmp_path / "plain.gz"), images)
    np.testing.assert_array_equal(read_idx(tmp_path / "zipped"), images)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_truncated_gzip_names_file_size_and_remedy(tmp_path, images, kept):
    whole = gzip.compress(idx_bytes(images))
    path = tmp_path / "cut.gz"
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(DataError, match=rf"cut\.gz: truncated: its {path.stat().st_size:,} bytes .* download the file"):
        read_idx(path)


def test_truncated_plain_file_gives_both_sizes(tmp_path, images):
    (tmp_path / "cut").write_bytes(idx_bytes(images)[:-1])
    with pytest.raises(DataError, match=r"truncated: its header announces 2,176 bytes .* contains 2,175; download"):
        read_idx(tmp_path / "cut")


def test_flipped_bit_in_gzip(tmp_path, images):
    data = bytearray(gzip.compress(idx_bytes(images)))
    data[len(data) // 2] ^= 4
    (tmp_path / "flipped").write_bytes(data)
    with pytest.raises(DataError, match=r"flipped: damaged gzip file of .*; download the file again"):
        read_idx(tmp_path / "flipped")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"<!DOCTYPE html>", r"expected 00 00 as the first bytes, received 3c 21 44 4f, the text '<!DO'"),
        (b"\x89PNG\r\n", r"expected 00 00 .* received 89 50 4e 47; download"),
        (b"\0\0\x0a\x03" + bytes(12), r"expected an IDX type of uint8 \(0x08\), .* received type 0x0a"),
        (b"\0\0\x08\0", r"expected 1 to 32 dimensions, received 0"),
        (b"\0\0\x08\x03\0\0", r"ends inside its IDX header of 3 dimensions"),
        (b"\0\0\x08", r"contains 3 bytes, too few for an IDX header"),
        (b"", r"contains 0 bytes"),
        (b"\0\0\x08\x02\0\0\0\x05\0\0\0\0", r"contains no values: .* shape 5×0"),
    ],
)
def test_wrong_magic_or_type_states_expected_and_found(tmp_path, start, message):
    (tmp_path / "wrong").write_bytes(start)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "wrong")
    (tmp_path / "wrong").write_bytes(gzip.compress(start))
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "wrong")


def peak_memory(function):
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            function()
        return tracemalloc.get_traced_memory()[1], str(caught.value)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("zipped", [False, True])
def test_header_larger_than_the_file_is_refused_before_allocating(tmp_path, zipped):
    data = b"\0\0\x08\x03" + b"\xff\xff\xff\xff" * 3 + bytes(100)
    (tmp_path / "liar").write_bytes(gzip.compress(data) if zipped else data)
    peak, message = peak_memory(lambda: read_idx(tmp_path / "liar"))
    assert peak < 1 << 20
    assert "4,294,967,295×4,294,967,295×4,294,967,295" in message
    assert "liar" in message


def test_gzip_bomb_with_an_honest_header_is_refused_before_unzipping(tmp_path):
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        file.write(b"\0\0\x08\x01" + (100 << 20).to_bytes(4, "big"))
        for _ in range(100):
            file.write(bytes(1 << 20))
    (tmp_path / "bomb").write_bytes(buffer.getvalue())
    peak, message = peak_memory(lambda: read_idx(tmp_path / "bomb"))
    assert peak < 1 << 20
    assert "announces 104,857,608 bytes" in message
    assert "unzip it first if you trust it" in message


@pytest.mark.parametrize("zipped", [False, True])
def test_trailing_bytes_are_refused(tmp_path, images, zipped):
    data = idx_bytes(images) + b"x"
    (tmp_path / "long").write_bytes(gzip.compress(data) if zipped else data)
    with pytest.raises(DataError, match=r"long: .* but more bytes follow"):
        read_idx(tmp_path / "long")


def test_labels_where_images_were_expected(tmp_path):
    write_idx(tmp_path / "labels", np.zeros(7, np.uint8))
    with pytest.raises(DataError, match=r"expected an array of 3 dimensions, received 1 dimension \(7\); .* swapped"):
        read_idx(tmp_path / "labels", expect_ndim=3)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: .* no such file"):
        read_idx(tmp_path / "nowhere")
    with pytest.raises(DataError, match="not a regular file"):
        read_idx(tmp_path)


def test_limit(tmp_path, images):
    write_idx(tmp_path / "a.gz", images)
    assert len(read_contents(tmp_path / "a.gz", limit=2176)) == 2176
    with pytest.raises(DataError, match="more than the 2,175 allowed"):
        read_contents(tmp_path / "a.gz", limit=2175)
