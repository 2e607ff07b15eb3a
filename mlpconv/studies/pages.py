"""A study's result for people: a page in Markdown."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mlpconv.arch.shapes import show
from mlpconv.formatting import format_bytes, format_count, format_duration, markdown_table
from mlpconv.studies import figures
from mlpconv.studies.answers import all_learn
from mlpconv.studies.catalogue import Study
from mlpconv.studies.summary import interval


def titles(result: Mapping[str, Any]) -> list[str]:
    """The columns of the table of arms."""
    if result["kind"] == "resources":
        return [
            "network",
            "images",
            "parameters",
            "FLOPs of an image",
            "training memory: predicted",
            "measured",
            "prediction memory: predicted",
            "measured",
            "seconds a step",
            "seconds a prediction",
        ]
    ended = [] if all_learn(result) else ["how the seeds ended"]
    return [
        "arm",
        "what it is",
        "test accuracy",
        "95 % interval",
        "range",
        "seeds",
        *result["columns"].values(),
        *ended,
        *(["images", "last map"] if _common_map(result) is None else []),
        "parameters",
        "FLOPs",
        "training memory",
        "time of a run (median)",
    ]


def rows(result: Mapping[str, Any]) -> list[list[str]]:
    """The cells of each arm, in the order of ``titles``."""
    line = _resources if result["kind"] == "resources" else _trained
    return [line(result, arm) for arm in result["arms"]]


def _trained(result: Mapping[str, Any], arm: Mapping[str, Any]) -> list[str]:
    found = arm["summary"].get("test_accuracy")
    ended = [row.get("outcome", "") for row in arm["seeds"]]
    kinds = [f"{ended.count(kind)} {kind}" for kind in figures.OUTCOME_COLORS if kind in ended]
    return [
        arm["name"],
        arm["about"],
        f"{found['mean']:.4f}" if found else "–",
        "{:.4f} to {:.4f}".format(*interval("test_accuracy", found)) if found and found["runs"] > 1 else "–",
        f"{found['least']:.4f} to {found['most']:.4f}" if found else "–",
        str(len(arm["seeds"])),
        *(_mean_and_interval(key, arm["summary"].get(key)) for key in result["columns"]),
        *([] if all_learn(result) else [", ".join(kinds)]),
        *(_images_and_map(result, arm) if _common_map(result) is None else []),
        f"{arm['parameters']:,}" if arm["parameters"] else "–",
        format_count(arm["flops"]) if arm["flops"] else "–",
        format_bytes(arm["training_memory_bytes"]) if arm["training_memory_bytes"] else "–",
        format_duration(arm["seconds"]) if arm["seconds"] else "–",
    ]


def _images_and_map(result: Mapping[str, Any], arm: Mapping[str, Any]) -> tuple[str, str]:
    """The size of an arm's images and of its last map."""
    side = arm["changes"].get("image_size") or result["budget"]["image_size"]
    return show((side, side)), show(arm["last_map"]) if arm.get("last_map") else "–"


def _common_map(result: Mapping[str, Any]) -> str | None:
    """The size of the images and of the last map, if all arms share them."""
    first, *others = {_images_and_map(result, arm) for arm in result["arms"]}
    return None if others else f"images of {first[0]}, last map {first[1]}"


def _mean_and_interval(measure: str, found: Mapping[str, float] | None) -> str:
    if found is None:
        return "–"
    mean = f"{found['mean']:.4g}"
    return f"{mean} ({{:.4g}} to {{:.4g}})".format(*interval(measure, found)) if found["runs"] > 1 else mean


def _resources(result: Mapping[str, Any], arm: Mapping[str, Any]) -> list[str]:
    found, predicted = arm["summary"], arm["predicted"]

    def measured(key: str) -> str:
        return format_bytes(round(found[key]["mean"])) if key in found else "not known"

    return [
        arm["name"],
        arm["about"],
        f"{predicted['parameters']:,}",
        format_count(predicted["flops"]),
        format_bytes(predicted["training_bytes"]),
        measured("training_bytes"),
        format_bytes(predicted["prediction_bytes"]),
        measured("prediction_bytes"),
        *(f"{found[key]['mean']:.3f}" if key in found else "–" for key in ("training_seconds", "prediction_seconds")),
    ]


