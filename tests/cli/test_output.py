"""Tables and paragraphs at every width."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from mlpconv.cli import output
from mlpconv.cli.output import Column

# Words of any script, wide characters among them.
words = st.text(st.characters(categories=("Lu", "Ll", "Lo", "Nd")), min_size=1, max_size=12)


def printed(columns, show):
    """The lines that ``show`` prints into so many columns; None is a file."""
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "width", lambda: columns)
        patch.setattr(output, "say", said.append)
        show()
    return [line for text in said for line in text.split("\n")]


@given(st.data(), st.integers(1, 5), st.integers(1, 4), st.none() | st.integers(20, 120))
def test_the_columns_of_a_table_are_aligned(data, count, height, room):
    rows = data.draw(st.lists(st.lists(words, min_size=count, max_size=count), min_size=height, max_size=height))
    columns = [
        Column(data.draw(words), right=data.draw(st.booleans()), leave_out=data.draw(st.integers(0, 3)))
        for _ in range(count)
    ]
    lines = printed(room, lambda: output.table(columns, rows))
    body = lines[: height + 2]
    rule = body[1]
    assert set(rule) <= {"─"}
    assert all(cell_len(line) <= len(rule) for line in body)
    kept = [k for k in range(count) if columns[k].leave_out == 0] if room is not None else range(count)
    for k in kept:
        assert columns[k].title in body[0]
        assert all(row[k] in line for row, line in zip(rows, body[2:], strict=True))
    needed = sum(max(cell_len(row[k]) for row in [[c.title for c in columns], *rows]) + 2 for k in kept) - 2
    assert room is None or len(rule) <= max(room, needed)
    left_out = " ".join(lines[height + 2 :])
    for column in columns:
        assert column.title in body[0] or column.title in left_out.replace("\n", " ")


@given(st.lists(words, min_size=1, max_size=30), st.integers(40, 120), st.integers(0, 10))
def test_a_wrapped_paragraph_fits_and_is_complete(text, room, indent):
    lines = printed(room, lambda: output.paragraph(" ".join(text), indent=indent))
    assert " ".join(lines).split() == text
    assert all(line.startswith(" " * indent) and len(line) <= room for line in lines)


@given(st.lists(words, min_size=1, max_size=30))
def test_output_to_a_file_is_not_wrapped(text):
    assert printed(None, lambda: output.paragraph(" ".join(text))) == [" ".join(text)]
