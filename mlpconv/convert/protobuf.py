"""The wire format of Protocol Buffers, as far as files of weights need it: the fields of a message, without a schema.

A field starts with a number whose lower three bits are its type: 0 for a number of variable length, 1 for 8 bytes, 2
for a length and that many bytes, 5 for 4 bytes. The other bits are the number of the field in the schema.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

Buffer = memoryview | mmap.mmap | bytes

_MAX_TAG_BYTES = 10
MAX_FIELDS = 10_000_000
"""The most fields of a message, which take ten seconds: as many as values that are not packed."""


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message in order: (number, value).

    A value of fixed or given length is its bytes, any other an integer.

    Raises:
        ValueError: The message is damaged.
    """
    for number, value in _positions(message, len(message)):
        yield number, value if isinstance(value, int) else message[value]


def top_level_fields(path: Path) -> Iterator[tuple[int, int | slice]]:
    """The fields of the message that is a whole file, without reading their content: a number, or its place.

    Raises:
        ValueError: The file is not a message.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield from _positions(content, len(content))


def _positions(content: Buffer, size: int) -> Iterator[tuple[int, int | slice]]:
    position = count = 0
    while position < size:
        count += 1
        if count > MAX_FIELDS:
            raise ValueError(f"more than {MAX_FIELDS:,} fields")
        tag, position = _varint(content, position, size)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = _varint(content, position, size)
            yield number, value
            continue
        if kind == 2:
            length, position = _varint(content, position, size)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of type {kind}")
        if number == 0 or length > size - position:
            raise ValueError("truncated")
        yield number, slice(position, position + length)
        position += length


def varints(content: memoryview) -> list[int]:
    """The numbers of a packed field.

    Raises:
        ValueError: The field is damaged.
    """
    numbers, position = [], 0
    while position < len(content):
        number, position = _varint(content, position, len(content))
        numbers.append(number)
    return numbers


def _varint(content: Buffer, position: int, size: int) -> tuple[int, int]:
    """A number in groups of 7 bits, the lowest first, and the position after it."""
    number = 0
    for index in range(_MAX_TAG_BYTES):
        if position + index >= size:
            break
        byte = content[position + index]
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, position + index + 1
    raise ValueError("truncated")
