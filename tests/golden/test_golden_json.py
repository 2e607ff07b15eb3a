"""The output of --json has the recorded keys and types."""

from importlib.util import find_spec

import golden_outputs as outputs
import golden_recorded as recorded
import pytest

OUTPUTS = recorded.read(recorded.OUTPUTS)
NEEDS = {"tune": "optuna", "convert-foreign": "torch"}
USES_DIGITS = {
    "train",
    "train-repaired",
    "study-performed",
    "train-finished",
    "train-dry-run",
    "evaluate",
    "explain",
    "data-get",
    "tune",
}
AGAIN = "if this change is intended: python tests/golden/record.py outputs"


def test_every_case_is_recorded():
    assert OUTPUTS.keys() == outputs.CASES.keys(), AGAIN


@pytest.mark.parametrize("case", outputs.CASES)
def test_the_keys_are_unchanged(case, tmp_path):
    needed = [NEEDS.get(case), "sklearn" if case in USES_DIGITS else None]
    for package in filter(None, needed):
        if not find_spec(package):
            pytest.skip(f"{package} is not installed")
    outputs.prepare(tmp_path / "here")
    found, known = outputs.shape_of(case, tmp_path / "here"), OUTPUTS[case]
    changed = {path: (known.get(path), found.get(path)) for path in known | found}
    changed = {path: f"{before}, now {now}" for path, (before, now) in changed.items() if before != now}
    assert not changed, AGAIN
