"""The start weights that come with the package: see ``tools/start_weights.py`` and the JSON file next to each."""

from pathlib import Path

_START = Path(__file__).parent / "start"


def shipped_weights(name: str) -> Path | None:
    """The classifier file, in float16, with the start weights of a registered network; None if there are none.

    A run or file of that name counts more.

    Args:
        name: The name of the network, such as "nin_photo".
    """
    path = _START / f"{name}.safetensors"
    return path if name.isidentifier() and path.is_file() and not Path(name).exists() else None
