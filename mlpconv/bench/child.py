"""The process of a contender: ``python -m mlpconv.bench.child MODULE RESULT JOB`` writes the file RESULT."""

import importlib
import json
import sys
from pathlib import Path

import msgspec

from mlpconv import hardware
from mlpconv.bench.contest import Job


def main(module: str, result: str, job: str) -> None:
    """Measure, and add ``peak_bytes``, the peak resident memory of this process."""
    contender = importlib.import_module(module)
    measured = contender.measure(msgspec.json.decode(job, type=getattr(contender, "Job", Job)))
    Path(result).write_text(json.dumps(measured | {"peak_bytes": hardware.peak_resident_bytes()}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
