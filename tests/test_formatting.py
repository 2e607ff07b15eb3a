"""Durations, counts and sizes as people read them, and file names that can be printed."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.formatting import format_bytes, format_count, format_duration, json_text, printable


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (19_440, "5 h 24 min")],
)
def test_durations(value, text):
    assert format_duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (7_968_664, "7.60 MiB"), (10**10, "9.31 GiB")]
)
def test_sizes(value, text):
    assert format_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), (999, "999"), (1992166, "1.99 M"), (762297352, "762 M"), (1524594704, "1.52 G")]
)
def test_amounts(value, text):
    assert format_count(value) == text


@pytest.mark.parametrize(("name", "text"), [("ö.png", "ö.png"), ("a\nb", "a\\nb"), ("\udcff", "\\udcff")])
def test_names_that_cannot_be_printed_are_escaped(name, text):
    assert printable(name) == text


@given(st.binary())
def test_every_file_name_survives_json(name):
    text = json_text({"file": os.fsdecode(name)})
    assert os.fsencode(json.loads(text.encode("utf-8"))["file"]) == name
