"""`mlpconv bench speedrun`: what it writes, and what it refuses before anything runs."""

import json
import sys
from pathlib import Path

import pytest

from mlpconv.bench import speedrun

GOOD = 'print(\'{"test_accuracy": 0.93, "seconds": 0.001, "parameters": 10}\')'


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """fast is a program that ends at once, fast-92 one that fails."""
    (tmp_path / "fast.py").write_text(GOOD)
    (tmp_path / "fast-92.py").write_text("raise SystemExit('no memory')")
    monkeypatch.setattr(speedrun, "command_of", lambda recipe: [sys.executable, str(tmp_path / f"{recipe}.py")])


def entries():
    return [entry["name"] for entry in json.loads(Path("pages/speedrun.json").read_text())["entries"]]


def test_the_failure_of_an_entry_does_not_lose_those_before_it(cli, programs):
    said = cli("bench", "speedrun", "fast", "fast-92", "--out", "pages")
    assert said.code == 3
    assert "no memory" in said.err
    assert entries() == ["mlpconv fast"]
    assert "| mlpconv fast | 0.0 | 0.9300 |" in Path("pages/speedrun.md").read_text()


def test_entries_of_earlier_calls_are_kept(cli, programs, tmp_path):
    assert cli("bench", "speedrun", "fast", "--out", "pages").code == 0
    mine = f"{sys.executable} {tmp_path / 'fast.py'}"
    assert cli("bench", "speedrun", "--name", "mine", "--command", mine, "--out", "pages").code == 0
    assert sorted(entries()) == ["mine", "mlpconv fast"]


def test_the_table_takes_no_entry_of_too_few_seeds(cli, programs):
    said = cli("bench", "speedrun", "fast", "--seeds", "4", "--out", "pages")
    assert said.code == 2
    assert "of at least 5 seeds; for a trial, leave --out away" in " ".join(said.err.replace("│", " ").split())
    assert not Path("pages").exists()
    trial = cli("bench", "speedrun", "fast", "--seeds", "1", "--json")
    assert len(json.loads(trial.out)["entries"][0]["seeds"]) == 1
