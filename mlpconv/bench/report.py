"""A result of `mlpconv bench train` for people."""

from typing import Any

from mlpconv.bench import train
from mlpconv.formatting import markdown_table
from mlpconv.reports.provenance import provenance_list

Row = tuple[str, str, str, str]
TITLES: Row = ("contender", "images/s", "× d2l", "min–max")
MARKS = {True: "pass", False: "FAIL", None: "none"}


def rows(result: dict[str, Any]) -> list[Row]:
    """The cells of each contender, in the order of ``TITLES``."""
    names = {
        "ours": f"mlpconv, {result['ours_precision']}",
        "ours_float32": "mlpconv, float32",
        "d2l": "d2l: the chapter in PyTorch",
        "keras": "keras: the chapter in TensorFlow",
    }
    return [_row(result, name, title) for name, title in names.items()]


def _row(result: dict[str, Any], name: str, title: str) -> Row:
    if result[name] is None:
        return title, "–", "–", "–"
    all_rounds = result["rounds"][name]
    against = result["ratios"][f"{name}_to_d2l"] if name in train.OURS else result[name] / result["d2l"]
    return title, f"{result[name]:.1f}", f"{against:.2f}", f"{min(all_rounds):.1f}–{max(all_rounds):.1f}"


def facts(result: dict[str, Any]) -> list[str]:
    """The other measurements, with a sentence on each line."""
    data, kind = result["data"], result["ours_precision"]
    peaks = {name: result[f"peak_{name}_tflops"] for name in ("bfloat16", "float32")}
    side = result["settings"]["peak_size"]
    measured = ", ".join(f"{value:.3f} in {name}" for name, value in peaks.items() if value is not None)
    executed, nominal = (result["flops_per_image"][what] / 1e9 for what in ("executed", "nominal"))
    lines = [f"{name}: {reason}" for name, reason in result["missing"].items()]
    lines += [
        f"matrix peak, {side}³: {measured} TFLOP/s",
        f"mlpconv, {kind}, uses {result['share_of_peak']:.1%} of it by the {executed:.3f} GFLOP an image that it "
        f"executes, {result['share_of_peak_nominal']:.1%} by the nominal {nominal:.3f}",
    ]
    if data["load_seconds"] is None:
        lines.append("data: generated noise of Fashion-MNIST's shape; Fashion-MNIST is not on this machine")
    else:
        growth = (
            f", {data['load_peak_bytes'] / 2**20:.0f} MiB at the peak" if data["load_peak_bytes"] is not None else ""
        )
        lines.append(f"data: Fashion-MNIST, loaded and verified in {data['load_seconds']:.2f} s{growth}")
    memory = {name: value for name, value in result["peak_memory_bytes"].items() if value is not None}
    if memory:
        used = ", ".join(f"{name} {value / 2**30:.2f}" for name, value in memory.items())
        lines.append(f"resident memory at the peak, GiB: {used} (d2l's four workers not counted)")
    return lines


def gates(result: dict[str, Any]) -> list[str]:
    """A line for each gate, with pass or FAIL."""
    return [_gate(gate) for gate in result["gates"]]


def _gate(gate: dict[str, Any]) -> str:
    value, bound, sign = gate["value"], gate["bound"], "<" if gate["below"] else "≥"
    if gate["below"]:
        shown, limit = "–" if value is None else f"{value:.3%}", f"{bound:.0%}"
    else:
        shown, limit = "–" if value is None else f"{value:.2f}", f"{bound:g}"
    return f"{MARKS[gate['passed']]}  {gate['name']}: {shown} ({sign} {limit})"


def setting(result: dict[str, Any]) -> str:
    """The setting, in one sentence."""
    has = result["settings"]
    side, device, threads = has["image_size"], has["device"], has["threads"]
    return (
        f"the chapter's network, 1×{side}×{side}, batch {has['batch_size']}, {device}, threads: {threads}; rounds: "
        f"{has['rounds']} (numbers are medians), each {has['warmup']} + {has['steps']} steps, the first not timed"
    )


def markdown(result: dict[str, Any]) -> str:
    """The whole result as a page."""
    return "\n".join(
        [
            "# Training speed",
            "",
            f"Images a second of training {setting(result)}.",
            "",
            *markdown_table(TITLES, rows(result)),
            "",
            *(f"- {line}" for line in facts(result)),
            "",
            "Gates:",
            "",
            *(f"- {line}" for line in gates(result)),
            "",
            *provenance_list(result),
            "",
        ]
    )
