"""Functions that the recorder and the tests of this folder share.

They use only the command line and the names in ``mlpconv.__all__``, and nothing from the other tests, so that
everything else can be moved and renamed.
"""

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

HERE = Path(__file__).parent
NETWORKS, OUTPUTS, TRAINING = (HERE / f"{name}.json" for name in ("networks", "outputs", "training"))
READINGS, RUNS = HERE / "readings.json", HERE / "runs"

ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    **dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"),
    "TF_CPP_MIN_LOG_LEVEL": "2", "MLPCONV_ALLOCATOR": "system",
}  # fmt: skip
XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

LIMITS = {
    "torch": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "tensorflow": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "jax": {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"},
    "mxnet": {"DNNL_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"},
}
"""Variables that make a framework compute as on a processor with AVX2 only. In JAX that is the same to the bit, so it
is limited further."""

LIMITS_IN_BFLOAT16 = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx2"}
"""The same for PyTorch in bfloat16, which there is not with AVX2 only: products are rounded elsewhere."""

PACKAGES = {
    "torch": ("torch", "numpy"),
    "tensorflow": ("tensorflow-cpu", "tensorflow", "keras", "numpy"),
    "jax": ("jaxlib", "keras", "numpy"),
    "mxnet": ("mxnet", "numpy"),
}
"""The packages on which rounding and initial weights depend."""

FACTOR, LEAST = 10, 1e-5
"""The tolerance for weights with other arithmetic: this factor times the effect of the limits above on the recording
machine. After 5 steps that is less than the effect of a label smoothing of 0.06 instead of 0.05 in `study` and `fast`.
After 50 steps, rounding errors are so large that only the loss of the first steps and the median tensor are
informative."""


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def command(directory: Path, *arguments: object) -> str:
    """The output of ``mlpconv ARGUMENTS``, called in this process and in ``directory``."""
    from mlpconv.__main__ import main

    words = ["mlpconv", *map(str, arguments)]
    hidden = ("MLPCONV_DATA", "MLPCONV_CACHE", "MLPCONV_LOG", "COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    # The allocator is that of the whole process, in which other tests run.
    kept |= {"XDG_CACHE_HOME": str(directory / "cache"), "MLPCONV_ALLOCATOR": "system"}
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, kept, clear=True), mock.patch.object(sys, "argv", words),
        contextlib.chdir(directory), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
    ):  # fmt: skip
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    if code:
        raise RuntimeError(f"{' '.join(words)} ended with {code}: {err.getvalue()}")
    return out.getvalue()


def network(name: str) -> dict[str, Any]:
    """The digests and costs of a registered network."""
    import mlpconv

    found = mlpconv.create_model(name)
    costs = mlpconv.count(found)
    return {
        "sha256": hashlib.sha256(found.to_json().encode()).hexdigest(), "digest": found.digest,
        "parameters": costs.parameters, "macs": costs.macs, "input_shape": list(costs.input_shape),
    }  # fmt: skip


def frameworks() -> list[str]:
    """The back ends of this environment except PyTorch."""
    return [name for name in LIMITS if name != "torch" and importlib.util.find_spec(name)]


def processor() -> str:
    """The processor and its widest instruction set, on which rounding depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = said.get("flags", "").split()
    widest = next((flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in flags), "no avx2")
    name = said.get("model name", platform.machine())
    return f"{name}, family {said.get('cpu family')}, model {said.get('model')}, {widest}"


def arithmetic(backend: str, environment: Mapping[str, str] = os.environ) -> str:
    """Everything on which the bits of a result depend: processor, limits on it, versions, threads."""
    versions = []
    for package in PACKAGES[backend]:
        with contextlib.suppress(PackageNotFoundError):
            versions.append(f"{package.removesuffix('-cpu')} {version(package)}")
    # XLA calls oneDNN, so that its limit counts for every back end.
    names = dict.fromkeys([*LIMITS[backend], "ONEDNN_MAX_CPU_ISA"])
    limits = [f"{name}={environment[name]}" for name in names if environment.get(name)] or ["no limits"]
    return "; ".join((processor(), *limits, *versions, "1 thread"))


def carry_out(
    case: str, directory: Path, backend: str, environment: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    """Train a case of golden_cases.py in a separate process with one thread."""
    flags = f"{environment.get('XLA_FLAGS', '')} {XLA_ONE_THREAD}".strip()
    told = {**environment, **ONE_THREAD, "XLA_FLAGS": flags, "KERAS_BACKEND": backend}
    words = [sys.executable, str(HERE / "golden_cases.py"), case, str(directory), backend]
    return subprocess.run(words, env=told, capture_output=True, text=True)


def outcome(run: Path) -> dict[str, Any]:
    """The result of a run: a digest of the canonical weights, a sample of each, and its history without times."""
    from safetensors.numpy import load_file

    weights = load_file(run / "weights.safetensors")
    whole, sample = hashlib.sha256(), {}
    for name in sorted(weights):
        whole.update(name.encode() + weights[name].astype("<f4").tobytes())
        values = weights[name].astype(np.float64).ravel()
        few = values[[place * (values.size - 1) // 7 for place in range(8)]]
        sample[name] = [float(f"{value:.9g}") for value in (values.mean(), values.std(), *few)]
    kept = (
        "epoch",
        "loss",
        "train_accuracy",
        "test_loss",
        "test_accuracy",
        "validation_loss",
        "learning_rate",
        "curve",
    )
    lines = (run / "history.jsonl").read_text(encoding="utf-8").splitlines()
    history = [{key: line[key] for key in (*kept, "curve") if key in line} for line in map(json.loads, lines)]
    return {"sha256": whole.hexdigest(), "history": history, "sample": sample}


def distance(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """The distances between two outcomes.

    early: relative distance of the training loss at the first point of the curve. weights: distance of a tensor's
    sample in its standard deviations; the median and the largest of all tensors.
    """
    assert one["sample"].keys() == other["sample"].keys(), "the tensors have other names"
    off = []
    for name, values in one["sample"].items():
        scale = max(values[1], 1e-3)
        off.append(max(abs(a - b) for a, b in zip(values, other["sample"][name], strict=True)) / scale)
    first, second = (each["history"][0]["curve"][0][1] for each in (one, other))
    return {"early": abs(first - second) / first, "weights": float(np.median(off)), "worst": max(off)}


def differences(label: str, found: dict[str, Any], known: dict[str, Any], key: str) -> str:
    """What differs from the record, empty where nothing does: bit for bit where its arithmetic is recorded, else by
    the tolerance."""
    off = distance(known, found)
    if key in known["exact"]:
        same = {"sha256": found["sha256"], "history": found["history"]}
        if same == known["exact"][key]:
            return ""
        what = "weights" if found["sha256"] != known["exact"][key]["sha256"] else "history"
        return f"{label}: the {what} differ from the record of {key}; {off} from the sample"
    wrong = {name: value for name, value in off.items() if value > FACTOR * max(known["measured"][name], LEAST)}
    return f"{label}: {wrong}, more than {FACTOR} times {known['measured']}; {key} is not recorded" if wrong else ""
