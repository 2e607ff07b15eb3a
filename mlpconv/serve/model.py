"""A classifier that ONNX Runtime computes: from image files or arrays to probabilities."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Floats, Images
from mlpconv.data.folders.workers import read_images
from mlpconv.data.image import looks_inverted
from mlpconv.errors import DataError, MissingDependency, RunError, WeightsError
from mlpconv.inference.classifier import Guess, Prediction, is_file
from mlpconv.inference.predictions import Unreadable
from mlpconv.runs.classifier_file import SUFFIX, StoredClassifier, read_classifier
from mlpconv.runs.run import Run

ONNX_SUFFIX = ".onnx"
MAX_BATCH = 64
"""The most images that are computed at once."""
_BATCH_PIXELS = 1 << 24
"""The most pixels that are computed at once, unless a single image has more."""
_INPUT = ("images", "tensor(uint8)", 4)
_OUTPUTS = ("logits", "probabilities", "class_maps")


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

    name: str
    """The name of the run directory or file, which clients use."""
    stored: StoredClassifier | None
    """The classifier; None for an ONNX file."""
    preprocess: Preprocess
    """How image files are read: all are resized to one size."""
    class_names: tuple[str, ...]
    outputs: dict[str, list[int]]
    """The shape of each output, with -1 for a size that depends on the images."""

    def __init__(self, source: str | Path, *, max_pixels: int | None = None) -> None:
        path = Path(source)
        self.stored = None if path.suffix == ONNX_SUFFIX else _stored(source)
        self.path = self.stored.path if self.stored else path
        self.name = (self.path.stem if self.path.is_file() else self.path.resolve().name) or "model"
        self._session = _session(self.path, self.stored)
        values = self._session.get_modelmeta().custom_metadata_map
        try:
            preprocess = msgspec.json.decode(values["mlpconv.preprocess"], type=Preprocess)
            self.class_names = msgspec.json.decode(values["mlpconv.class_names"], type=tuple[str, ...])
            background = values.get("mlpconv.background")
            self._background = None if background is None else float(background)
            tensor = self._session.get_inputs()[0]
            if (tensor.name, tensor.type, len(tensor.shape)) != _INPUT:
                raise ValueError(f"its input is {tensor.name} {tensor.type} {tensor.shape}")
        except (KeyError, ValueError, msgspec.MsgspecError) as error:
            raise RunError(
                f"{self.path}: not an ONNX file of mlpconv ({error}); write one with mlpconv export RUN --to onnx"
            ) from None
        side = (preprocess.size, preprocess.size)
        self.preprocess = msgspec.structs.replace(
            preprocess,
            source_size=preprocess.source_size or side,
            max_pixels=max_pixels or preprocess.max_pixels,
        )
        self.outputs = {
            output.name: [size if isinstance(size, int) else -1 for size in output.shape]
            for output in self._session.get_outputs()
            if output.name in _OUTPUTS
        }
        height, width = self.preprocess.source_size or side
        self.compute(np.zeros((1, height, width, preprocess.channels), np.uint8), ["logits"])

    def compute(self, images: Images, outputs: Sequence[str]) -> dict[str, Floats]:
        """Compute outputs of images, uint8 (N, H, W, C): float32 (N, …) by name.

        Raises:
            WeightsError: The logits are not finite.
        """
        step = max(1, min(MAX_BATCH, _BATCH_PIXELS // (images.shape[1] * images.shape[2])))
        wanted = list(dict.fromkeys(["logits", *outputs]))
        parts = [
            self._session.run(wanted, {_INPUT[0]: images[start : start + step]})
            for start in range(0, len(images), step)
        ]
        result = {name: np.concatenate(values) for name, *values in zip(wanted, *parts, strict=True)}
        if not np.isfinite(result["logits"]).all():
            raise WeightsError(f"{self.path}: the network's outputs are not finite; the weights are damaged")
        return result

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

    def prediction(self, name: str, image: np.ndarray, probabilities: Floats, top: int) -> Prediction:
        """The most probable classes of an image file: its pixels, uint8 (H, W, C), and probabilities, (classes,)."""
        order = np.argsort(-probabilities, kind="stable")[:top]
        return Prediction(
            name,
            [Guess(self.class_names[label], float(probabilities[label])) for label in order],
            self._background is not None and looks_inverted(image, self._background),
        )

    def metadata(self) -> Mapping[str, Any]:
        """What the Open Inference Protocol tells about a model; the class names are an addition."""
        return {
            "name": self.name,
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": _INPUT[0], "datatype": "UINT8", "shape": [-1, -1, -1, -1]}],
            "outputs": [{"name": name, "datatype": "FP32", "shape": shape} for name, shape in self.outputs.items()],
            "parameters": {"class_names": self.class_names},
        }


def _stored(source: str | Path) -> StoredClassifier:
    if is_file(source) or Path(source).suffix == SUFFIX:
        return read_classifier(Path(source))
    return Run(source).stored()


def _session(path: Path, stored: StoredClassifier | None) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise MissingDependency(
            "serve: the package 'onnxruntime' is not installed; pip install \"mlpconv[serve]\""
        ) from None
    content = _onnx_bytes(stored) if stored else _read(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # It keeps a plan for each shape that it has seen, and clients choose the shapes.
    options.enable_mem_pattern = False
    # Threads that wait for work would take the cores from those that receive requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # those of ONNX Runtime have no other class in common
        raise RunError(f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from None


def _onnx_bytes(stored: StoredClassifier) -> bytes:
    from mlpconv.export.onnx_file import onnx_model

    return onnx_model(stored).SerializeToString()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}; check the path") from None