def markdown(result: Mapping[str, Any], command: str, planned: Sequence[str] = ()) -> str:
    """The result as a page, with the figure NAME.png in the same directory.

    Args:
        result: The result of the study.
        command: The command that made it.
        planned: What the study has and the result has not (``not_run_yet``); the page states it.
    """
    lines = [
        f"# {result['study'].capitalize().replace('-', ' ')}",
        "",
        f"*{result['question']}*",
        "",
        *(f"- {sentence}" for sentence in result["conclusion"]),
        *([f"- not run yet: {'; '.join(planned)}"] if planned else []),
        "",
        f"![{figures.caption(result)}]({result['study']}.png)",
        "",
        *markdown_table(titles(result), rows(result), left=None),
        "",
        "## How it was done",
        "",
        *(line for paragraph in _setting(result) for line in (paragraph, "")),
        f"- command: `{command}`",
        f"- {_extent(result)}",
        *_provenance(result),
        *(f"- earlier runs: {'; '.join(_provenance(each, ''))}" for each in result.get("earlier", ())),
        "",
    ]
    return "\n".join(lines)


def _provenance(measured: Mapping[str, Any], bullet: str = "- ") -> list[str]:
    """Hardware, versions and date, a line each."""
    has = measured["hardware"]
    machine = has.get("processor") if str(has.get("device")).startswith("cpu") else has.get("device")
    count = f"{has.get('cpus')} processor{'s' * (has.get('cpus') != 1)}"
    bfloat16 = "" if has.get("bfloat16") is None else f" {'with' if has['bfloat16'] else 'without'} bfloat16"
    return [
        f"{bullet}hardware: {machine}, {count}{bfloat16}, computing in {measured['precision']}; {has.get('platform')}",
        f"{bullet}versions: {', '.join(f'{name} {version}' for name, version in measured['versions'].items())}",
        f"{bullet}date: {str(measured['date']).partition('T')[0]}",
    ]


def not_run_yet(result: Mapping[str, Any], study: Study) -> list[str]:
    """What a study has that its result has not: arms, seeds of an arm, or its present size.

    The command of a result whose size was given by options is complete by itself.
    """
    rows = {arm["name"]: arm["seeds"] for arm in result["arms"]}
    missing = []
    for arm in study.arms:
        wanted = arm.seeds(result["budget"]["seeds"])
        seeds = sorted(set(wanted) - {row["seed"] for row in rows.get(arm.name, ())})
        if len(seeds) == len(wanted):
            missing.append(arm.name)
        elif seeds:
            missing.append(f"{arm.name} with seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}")
    name = result.get("command", "").removeprefix(f"mlpconv study {study.name} --budget ")
    now = study.budgets.get(name)
    if now is not None and now._asdict() != result["budget"]:
        missing.append(f"all arms at the study's present size, {_size(now._asdict(), ())}")
    return missing


def _setting(result: Mapping[str, Any]) -> list[str]:
    """The method, in paragraphs."""
    about = f" {result['about']}" if result["about"] else ""
    if result["kind"] == "resources":
        method = (
            "Predicted is the memory of the tensors that `mlpconv summary` shows; measured is the memory that "
            "PyTorch's process took."
        )
        return [method + about]
    return [
        f"Each arm is trained with each seed by the recipe `{result['recipe']}` with the changes of the arm, on "
        f"{result['data']}; the test accuracy is that after the last epoch, which nothing was chosen by." + about,
        "Differences are of the same seeds; their intervals are Student's, their p values of the paired t test, after "
        "Holm's correction for all comparisons of one measure. Arms that are not distinguished may still differ.",
    ]


def _extent(result: Mapping[str, Any]) -> str:
    """Repetitions, or seeds, images, last map and budget, without the numbers that every arm sets itself."""
    numbers = sorted({row["seed"] for arm in result["arms"] for row in arm["seeds"]})
    if result["kind"] == "resources":
        return f"repetitions: {len(numbers)}"
    seeds = f"{numbers[0]}{f' to {numbers[-1]}' * (len(numbers) > 1)}" if numbers else "none"
    own = {key for key in result["budget"] if all(arm.get(key) or key in arm["changes"] for arm in result["arms"])}
    maps = _common_map(result)
    return "; ".join(part for part in (f"seeds: {seeds}", maps, f"budget: {_size(result['budget'], own)}") if part)


def _size(budget: Mapping[str, Any], own: Collection[str]) -> str:
    """A budget without its seeds and the numbers that every arm sets itself."""

    def images(key: str, kind: str) -> str:
        return f"{budget[key]:,} {kind} images" if budget[key] else f"all {kind} images"

    parts = [] if "images" in own else [images("images", "training")]
    parts += [images("test_images", "test")]
    parts += [f"{budget['epochs']} epoch{'s' * (budget['epochs'] > 1)}"] if "epochs" not in own else []
    parts += [f"{budget['image_size']} pixels"]
    parts += [f"batches of {budget['batch_size']}"] if budget["batch_size"] and "batch_size" not in own else []
    return ", ".join(parts)
