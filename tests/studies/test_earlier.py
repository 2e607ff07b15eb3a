"""What an earlier result of a study keeps from being trained again, and when it may be overwritten."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.errors import MlpconvError
from mlpconv.studies import earlier


def result(complete=True, **arms):
    """A result with an arm for each keyword: its digest and its seeds."""
    return {
        "complete": complete,
        "arms": [
            {"name": name, "settings": digest, "seeds": [{"seed": seed, "loss": seed / 10} for seed in seeds]}
            for name, (digest, *seeds) in arms.items()
        ],
    }


def test_what_was_measured_with_the_same_settings_is_known():
    previous = result(a=("1", 0, 1), b=("2", 0), gone=("3", 0))
    assert earlier.known(previous, {"a": "1", "b": "other", "new": "4"}) == {
        ("a", 0): {"seed": 0, "loss": 0.0},
        ("a", 1): {"seed": 1, "loss": 0.1},
    }
    assert earlier.known(None, {"a": "1"}) == {}


def test_a_result_without_digests_is_not_known():
    previous = result(a=("", 0))
    del previous["arms"][0]["settings"]
    assert earlier.known(previous, {"a": ""}) == {}


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        (result(a=("1", 0)), None, True),
        (result(False, a=("1",)), None, False),  # nothing to write
        (result(False, a=("1", 0), b=("2",)), None, True),
        (result(a=("1", 0, 1)), result(a=("1", 0)), True),
        (result(a=("1", 0)), result(a=("1", 0, 1)), False),
        (result(a=("2", 0)), result(a=("1", 0, 1)), True),  # another size, complete
        (result(False, a=("2", 0)), result(a=("1", 0, 1)), False),
        (result(a=("1", 0)), result(a=("1", 0), b=("2", 0)), True),  # an arm that the study has no more
        (result(False, a=("1", 0, 1), b=("2", 0)), result(a=("1", 0, 1)), True),
    ],
)
def test_when_a_result_takes_the_place_of_an_earlier_one(now, before, expected):
    assert earlier.supersedes(now, before) is expected


def test_a_result_is_read(tmp_path):
    path = tmp_path / "head.json"
    assert earlier.read(path) is None
    path.write_text(json.dumps(result(a=("1", 0))))
    assert earlier.read(path) == result(a=("1", 0))


@given(st.one_of(st.binary(), st.sampled_from([b"[]", b"{}", b'{"arms": 3}', b'{"arms": [{"name": "a"}]}'])))
def test_another_file_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("earlier") / "head.json"
    path.write_bytes(content)
    with pytest.raises(MlpconvError, match=r"head\.json: not the result of a study, .*move it away"):
        earlier.read(path)
