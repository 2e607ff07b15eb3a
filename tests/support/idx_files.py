"""Write IDX files, the format of MNIST."""

import gzip
from pathlib import Path

import numpy as np

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    """The contents of an IDX file: two zero bytes, type, number of dimensions, dimensions, big-endian values."""
    header = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx(path, array):
    """Write an array as IDX, gzipped if the name ends in `.gz`; equal arrays give equal files."""
    contents = idx_bytes(array)
    Path(path).write_bytes(gzip.compress(contents, mtime=0) if Path(path).suffix == ".gz" else contents)
