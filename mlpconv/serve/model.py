"""A classifier that ONNX Runtime computes: from image files or arrays to probabilities."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlpconv.backends.base import Floats, Images
from mlpconv.data.folders.workers import read_images
from mlpconv.errors import DataError, WeightsError
from mlpconv.inference.classifier import is_file
from mlpconv.inference.onnx_model import INPUT, LOGITS, SUFFIX, OnnxModel, open_onnx
from mlpconv.inference.predictions import Unreadable
from mlpconv.runs.classifier_file import read_classifier
from mlpconv.runs.run import Run


class Upload(NamedTuple):
    """An image file that a client sent."""

    name: str
    content: bytes


class ServedModel:
    """A classifier in ONNX Runtime.

    Args:
        source: A run directory, "latest", a classifier's ``.safetensors`` file, or an ``.onnx`` file of mlpconv.
        max_pixels: The most pixels that an image file may have; by default as in training.

    Raises:
        RunError: There is no such run or classifier, or it is damaged.
        WeightsError: The outputs of the network are not finite.
        MissingDependency: onnx or onnxruntime is not installed.
    """

    def __init__(self, source: str | Path, *, max_pixels: int | None = None) -> None:
        if is_file(source) and Path(source).suffix == SUFFIX:
            self._model = open_onnx(Path(source), engine="onnxruntime", device="cpu")
            self.stored = self._model.stored
        else:
            from mlpconv.export.onnx_file import onnx_model

            self.stored = read_classifier(Path(source)) if is_file(source) else Run(source).stored()
            self._model = OnnxModel(onnx_model(self.stored).SerializeToString(), self.stored.path, "cpu")
        self.path = self.stored.path
        self.name = self.path.stem if self.path.is_file() else self.path.resolve().name
        """The name of the run directory or file, by which clients choose a model."""
        self.class_names = self.stored.class_names
        self.outputs = self._model.outputs
        """The shape of each output, with -1 for a size that depends on the images."""
        preprocess = self.stored.preprocess
        height, width = preprocess.image_size
        self.preprocess = msgspec.structs.replace(
            preprocess, source_size=(height, width), max_pixels=max_pixels or preprocess.max_pixels
        )
        """How image files are read: all are resized to one size."""
        self.compute(np.zeros((1, height, width, preprocess.channels), np.uint8), [])

    def compute(self, images: Images, outputs: Sequence[str]) -> dict[str, Floats]:
        """The logits, and other outputs, of images, uint8 (N, H, W, C): float32 (N, …) by name.

        Raises:
            WeightsError: The logits are not finite.
        """
        values = self._model.compute(list(dict.fromkeys([LOGITS, *outputs])), images)
        if not np.isfinite(values[LOGITS]).all():
            raise WeightsError(f"{self.path}: the network's outputs are not finite; the weights are damaged")
        return values

    def read(self, uploads: Sequence[Upload]) -> list[np.ndarray | Unreadable]:
        """Decode image files in another process, within limits of time and memory: uint8 (H, W, C), or why not."""
        with tempfile.TemporaryDirectory(prefix="mlpconv-") as directory:
            paths = [Path(directory, str(number)) for number in range(len(uploads))]
            for path, upload in zip(paths, uploads, strict=True):
                path.write_bytes(upload.content)
            images = read_images(paths, self.preprocess)
        return [
            Unreadable(upload.name, str(image).removeprefix(f"{path}: ")) if isinstance(image, DataError) else image
            for upload, path, image in zip(uploads, paths, images, strict=True)
        ]

    def metadata(self) -> Mapping[str, Any]:
        """What the Open Inference Protocol tells about a model; the class names are an addition."""
        return {
            "name": self.name,
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, -1, -1, -1]}],
            "outputs": [{"name": name, "datatype": "FP32", "shape": shape} for name, shape in self.outputs.items()],
            "parameters": {"class_names": self.class_names},
        }
