"""Files as a fault, an editor or an attacker leaves them: other bytes, or valid JSON with other values."""

import copy

from hypothesis import strategies as st

PIECES = (b"\xff" * 8, b"\0" * 9, b"[" * 3000, b'{"a":' * 2000, b"9" * 400, b"-1", b"null", b'"', b"1e999", b"\xc3\xa4")


def damage(content, draw):
    """``content`` after bytes of it were changed, lost, doubled or put in."""
    content = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        first = draw.randint(0, len(content))
        last = first + draw.randint(0, min(40, len(content) - first))
        piece = draw.choice(PIECES) if draw.random() < 0.4 else draw.randbytes(draw.randint(1, 12))
        match draw.randrange(6):
            case 0 | 1:
                content[first : first + len(piece)] = piece
            case 2:
                content[first:first] = piece
            case 3:
                del content[first:last]
            case 4:
                content[first:first] = content[first:last]
            case 5:
                del content[first:]
    return bytes(content)


def cut_or_changed(content, data):
    """``content`` shortened, or with up to four other bytes. data: what Hypothesis draws from."""
    content = bytearray(content)
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for index in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            content[index] = data.draw(st.integers(0, 255))
    return bytes(content)


NUMBERS = (0, -1, 1, 2, 3.5, 2**31, 2**63, 10**30, 10**400, 1e308, -1e308, 5e-324, float("nan"), float("inf"))
TEXTS = ("", "nin", "conv2d", "float32", "\ud800", "\x00\x1b[2J", "../../etc/passwd", "<script>", "x" * 100_000)
OTHERS = (None, True, False, [], {}, [[]], [None], {"a": None}, [[[[[[]]]]]])


def other_value(draw):
    """A value that is probably wrong where it is put."""
    return copy.deepcopy(draw.choice(draw.choice((NUMBERS, TEXTS, OTHERS))))


def change_json(value, draw):
    """Change one to three places of a JSON value: remove them, rename them, or put other values there."""
    for _ in range(draw.randint(1, 3)):
        inner = value
        while isinstance(inner, dict | list) and inner:
            key = draw.choice(list(inner)) if isinstance(inner, dict) else draw.randrange(len(inner))
            if isinstance(inner[key], dict | list) and inner[key] and draw.random() < 0.7:
                inner = inner[key]
                continue
            match draw.randrange(6):
                case 0:
                    del inner[key]
                case 1 if isinstance(inner, dict):
                    inner[draw.choice(("x", "", "format", key + "s"))] = inner.pop(key)
                case 2 if isinstance(inner, list):
                    inner += [copy.deepcopy(inner[key]) for _ in range(draw.choice((1, 5, 300)))]
                case 3 if isinstance(inner[key], int | float):
                    inner[key] = inner[key] * draw.choice((-1, 0, 2, 1000, 10**12)) + draw.choice((-1, 0, 1))
                case _:
                    inner[key] = other_value(draw)
            break
    return value
