"""The result of an earlier call of a study: what need not be trained again, and what must not be overwritten."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlpconv.errors import MlpconvError

Rows = dict[tuple[str, int], dict[str, Any]]
"""What was measured, by arm and seed."""


class _Seed(msgspec.Struct):
    seed: int


class _Arm(msgspec.Struct):
    name: str
    seeds: list[_Seed]
    settings: str = ""


class _Result(msgspec.Struct):
    arms: list[_Arm]


def read(path: Path) -> dict[str, Any] | None:
    """The result in a file; None if there is no file.

    Raises:
        MlpconvError: The file is not the result of a study.
    """
    try:
        text = path.read_bytes()
        msgspec.json.decode(text, type=_Result)
        return msgspec.json.decode(text)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise MlpconvError(
            f"{path}: not the result of a study, so this one cannot be continued from it: {error}; move it away, or "
            "choose another --out"
        ) from None


def known(previous: Mapping[str, Any] | None, settings: Mapping[str, str]) -> Rows:
    """What an earlier result has of the runs of a study.

    Args:
        previous: The earlier result.
        settings: The digest of each arm's settings, by its name. What was measured with others does not count.
    """
    return {
        (arm["name"], row["seed"]): row
        for arm in (previous or {}).get("arms", ())
        if arm.get("settings") and settings.get(arm["name"]) == arm["settings"]
        for row in arm["seeds"]
    }


def supersedes(result: Mapping[str, Any], previous: Mapping[str, Any] | None) -> bool:
    """Whether a result may take the place of an earlier one: no run of the same settings is lost, and an incomplete
    result does not replace runs of other settings."""
    kept, lost = _runs(result), _runs(previous or {"arms": []}) - _runs(result)
    if result["complete"]:
        return {arm[:2] for arm in kept}.isdisjoint(arm[:2] for arm in lost)
    return bool(kept) and not lost


def _runs(result: Mapping[str, Any]) -> set[tuple[str, str, int]]:
    return {(arm["name"], arm.get("settings", ""), row["seed"]) for arm in result["arms"] for row in arm["seeds"]}
