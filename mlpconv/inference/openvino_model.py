"""ONNX files that mlpconv wrote, computed with OpenVINO: on a CPU, in bfloat16 if the processor has it."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from mlpconv import hardware
from mlpconv.backends.base import Floats, Images
from mlpconv.errors import MlpconvError, RecipeError, RunError, shortened
from mlpconv.formatting import printable
from mlpconv.inference.engine_packages import load_openvino
from mlpconv.inference.onnx_model import OnnxModel

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
"""What OpenVINO calls the precisions."""
_COMPILED = 16
"""The most compiled models that are kept: one for each size, for one image or several, and for each set of outputs."""


class OpenVinoModel(OnnxModel):
    """An ONNX model in OpenVINO. Threads may share it; it computes one call at a time, with all processors.

    Args:
        content: The model in ONNX's format. ONNX Runtime checks it and reads what describes it.
        path: Its file, for messages.
        device: "cpu" or None; others are refused.
        precision: "float32" or "bfloat16"; by default bfloat16 if the processor has it.

    Raises:
        RunError: As for ``OnnxModel``.
        RecipeError: The processor does not have the precision.
        MlpconvError: There is no such device.
        MissingDependency: OpenVINO or ONNX Runtime is not installed.
    """

    def __init__(self, content: bytes, path: Path, device: str | None = None, precision: str | None = None) -> None:
        if device not in (None, "cpu"):
            raise MlpconvError(f"--device {device}: OpenVINO computes on the cpu; use --backend onnxruntime")
        openvino = load_openvino(printable(path))
        super().__init__(content, path, "cpu")
        self._session = None
        core = openvino.Core()
        options = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[_choose(core, precision)],
            "INFERENCE_NUM_THREADS": hardware.openmp_threads(),
            "ENABLE_CPU_PINNING": False,  # two programs would be bound to the same processors
        }

        def compiled(outputs: tuple[str, ...], *shape: int) -> Any:
            try:
                whole = core.read_model(content)
                whole.reshape(shape)
                model = openvino.Model([whole.output(name) for name in outputs], whole.get_parameters())
                return core.compile_model(model, "CPU", options).create_infer_request()
            except RuntimeError as error:
                reason = shortened(" ".join(str(error).split()))
                raise RunError(
                    f"{printable(path)}: OpenVINO {openvino.__version__} cannot compute it: {reason}; use --backend "
                    "onnxruntime"
                ) from None

        # If height and width are not fixed, OpenVINO 2026.4.1 returns wrong values where a call has more pixels than
        # those before it: the branches of the resizing are not ready. For small images, a model for one image and one
        # output takes two thirds of the time of a model for any number and all outputs.
        self._compiled = lru_cache(_COMPILED)(compiled)
        self._tensor, self._lock = openvino.Tensor, Lock()

    def _run(self, outputs: Sequence[str], images: Images) -> list[Floats]:
        count, *shape = images.shape
        with self._lock:
            request = self._compiled(tuple(outputs), 1 if count == 1 else -1, *shape)
            found = request.infer(self._tensor(images, shared_memory=images.flags.writeable))
        return [found[name] for name in outputs]


def _choose(core: Any, precision: str | None) -> str:
    """The precision to compute in."""
    # OpenVINO names what the processor has, but computes with oneDNN, which may be limited to older instructions.
    has_bfloat16 = hardware.allows_bfloat16() and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    chosen = precision or ("bfloat16" if has_bfloat16 else "float32")
    if chosen not in _PRECISIONS or (chosen == "bfloat16" and not has_bfloat16):
        known = "float32 and bfloat16" if has_bfloat16 else "only float32"
        raise RecipeError(f"--precision {precision}: OpenVINO has {known} on this processor")
    return chosen
