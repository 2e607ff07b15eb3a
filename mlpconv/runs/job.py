"""A job: a training run as data, with everything resolved. It is what a run directory stores as config.json."""

from typing import Annotated, Any

import msgspec

from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Precision
from mlpconv.runs.files import MAX_NAME, Natural, Share
from mlpconv.training.recipe import Recipe

FORMAT = 1
CONFIG = "config.json"


class DataInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The data that a run is trained on."""

    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
    """A known data set, the path of a folder or CSV file, or the name of images that a program supplied."""
    class_names: tuple[Annotated[str, msgspec.Meta(max_length=MAX_NAME)], ...]
    train: Natural
    """Number of training images, without the validation images."""
    test: Natural
    """Number of test images."""
    fingerprint: str
    """SHA-256 of the training set. It includes the validation images that were held out of it."""
    background: Share
    """Mean of the images' outermost pixels, 0 to 1; `predict` uses it to notice an inverted photo."""
    validation: Natural = 0
    """Number of validation images."""


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A training run, fully resolved: nothing in it depends on a default that may change.

    ``mlpconv train --dry-run`` prints it, a run directory stores it, ``--from`` and ``--resume`` read it, and a resume
    compares two of them. It holds no images: ``data`` identifies them.
    """

    recipe_name: str
    recipe: Recipe
    network: dict[str, Any]
    """The network as ``Network.to_dict`` returns it."""
    preprocess: Preprocess
    data: DataInfo
    backend: str
    device: str
    precision: Precision
    deterministic: bool = False
    resumed_with: tuple[str, ...] = ()
    """Changes made by resumes, one line each, with the position; the other fields hold the values after them."""
    start: str | None = None
    """The run or file whose weights, all of them, the run starts from; None if it initializes its own."""
    format: int = FORMAT

    def make_network(self) -> Network:
        """The network of the job."""
        return Network.from_dict(self.network, CONFIG)

    def to_dict(self) -> dict[str, Any]:
        """All of the job as plain values, defaults included."""
        return _plain(self)

    def to_json(self) -> bytes:
        """The job as the text of config.json, from which ``msgspec.json.decode(text, type=Job)`` makes it again."""
        return msgspec.json.format(msgspec.json.encode(self.to_dict()), indent=1) + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    return msgspec.to_builtins(value)
