"""ONNX files that mlpconv wrote, computed without PyTorch: with ONNX Runtime, or with OpenVINO."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mlpconv import hardware
from mlpconv.arch.cost import prediction_memory
from mlpconv.backends.base import Floats, Images
from mlpconv.errors import MlpconvError, NetworkError, RecipeError, RunError, shortened
from mlpconv.formatting import printable
from mlpconv.inference.engine_packages import load_onnxruntime
from mlpconv.runs.classifier_file import StoredClassifier, from_texts

SUFFIX = ".onnx"
ENGINES = ("onnxruntime", "openvino")
"""What computes an ONNX file."""
INPUT, LOGITS, PROBABILITIES, CLASS_MAPS, LABEL = "images", "logits", "probabilities", "class_maps", "label"
"""The input and the outputs of an ONNX file of mlpconv: see ``mlpconv.export.onnx_graph``."""
MAX_BYTES = (1 << 31) - 1
"""The largest file in the format of ONNX."""
_BATCH, _BATCH_PIXELS = 64, 1 << 24
"""The most images, and pixels, that are computed at once."""
_CACHE_BYTES = 16 << 20
"""On a CPU, the most bytes of activations that are computed at once: with more, they do not stay in its caches, and a
network with large maps takes up to half as much time again."""


class OnnxModel:
    """An ONNX model in ONNX Runtime.

    Args:
        content: The model in ONNX's format.
        path: Its file, for messages.
        device: "cpu", "cuda" or "cuda:1" and so on; by default a GPU if ONNX Runtime has one.

    Raises:
        RunError: The content is not a model that ONNX Runtime can compute, or not one that mlpconv wrote.
        NetworkError: The metadata describes no network.
        MlpconvError: ONNX Runtime does not have the device.
        MissingDependency: ONNX Runtime is not installed.
    """

    def __init__(self, content: bytes, path: Path, device: str | None = None) -> None:
        runtime = load_onnxruntime(printable(path))
        self.device, providers = _providers(runtime, device)
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors; each also is an exception
        options.intra_op_num_threads = hardware.openmp_threads()
        # Between two calls, threads that wait for work in a loop would slow down the reading of files.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.enable_mem_pattern = False  # it keeps a plan for each shape, and clients of a server choose the shapes
        try:
            self._session: Any = runtime.InferenceSession(content, options, providers=providers)
            found = {each.name: each.type for each in self._session.get_inputs()}
            outputs = {each.name: each.type for each in self._session.get_outputs()}
            classes = next((each.shape[-1] for each in self._session.get_outputs() if each.name == LOGITS), None)
        except Exception as error:  # for a damaged file, ONNX Runtime raises many types
            if isinstance(error, MemoryError):
                raise
            raise RunError(
                f"{printable(path)}: damaged, or not an ONNX model that ONNX Runtime {runtime.__version__} can "
                f"compute: {_reason(error)}; export it again"
            ) from None
        self.texts: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        if "mlpconv.network" not in self.texts:
            raise RunError(
                f"{printable(path)}: an ONNX model that mlpconv did not write, so the classes and the preprocessing of "
                "its images are unknown; use a file of mlpconv export RUN --to onnx"
            )
        if found != {INPUT: "tensor(uint8)"} or outputs.get(LOGITS) != "tensor(float)":
            raise RunError(
                f"{printable(path)}: its inputs and outputs are not those that mlpconv writes; export it again"
            )
        self.stored: StoredClassifier = from_texts(path, self.texts)
        """What the metadata describes, without the weights."""
        if classes != len(self.stored.class_names):
            raise RunError(
                f"{printable(path)}: computes {classes} logits for {len(self.stored.class_names)} class names; export "
                "it again"
            )
        self._batch = _BATCH
        if self.device == "cpu":
            activations = prediction_memory(self.stored.network).activations  # 0 if layers only change shapes
            self._batch = min(max(_CACHE_BYTES // max(activations, 1), 1), _BATCH)
        self._path = path
        self.outputs: dict[str, list[int]] = {
            each.name: [size if isinstance(size, int) else -1 for size in each.shape]
            for each in self._session.get_outputs()
            if each.type == "tensor(float)"
        }
        """The shape of each output of floats, with -1 for a size that depends on the images."""

    def logits(self, images: Images) -> Floats:
        """The logits, float32 (N, classes), of uint8 (N, H, W, C): resized like the pixels of a file."""
        return self.compute([LOGITS], images)[LOGITS]

    def class_maps(self, images: Images, size: tuple[int, int] | None = None) -> Floats:
        """The class maps, float32 (N, classes, h, w), of uint8 (N, H, W, C): see mlpconv.arch.class_maps.

        Raises:
            NetworkError: The network has no class maps; or ``size`` is given, as the size of the input is fixed.
        """
        if CLASS_MAPS not in self.outputs:
            raise NetworkError(f"{printable(self._path)}: the network has no class maps")
        if size is not None:
            raise NetworkError(
                f"{printable(self._path)}: the size of the network's input is fixed in an ONNX file; use the run"
            )
        return self.compute([CLASS_MAPS], images)[CLASS_MAPS]

    def compute(self, outputs: Sequence[str], images: Images) -> dict[str, Floats]:
        """Some of the ``outputs``, float32 (N, …), of uint8 (N, H, W, C). Large images are computed one at a time."""
        step = max(1, min(self._batch, _BATCH_PIXELS // (images.shape[1] * images.shape[2])))
        batches = (np.ascontiguousarray(images[start : start + step]) for start in range(0, len(images), step))
        parts = [self._run(outputs, batch) for batch in batches]
        if len(parts) == 1:
            return dict(zip(outputs, parts[0], strict=True))
        return {name: np.concatenate(values) for name, values in zip(outputs, zip(*parts, strict=True), strict=True)}

    def _run(self, outputs: Sequence[str], images: Images) -> list[Floats]:
        """Compute one batch."""
        return self._session.run(list(outputs), {INPUT: images})


def open_onnx(
    path: Path, *, engine: str | None = None, device: str | None = None, precision: str | None = None
) -> OnnxModel:
    """Open an ONNX file that mlpconv wrote.

    Args:
        path: The file.
        engine: A name of ``ENGINES``; by default OpenVINO on a CPU if it is installed, otherwise ONNX Runtime.
        device: As for ``OnnxModel``.
        precision: "float32" or "bfloat16"; by default the faster one that the engine has.

    Raises:
        RunError: There is no such file, it is damaged, or mlpconv did not write it.
        NetworkError: Its metadata describes no network.
        RecipeError: The engine does not have the precision.
        MlpconvError: There is no such engine, or it does not have the device.
        MissingDependency: The engine is not installed.
    """
    chosen = engine or _default_engine(path, device)
    if chosen not in ENGINES:
        raise MlpconvError(
            f"--backend {chosen}: {printable(path)} is computed by {' or '.join(ENGINES)}; leave it out, or use the run"
        )
    if chosen == "openvino":
        from mlpconv.inference.openvino_model import OpenVinoModel

        return OpenVinoModel(_read(path), path, device, precision)
    if precision not in (None, "float32"):
        raise RecipeError(
            f"--precision {precision}: ONNX Runtime computes {printable(path)} in its own precision; leave it out, or "
            'use OpenVINO: pip install "mlpconv[openvino]"'
        )
    return OnnxModel(_read(path), path, device)


def _read(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise RunError(f"{printable(path)}: has {size:,} bytes, and an ONNX file at most {MAX_BYTES:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"{printable(path)}: there is no such file; check the path") from None
    except OSError as error:
        raise RunError(
            f"{printable(path)}: cannot be read: {error.strerror or error}; check the path and its permissions"
        ) from None


def _default_engine(path: Path, device: str | None) -> str:
    if device not in (None, "cpu") or find_spec("openvino") is None:
        return "onnxruntime"
    chosen, _ = _providers(load_onnxruntime(printable(path)), device)
    return "openvino" if chosen == "cpu" else "onnxruntime"


def _providers(runtime: Any, device: str | None) -> tuple[str, list[Any]]:
    """The device to use, and ONNX Runtime's names for it."""
    has_gpu = "CUDAExecutionProvider" in runtime.get_available_providers()
    chosen = device or ("cuda" if has_gpu else "cpu")
    kind, _, number = chosen.partition(":")
    if chosen == "cpu":
        return chosen, ["CPUExecutionProvider"]
    if kind == "cuda" and has_gpu and (number.isdecimal() or chosen == "cuda"):
        return chosen, [("CUDAExecutionProvider", {"device_id": number or "0"}), "CPUExecutionProvider"]
    raise MlpconvError(
        f"--device {chosen}: ONNX Runtime has {'cpu and cuda' if has_gpu else 'only cpu'} here"
        + ("" if has_gpu else "; for a GPU, install onnxruntime-gpu")
    )


def _reason(error: Exception) -> str:
    """The message of ONNX Runtime without its codes, on one line."""
    text = " ".join(str(error).split())
    return shortened(printable(text.rpartition("[ONNXRuntimeError]")[2].split(" : ", 3)[-1]))
