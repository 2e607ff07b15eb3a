"""Trainings end with the recorded weights.

In PyTorch, the recipes `quick`, `study`, `fast`, `d2l` and `own`, and trainings from the recorded runs; in another
framework, if it is installed, `study`. Bit for bit if the arithmetic (processor, limits on it, versions) was recorded,
else within a tolerance: see ``FACTOR`` in golden_recorded.py.
"""

from importlib.util import find_spec

import golden_cases as cases
import golden_recorded as recorded
import pytest

from mlpconv.backends.registry import BACKENDS

TRAINING = recorded.read(recorded.TRAINING)
AGAIN = "if this change is intended: python tests/golden/record.py training:{0}, or framework in its environment"


def compare(case, backend, directory):
    """Execute a case and compare the result of each of its runs."""
    key = recorded.arithmetic(backend)
    known = {run: TRAINING[f"{backend}/{case}/{run}"] for run in cases.RUNS[case]}
    ran = recorded.carry_out(case, directory, backend)
    refused = "bfloat16" in case and ran.stderr.startswith("error: ") and "bfloat16" in ran.stderr
    # Arithmetic that was recorded on this processor is supported by it.
    if refused and not any(key in each["exact"] for each in known.values()):
        pytest.skip(ran.stderr.strip())
    assert ran.returncode == 0, ran.stderr
    wrong = [recorded.differences(run, recorded.outcome(directory / run), each, key) for run, each in known.items()]
    assert not any(wrong), "\n".join([*filter(None, wrong), AGAIN.format(case)])


@pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed")
@pytest.mark.parametrize("case", cases.CASES)
def test_weights_after_training_in_pytorch_are_unchanged(case, tmp_path):
    if "going-on" in case and not find_spec("sklearn"):
        pytest.skip("scikit-learn, which has the data set, is not installed")
    compare(case, "torch", tmp_path)


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "torch"])
def test_in_another_framework(backend, tmp_path):
    if backend not in recorded.LIMITS:
        pytest.skip(f"no training of {backend} is recorded")
    if not find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    compare("study", backend, tmp_path)
