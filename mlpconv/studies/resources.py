"""The study of resources: the predicted and the measured costs of each network."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpconv.arch.cost import count, prediction_memory, training_memory, value_bytes
from mlpconv.arch.network import Network
from mlpconv.errors import TrainingFailed
from mlpconv.files import write_atomic
from mlpconv.formatting import format_bytes
from mlpconv.models import create_model
from mlpconv.reports.provenance import HARDWARE_OF_DEVICE, hardware
from mlpconv.runs.run import environment
from mlpconv.studies import runner, step_resources
from mlpconv.training.recipe import Recipe

if TYPE_CHECKING:
    from mlpconv.studies.catalogue import Study

MEASURED = "resources.json"
"""The file with a measurement."""
PHASES = ("training", "prediction")


def study(
    study: "Study",
    recipe: Recipe,
    seeds: Sequence[int],
    directory: Path,
    options: runner.StudyOptions = runner.DEFAULT_OPTIONS,
) -> dict[str, Any]:
    """Run the study of resources.

    Args:
        study: The study.
        recipe: The recipe, with the batch size and the optimizer.
        seeds: Numbers of the repetitions.
        directory: The directory for the measurements; those that it has already are reused.
        options: The device, what to call with the progress, and when to stop: between measurements. Everything is
            measured in PyTorch.

    Returns:
        A result like the runner's; its arms have ``predicted`` costs, and its seeds are repetitions.

    Raises:
        TrainingFailed: A network cannot be measured.
    """
    arms, about = [], {}
    for arm in study.arms:
        network = create_model(arm.changes["model"])
        rows = []
        for seed in seeds:
            if options.should_stop():
                break
            found = _measured(directory / arm.name / f"seed-{seed}", arm.changes["model"], recipe, options.device)
            about = found.pop("environment")
            rows.append({"seed": seed, **found, "failed": None})
            options.progress(f"{arm.name}, seed {seed}: {format_bytes(found['training_bytes'] or 0)} in training")
        side = _side(network, recipe)
        shape = (network.input_channels, side, side)
        precision = rows[0]["precision"] if rows else "float32"
        kind = {"batch": recipe.batch_size, "value_bytes": value_bytes(precision)}
        ledger = count(network, shape)
        predicted = {
            "parameters": ledger.parameters,
            "flops": ledger.flops,
            "training_bytes": training_memory(network, shape, optimizer=recipe.optimizer.variant, **kind).total,
            "prediction_bytes": prediction_memory(network, shape, **kind).total,
        }
        keys = ("parameters", "flops", *(f"{phase}_{what}" for phase in PHASES for what in ("bytes", "seconds")))
        known = [key for key in keys if rows and all(row[key] is not None for row in rows)]
        summary = {key: runner.summarize([row[key] for row in rows])._asdict() for key in known}
        arms.append(
            {
                "name": arm.name,
                "about": f"images of {'×'.join(map(str, shape))}, batches of {recipe.batch_size}",
                "changes": dict(arm.changes),
                "seeds": rows,
                "summary": summary,
                "predicted": predicted,
                **{key: summary.get("training_bytes", {}).get(key) for key in ("mean", "low", "high")},
                "parameters": predicted["parameters"],
                "flops": predicted["flops"],
                "training_memory_bytes": predicted["training_bytes"],
                "seconds": summary.get("training_seconds", {}).get("mean"),
            }
        )
    return {
        "format": 1,
        "study": study.name,
        "complete": all(len(arm["seeds"]) == len(seeds) for arm in arms),
        "arms": arms,
        "data": "none",
        "precision": next((row["precision"] for arm in arms for row in arm["seeds"]), None),
        "hardware": hardware(about, HARDWARE_OF_DEVICE),
        "versions": about.get("versions", {}),
        "date": about.get("date"),
    }


def _side(network: Network, recipe: Recipe) -> int:
    """The recipe's image size, or the network's if it is made for small images."""
    return network.input_size[0] if max(network.input_size) < 64 else recipe.image_size or network.input_size[0]


def _measured(path: Path, model: str, recipe: Recipe, device: str | None) -> dict[str, Any]:
    network = create_model(model)
    side = _side(network, recipe)
    rule = {"name": recipe.optimizer.name}
    job = {"model": model, "image_size": side, "batch_size": recipe.batch_size, "device": device, "optimizer": rule}
    kept = path / MEASURED
    if kept.exists():
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found.pop("job") == job:
            return found
    found: dict[str, Any] = {}
    for phase in PHASES:
        argument = json.dumps(job | {"training": phase == "training"})
        command = [sys.executable, "-m", step_resources.__name__, argument]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = "\n".join(done.stderr.splitlines()[-10:])
            raise TrainingFailed(f"resources: {model}: its process ended with {done.returncode}:\n{last}")
        one = json.loads(done.stdout.splitlines()[-1])
        found |= {f"{phase}_{key}": one.pop(key) for key in ("bytes", "seconds")} | one
    found["environment"] = environment(found["device"])
    path.mkdir(parents=True, exist_ok=True)
    write_atomic(kept, json.dumps(found | {"job": job}) + "\n")
    return found


def sentences(result: dict[str, Any]) -> list[str]:
    """A sentence for each network that compares the measured with the predicted costs."""
    lines = []
    for arm in result["arms"]:
        found, predicted = arm["summary"], arm["predicted"]
        if not found:
            continue
        same = all(found[key]["mean"] == predicted[key] for key in ("parameters", "flops"))
        parts = [
            "parameters and FLOPs are as predicted"
            if same
            else f"measured are {found['parameters']['mean']:,.0f} parameters and {found['flops']['mean']:,.0f} FLOPs, "
            f"predicted {predicted['parameters']:,} and {predicted['flops']:,}"
        ]
        for phase in PHASES:
            key = f"{phase}_bytes"
            if key in found:
                low, high = (found[key][end] / predicted[key] for end in ("least", "most"))
                parts.append(
                    f"{phase} took {format_bytes(round(found[key]['mean']))}, {low:.2f} to {high:.2f} × the predicted "
                    f"{format_bytes(predicted[key])}"
                )
        lines.append(f"{arm['name']}: {'; '.join(parts)}.")
    return lines
