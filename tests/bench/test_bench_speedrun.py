"""`bench speedrun` on programs that end at once, and on a recipe that learns the digits in a second."""

import json
import sys
from pathlib import Path

import jsonschema
import pytest

from mlpconv.bench import speedrun
from mlpconv.errors import BenchmarkFailed

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs/json/bench-speedrun.schema.json").read_text())


def program(path, body):
    path.write_text(
        "import argparse, json, time\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--seed', type=int)\n"
        f"seed = parser.parse_args().seed\n{body}\n"
    )
    return [sys.executable, str(path)]


def result_line(accuracy="0.9 + seed / 100", seconds="0.001 * (3 - seed)", parameters="1000 + seed"):
    return f"print(json.dumps(dict(test_accuracy={accuracy}, seconds={seconds}, parameters={parameters}, more=1)))"


def measure(command, seeds=3, name="mine"):
    return speedrun.measure(name, command, seeds, lambda line: None)


def test_an_entry_has_the_medians_of_its_seeds(tmp_path):
    entry = measure(program(tmp_path / "mine.py", "print('epoch 1')\n" + result_line()))
    jsonschema.validate(speedrun.merged([], [entry]), SCHEMA)
    assert entry["test_accuracy"] == pytest.approx(0.91)
    assert entry["lowest_test_accuracy"] == pytest.approx(0.9)
    assert entry["seconds"] == pytest.approx(0.002)
    assert entry["parameters"] == 1002
    assert [row["seed"] for row in entry["seeds"]] == [0, 1, 2]
    assert all(row["process_seconds"] > row["seconds"] for row in entry["seeds"])
    assert entry["program"] == f"python {tmp_path / 'mine.py'}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('done')", r"--seed 0: the last line that it printed is 'done', but it has to be a JSON object"),
        ("", "the last line that it printed is ''"),
        ("print(json.dumps(dict(test_accuracy=0.9, seconds=1)))", "missing required field `parameters`"),
        (result_line(accuracy="'high'"), "Expected `float`, got `str`"),
        (result_line(accuracy="91.2"), "test_accuracy is a share from 0 to 1 .* not 91.2"),
        (result_line(seconds="1000.0"), r"seconds are a part of the [\d.]+ s of the process, not 0.9 and 1000.0"),
        (result_line(seconds="0.0"), "not 0.9 and 0.0"),
        (result_line(parameters="2_000_001"), "2,000,001 parameters, but at most 2,000,000 are allowed"),
        ("raise SystemExit('no data here')", r"(?s)--seed 0: ended with 1:.*no data here"),
        ("if seed == 1:\n    raise SystemExit(3)\n" + result_line(), r"--seed 1: ended with 3"),
    ],
)
def test_a_program_that_breaks_the_protocol_or_a_rule_is_refused(tmp_path, body, message):
    with pytest.raises(BenchmarkFailed, match=message):
        measure(program(tmp_path / "mine.py", body))


def test_a_program_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(BenchmarkFailed, match=r"absent --seed 0: cannot be started"):
        measure([str(tmp_path / "absent")])


def entry(name, seconds, accuracy=0.93, bfloat16=True, limit=""):
    machine = {"processor": "Some CPU", "cpus": 2, "bfloat16": bfloat16, "instructions_up_to": limit, "platform": "OS"}
    return {
        "name": name,
        "program": f"python {name}.py",
        "parameters": 1_234_567,
        "test_accuracy": accuracy,
        "lowest_test_accuracy": accuracy - 0.001,
        "seconds": seconds,
        "seeds": [{}] * 5,
        "hardware": machine,
        "versions": {"python": "3.11.7"},
        "date": "2026-11-28T20:38:01+00:00",
        "command": "mlpconv bench speedrun",
    }


def test_a_new_entry_replaces_that_of_the_same_name_and_hardware():
    old = [entry("a", 50.0), entry("b", 40.0), entry("a", 90.0, bfloat16=False, limit="AVX2")]
    result = speedrun.merged(old, [entry("a", 30.0)])
    found = [(e["name"], e["seconds"], e["hardware"]["bfloat16"]) for e in result["entries"]]
    assert found == [("a", 30.0, True), ("b", 40.0, True), ("a", 90.0, False)]


def test_the_tables_are_by_target_and_processor():
    entries = [
        entry("a", 9.0, 0.9001),
        entry("b", 8.0, 0.9),
        entry("c", 99.0, 0.9199, False, "AVX2"),
        entry("d", 1.0, 0.5),
    ]
    tables = dict(speedrun.tables(speedrun.merged([], entries)))
    assert list(tables) == [
        "0.9, processors with bfloat16",
        "0.9, processors without bfloat16",
        "Below 0.9, processors with bfloat16",
    ]
    assert [row[0] for row in tables["0.9, processors with bfloat16"]] == ["b", "a"]
    (row,) = tables["0.9, processors without bfloat16"]
    assert row == ("c", "99.0", "0.9199", "0.9189", "5", "1,234,567", "Some CPU, 2 CPUs, limited to AVX2", "2026-11-28")


def test_the_page_states_rules_entries_and_how_to_enter():
    page = speedrun.markdown(speedrun.merged([], [entry("a", 9.0)]))
    assert "at most 2,000,000" in page
    assert "| a | 9.0 | 0.9300 |" in page
    assert "`python a.py`" in page
    assert "--out benchmarks" in page


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"entries": ', '{"entries": [3]}', '{"entries": [{"name": "a", "seconds": 3}]}', "\x80"]
)
def test_a_damaged_result_is_not_overwritten(tmp_path, text):
    path = tmp_path / "speedrun.json"
    path.write_text(text)
    with pytest.raises(BenchmarkFailed, match="is not a result of mlpconv bench speedrun"):
        speedrun.read_entries(path)
    assert speedrun.read_entries(tmp_path / "absent.json") == []


def test_a_recipe_is_an_entry(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text('base = "fast"\nmodel = "nin_28"\ndata = "digits"\nimage_size = 14\nepochs = 1\n')
    found = measure(speedrun.command_of("tiny.toml"), 1)
    assert found["parameters"] == 418_346
    assert found["test_accuracy"] > 0.5
    assert found["program"] == "python -m mlpconv train --recipe tiny.toml --json"


def test_the_published_entries_keep_the_rules_and_make_the_page():
    result = json.loads((ROOT / "benchmarks/speedrun.json").read_text())
    jsonschema.validate(result, SCHEMA)
    assert (ROOT / "benchmarks/speedrun.md").read_text() == speedrun.markdown(result)
    for found in result["entries"]:
        assert len(found["seeds"]) >= speedrun.FEWEST_SEEDS
