"""`mlpconv bench explain` as a command: it trains what is missing, writes its files and says how class maps compare."""

import json
from pathlib import Path

import jsonschema
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
SCHEMA = Path(__file__).parents[2] / "docs" / "json" / "bench-explain.schema.json"


@pytest.mark.slow
def test_a_run_is_tested_and_the_marked_network_trained(cli, digits_run):
    recipe = Path("digits.toml")
    recipe.write_text('base = "fast"\ndata = "digits"\nimage_size = 8\nprecision = "float32"\n')
    options = ("--run", digits_run, "--shortcut-recipe", recipe, "--seeds", "1", "--images", "16", "--rounds", "1")
    said = cli("bench", "explain", *options, "--out", "results")
    assert said.code == 0, said.err
    assert "training digits.toml with a marker in one class, seed 0, into runs/digits-marked-seed-0" in said.err
    for expected in ("Removed pixels (ROAD): class maps are ", "Random weights: class maps ", "× plain prediction"):
        assert expected in said.out
    result = json.loads(Path("results/explain.json").read_text())
    jsonschema.validate(result, json.loads(SCHEMA.read_text()), cls=jsonschema.Draft202012Validator)
    assert result["command"].startswith(f"mlpconv bench explain --run {digits_run} --seeds 1 ")
    assert Path("results/explain.md").read_text().startswith("# Tests of class maps\n")
    assert Path("results/explain.png").read_bytes().startswith(b"\x89PNG")
    again = cli("bench", "explain", *options, "--json")
    assert "training" not in again.err
    assert json.loads(again.out)["shortcut"]["misled"] == result["shortcut"]["misled"]


def test_unknown_recipes_are_refused_before_anything_is_trained(cli):
    for option in ("--recipe", "--shortcut-recipe"):
        said = cli("bench", "explain", option, "fats")
        assert said.code == 2
        assert "unknown recipe 'fats'" in said.err
    assert not Path("runs").exists()
