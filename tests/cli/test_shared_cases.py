"""Inputs that failed once, from outside of the repository; each kind has tests with other inputs elsewhere, too."""

import shutil
from pathlib import Path

import pytest

CASES = Path(__file__).parents[2].parent / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not there")


@pytest.fixture
def case(tmp_path):
    def copy(name):
        if not (CASES / name).exists():
            pytest.skip(f"../shared/cases/{name} is not there")
        return shutil.copytree(CASES / name, tmp_path / name)

    return copy


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("F1", {"train": 24, "validation": 0, "test": 8}),
        ("F3", {"train": 12, "validation": 0, "test": 4}),
        ("F9", {"train": 36, "validation": 0, "test": 4}),
        ("F10", {"train": 20, "validation": 0, "test": 4}),
        ("F11", {"train": 20, "validation": 0, "test": 4}),
        ("F15-semicolon/list.csv", {"train": 8, "validation": 0, "test": 2}),
        ("F15-excel-rows/list.csv", {"train": 8, "validation": 0, "test": 2}),
    ],
)
def test_what_is_understood(cli, case, name, images):
    case(Path(name).parts[0])
    report = cli("data", "check", name, "--json").json()
    assert report["images"] == images
    assert not any("both in training" in warning for warning in report["warnings"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("F7-latin1/list.csv", "save it as CSV in UTF-8"),
        ("F14", "give that folder: F14/photos"),
        ("F18", "differ only by case"),
    ],
)
@pytest.mark.parametrize("command", [("data", "check"), ("train", "--data")])
def test_what_is_refused(cli, case, name, message, command):
    case(Path(name).parts[0])
    said = cli(*command, name)
    assert said.code == 2
    assert message in said.err


def test_number_folders_are_in_order(cli, case):
    case("F17")
    assert [each["name"] for each in cli("data", "check", "F17", "--json").json()["classes"]] == ["1", "2", "10"]
