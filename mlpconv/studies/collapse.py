"""Why the chapter's network collapses: its recipe as it is, and with each remedy."""

from typing import Any

from mlpconv.data import Splits
from mlpconv.runs.run import Run
from mlpconv.studies.runner import Arm

QUESTION = "How often does the chapter's recipe lose classes, and what helps?"
ABOUT = (
    "A class is dead when its map is at most 0 at 99.9 % of positions or more. First attempts are what the guard met "
    "before it did anything; without it nothing is repaired, and both are the same."
)
ARMS = (
    Arm("as-it-is", {"on_trouble": "ignore"}, "SGD 0.1, Xavier start, as the chapter"),
    Arm("guard", {"on_trouble": "repair"}, "the same, the guard repairs"),
    Arm("open-start", {"on_trouble": "ignore", "initializer": "open"}, "He start, the last block near the identity"),
    Arm("lower-rate", {"on_trouble": "ignore", "learning_rate": 0.05}, "SGD 0.05, as the edition of 2023"),
    Arm(
        "warm-up",
        {"on_trouble": "ignore", "schedule": "one-cycle"},
        "the rate rises over a quarter of the steps, then falls",
    ),
)
PAIRS = tuple((arm.name, ARMS[0].name) for arm in ARMS[1:])
ONLY_SHOWN = ("first_dead_classes", "repairs")
COLUMNS = {
    "dead_classes": "dead classes in the end",
    "first_dead_classes": "in the first attempt",
    "repairs": "repairs",
}


def first_attempt(run: Run, data: Splits) -> dict[str, Any]:
    """How many classes were dead before anything was repaired."""
    met = [event for line in run.history for event in line.get("repairs", ())]
    dead = run.history[-1].get("dead_classes")
    repaired = [event for event in met if event["action"] not in ("went on", "ignored")]
    first = next((len(event["classes"]) for event in repaired if event["trouble"] == "dead-class"), None)
    return {"first_dead_classes": first if first is not None else None if dead is None else len(dead)}
