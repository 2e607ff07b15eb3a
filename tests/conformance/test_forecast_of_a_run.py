"""The forecast of a run's time on each back end: slow, since it needs a machine that does nothing else.

Run it with ``make -j1 test-frameworks ARGS="-m slow -k test_a_whole_run"``.
"""

import pytest

from mlpconv import hardware
from mlpconv.bench.contest import run_contender
from mlpconv.bench.forecast import MODULE
from mlpconv.bench.forecast_case import Job

FACTOR = 1.5


@pytest.mark.slow
@pytest.mark.parametrize(("network", "images"), [("lenet", 20_000), ("nin_28", 2560)])
def test_a_whole_run_in_a_new_process_takes_what_was_forecast(backend_name, network, images):
    job = Job(
        what="time",
        network=network,
        batch_sizes=(128,),
        threads=hardware.cpu_count(),
        images=images,
        test_images=512,
        backend=backend_name,
    )
    (case,) = run_contender(MODULE, job, name=f"{network} on {backend_name}")["cases"]
    seconds = case["seconds"]
    assert seconds["measured"] / FACTOR < seconds["predicted"] < seconds["measured"] * FACTOR, case
