"""The keys and types of what each command prints with --json in a directory that ``prepare`` fills."""

import json
import shutil
from pathlib import Path
from typing import Any

import golden_cases as cases
import golden_recorded as recorded

TINY = ("--model", "tiny.json", "--data", "digits", "--epochs", "1", "--device", "cpu")

CASES: dict[str, tuple[tuple[object, ...], ...]] = {
    "summary": (("summary", "nin_fast"),),
    "summary-depth": (("summary", "lenet", "--depth", "layer"),),
    "summary-compare": (("summary", "nin", "--compare", "alexnet", "vgg11"),),
    "models": (("models",),),
    "recipes": (("recipes",),),
    "train": (("train", "--recipe", "own", *TINY, "--out", "made"),),
    "train-repaired": (
        ("train", "--recipe", "own", *TINY, "--epochs", "2", "--lr", "1000", "--optimizer", "sgd", "--seed", "1",
         "--precision", "float32", "--out", "made"),
    ),
    "train-finished": (("train", "--out", "finished", "--resume"),),
    "train-dry-run": (("train", *TINY, "--dry-run"),),
    "evaluate": (("evaluate", "finished"),),
    "predict": (("predict", "finished", "photos/ant"),),
    "predict-out": (("predict", "finished", "photos", "--out", "said.csv"),),
    "explain": (("explain", "finished", "photos/ant/000.png", "--class", "3", "--against", "5", "--figure"),),
    "report": (("report", "finished", "--out", "report.html"),),
    "compare": (("compare", "finished", "stopped", "--out", "compared.html"),),
    "runs": (("runs", "."),),
    "convert": (("convert", "finished", "--out", "tiny.safetensors"),),
    "convert-foreign": (
        ("convert", "finished", "--out", "tiny.pt"),
        ("convert", "tiny.pt", "--model", "tiny.json", "--out", "again.safetensors"),
    ),
    "data-list": (("data", "list"),),
    "data-check": (("data", "check", "photos"),),
    "data-get": (("data", "get", "digits"),),
    "data-clean": (("data", "check", "photos"), ("data", "clean")),
    "data-clean-dry-run": (("data", "check", "photos"), ("data", "clean", "--dry-run")),
    "doctor": (("doctor",),),
    "study": (("study",),),
    "study-performed": (
        ("study", "family", "--budget", "small", "--data", "digits", "--images", "20", "--seeds", "1",
         "--image-size", "32", "--device", "cpu"),
    ),
    "tune": (
        ("tune", "--data", "digits", "--trials", "2", "--images", "64", "--device", "cpu", "--out", "tuned",
         "--set", "model=tiny.json", "--set", "epochs=1", "--set", "min_steps=0",
         "--space", "learning_rate=1e-3..1e-2 log"),
    ),
}  # fmt: skip
"""The commands of each case; the output of the last one is recorded."""

MACHINE = {
    "data-list": ("[].path", "[].origin"),
    "doctor": (
        "ok", "memory_bytes", "cores", "gpus", "packages.", "data[].path", "data[].origin", "data[].remedy",
        "training.",
    ),
    "train": ("forecast.", "peak_resident_bytes"),
    "train-repaired": ("forecast.", "peak_resident_bytes", "repairs[].loss"),
}  # fmt: skip
"""Values whose type depends on the machine, such as those that may be absent: only the key is compared."""
VARYING = ("border_evidence.",)
"""Keys that are present or not by how well a network learned, which depends on rounding: they are left out."""


def prepare(directory: Path) -> None:
    """The recorded runs, and a folder of images with unusable files."""
    shutil.copytree(recorded.RUNS, directory)
    cases.photos(directory / "photos", {"ant": 12, "bee": 12}, side=8, channels=1)
    shutil.copy(directory / "photos" / "ant" / "000.png", directory / "photos" / "ant" / "twice.png")
    (directory / "photos" / "ant" / "broken.png").write_bytes(b"no image")


def shape_of(case: str, directory: Path) -> dict[str, str]:
    """The keys of the output of a case, each as a path with the types of its values."""
    for words in CASES[case]:
        said = recorded.command(directory, *words, "--json")
    found: dict[str, set[str]] = {}
    _walk([json.loads(said)], "", found)
    free = MACHINE.get(case, ())
    return {
        path: "depends on the machine" if path.startswith(free) else ", ".join(sorted(types))
        for path, types in sorted(found.items())
        if not path.startswith(VARYING)
    }


READ = ("finished", "stopped", "bfloat16")
"""The recorded runs."""


def reading(run: str, directory: Path) -> dict[str, Any]:
    """The results of a run for its test images and for three others, in float32."""

    def said(*words: object) -> Any:
        return json.loads(recorded.command(directory, *words, "--device", "cpu", "--precision", "float32", "--json"))

    images = [f"photos/ant/00{number}.png" for number in (1, 2, 3)]
    found, explained = said("evaluate", run), said("explain", run, *images)["images"]
    return {
        "accuracy": found["accuracy"],
        "loss": found["loss"],
        "confusion": found["confusion"],
        "top": [
            {guess["label"]: guess["probability"] for guess in row["top"]} for row in said("predict", run, *images)
        ],
        "evidence": [{row["label"]: row["evidence_for"] for row in image["classes"]} for image in explained],
    }


def _walk(values: list[Any], path: str, found: dict[str, set[str]]) -> None:
    """Record the types of all values at a path of the output."""
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    kinds = {names.get(type(value), "object" if isinstance(value, dict) else "array") for value in values}
    found.setdefault(path, set()).update(kinds)
    tables = [value for value in values if isinstance(value, dict)]
    # In the order of the output, and each once.
    for key in dict.fromkeys(key for table in tables for key in table):
        inner = [table[key] for table in tables if key in table]
        if len(inner) < len(tables):
            found.setdefault(f"{path}.{key}".lstrip("."), set()).add("absent")
        _walk(inner, f"{path}.{key}".lstrip("."), found)
    if items := [item for value in values if isinstance(value, list) for item in value]:
        _walk(items, f"{path}[]", found)
