"""A classifier for other frameworks: a program of ``torch.export``, or weights as ``mlpconv convert`` writes them."""

from pathlib import Path
from typing import Literal, NamedTuple

from mlpconv.backends.registry import get_backend
from mlpconv.convert import write_weights
from mlpconv.errors import MlpconvError
from mlpconv.export.rounding import Comparison, compare_logits
from mlpconv.export.source import open_source
from mlpconv.runs.classifier_file import metadata

MAX_DIFFERENCE = 1e-4
"""The largest difference of a probability from the original's that is accepted."""
SUFFIXES = {"keras": ".keras", "mxnet": ".params"}
"""The suffixes of the files of weights."""


class ProgramExport(NamedTuple):
    """A program of ``torch.export``."""

    source: Path
    """The run directory or classifier file."""
    content: bytes
    """The content of the ``.pt2`` file."""
    comparison: Comparison
    """The probabilities that it computes, next to those of the original."""
    real_images: bool
    """Whether test images of the run were compared; else synthetic ones."""
    finished: bool
    """Whether the run is finished; True for a classifier file."""


def export_torch(source: str | Path) -> ProgramExport:
    """Make the ``torch.export`` program of a run or classifier, with its preprocessing, and check what it computes.

    The program takes uint8 images (N, H, W, C) of the size of the training images, and returns logits (N, classes). The
    file also contains the texts of ``classifier_file.metadata``.

    Raises:
        RunError: There is no such run or classifier, or it is damaged.
        WeightsError: The weights do not fit the network.
        MlpconvError: The program computes something else.
        MissingDependency: PyTorch is not installed.
    """
    opened = open_source(source)
    stored = opened.stored
    get_backend("torch")  # an error if it is not installed
    from mlpconv.backends.pytorch.program import export_program

    texts = metadata(stored.network, stored.preprocess, stored.class_names, background=stored.background)
    program = export_program(stored.network, stored.preprocess, stored.weights, texts)
    comparison = compare_logits(stored, program.logits, opened.images)
    if not comparison.difference <= MAX_DIFFERENCE:
        raise MlpconvError(
            f"{stored.path}: a probability that the exported program computes differs by {comparison.difference:.2g}, "
            f"and {MAX_DIFFERENCE} is accepted; nothing is written"
        )
    return ProgramExport(stored.path, program.content, comparison, opened.test_images is not None, opened.finished)


def export_weights(source: str | Path, to: Literal["keras", "mxnet"], out: Path) -> bool:
    """Write the weights of a run or classifier for Keras or Gluon, as ``mlpconv convert`` does.

    Args:
        source: A run directory, "latest", or a classifier's ``.safetensors`` file.
        to: The framework.
        out: The file, with the framework's suffix.

    Returns:
        Whether the run is finished; True for a classifier file.

    Raises:
        RunError: There is no such run or classifier, or it is damaged.
        WeightsError: The weights do not fit the network, or the name of the file has another suffix.
        MissingDependency: The framework is not installed.
        OSError: The file cannot be written.
    """
    opened = open_source(source)
    if not out.name.endswith(SUFFIXES[to]):
        raise MlpconvError(f"--out {out}: expected a name that ends in {SUFFIXES[to]}")
    write_weights(out, opened.stored.network, opened.stored.weights)
    return opened.finished
