"""What is exported: a run or a classifier file, and images to compare the export with it."""

from pathlib import Path
from typing import NamedTuple

from mlpconv.backends.base import Images
from mlpconv.errors import RunError
from mlpconv.explain import stored_class_maps
from mlpconv.explain.stored_class_maps import StoredClassMaps
from mlpconv.export.rounding import synthetic_images
from mlpconv.inference import onnx_model
from mlpconv.inference.classifier import is_file
from mlpconv.runs.classifier_file import StoredClassifier, read_classifier
from mlpconv.runs.run import Run


class Source(NamedTuple):
    """A run or a classifier file."""

    stored: StoredClassifier
    run: Run | None
    """The run; None for a classifier file."""
    test_images: StoredClassMaps | None
    """The test images that are stored with the run."""

    @property
    def images(self) -> Images:
        """Images to compare on: test images of the run, or else synthetic ones; uint8 (N, H, W, C)."""
        return self.test_images.maps.images if self.test_images else synthetic_images(self.stored.preprocess)

    @property
    def finished(self) -> bool:
        """Whether the run is finished; True for a classifier file."""
        return self.run is None or self.run.result is not None


def open_source(source: str | Path) -> Source:
    """Read a run or classifier.

    Args:
        source: A run directory, "latest", or a classifier's ``.safetensors`` file.

    Raises:
        RunError: There is no such run or classifier, or it is damaged.
        WeightsError: The weights do not fit the network.
    """
    if Path(source).suffix == onnx_model.SUFFIX and is_file(source):
        raise RunError(f"{source}: already an ONNX file; give the run or the .safetensors file that it was made from")
    run = None if is_file(source) else Run(source)
    stored = run.stored() if run else read_classifier(Path(source))
    return Source(stored, run, stored_class_maps.load(run.path, stored.class_names) if run else None)
