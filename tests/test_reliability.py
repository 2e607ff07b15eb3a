"""Every promise of docs/reliability.md is held by tests that exist, and every numbered test of a fault is one's."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CASES = [*range(1, 15), *range(18, 35)]


def test_every_promise_has_its_tests_and_every_test_its_promise():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!promise|---)(.+) \| (.+) \|$", page, re.MULTILINE)
    assert len(rows) > 20
    named = set()
    for promise, tests in rows:
        found = re.findall(r"`(test_\w+)`", tests)
        assert found, promise
        named.update(found)
    files = (ROOT / "tests" / "faults").glob("test_*.py")
    there = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)}
    assert named == there
    assert sorted({int(name[5:7]) for name in there if name[5:7].isdigit()}) == CASES
