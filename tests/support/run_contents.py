"""The contents of a run directory without times: equal for two runs that did the same."""

import json

from mlpconv.runs.files import read_tensors

TIMES = ("seconds", "evaluation_seconds", "examples_per_second", "peak_resident_bytes")


def contents_without_times(path):
    """Weights, history, result, and every tensor of the last checkpoint."""
    history = [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
    for line in history:
        for name in TIMES:
            line.pop(name, None)
    result = json.loads((path / "result.json").read_text())
    for name in TIMES:
        result.pop(name, None)
    newest = max((path / "checkpoint").glob("epoch-*.safetensors"))
    weights = (path / "weights.safetensors").read_bytes()
    state = {name: value.tobytes() for name, value in read_tensors(newest)[0].items()}
    return {"history": history, "result": result, "weights": weights, "checkpoint": newest.name, "state": state}
