"""Trainings end with the weights that they ended with.

In PyTorch the recipes `quick`, `fast`, `d2l` and `own`, and what goes on from the recorded runs; in another framework
`quick`, where that framework is installed. Bit for bit where the arithmetic (processor, limits on it, versions) is one
that was recorded, else within a tolerance: see ``FACTOR`` in recorded.py.
"""

from importlib.util import find_spec

import cases
import pytest
import recorded

TRAINING = recorded.read(recorded.TRAINING)
AGAIN = "where this is meant: python tests/golden/record.py"


def compare(case, backend, directory):
    """Carry a case out and compare what each of its runs came to."""
    ran = recorded.carry_out(case, directory, backend)
    if "bfloat16" in case and "error:" in ran.stderr and "has no convolutions in bfloat16" in ran.stderr:
        pytest.skip(ran.stderr.strip())
    assert ran.returncode == 0, ran.stderr
    key = recorded.arithmetic(backend)
    wrong = []
    for run in cases.RUNS[case]:
        label = f"{backend}/{case}/{run}"
        wrong.append(recorded.differences(label, recorded.outcome(directory / run), TRAINING[label], key))
    assert wrong, "nothing was compared"
    assert not any(wrong), "\n".join([*filter(None, wrong), AGAIN])


@pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed")
@pytest.mark.parametrize("case", cases.CASES)
def test_in_pytorch(case, tmp_path):
    if "going-on" in case and not find_spec("sklearn"):
        pytest.skip("scikit-learn, which has the data set, is not installed")
    compare(case, "torch", tmp_path)


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "mxnet"])
def test_in_another_framework(backend, tmp_path):
    if not find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    compare("quick", backend, tmp_path)
