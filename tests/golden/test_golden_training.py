"""Trainings end with the weights that they ended with.

In PyTorch the recipes `quick`, `fast`, `d2l` and `own`, and what goes on from the recorded runs; in another framework
`quick`, where that framework is installed. Bit for bit where the arithmetic (processor, limits on it, versions) is one
that was recorded, else within a tolerance: see ``FACTOR`` in golden_recorded.py.
"""

from importlib.util import find_spec

import golden_cases as cases
import golden_recorded as recorded
import pytest

TRAINING = recorded.read(recorded.TRAINING)
AGAIN = "where this is meant: python tests/golden/record.py training:{0}, or framework in the environment of another"


def compare(case, backend, directory):
    """Carry a case out and compare what each of its runs came to."""
    key = recorded.arithmetic(backend)
    known = {run: TRAINING[f"{backend}/{case}/{run}"] for run in cases.RUNS[case]}
    ran = recorded.carry_out(case, directory, backend)
    refused = "bfloat16" in case and ran.stderr.startswith("error: ") and "bfloat16" in ran.stderr
    # What was recorded here can be computed here.
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


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "mxnet"])
def test_in_another_framework(backend, tmp_path):
    if not find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    compare("quick", backend, tmp_path)
