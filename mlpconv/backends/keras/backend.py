"""Keras 3 on TensorFlow or JAX.

``start_keras`` imports Keras, which selects its engine for the whole process when it is imported.
"""

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from mlpconv import hardware
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Model, Precision, Weights
from mlpconv.backends.common import compiled
from mlpconv.backends.weights import check_weights
from mlpconv.errors import MlpconvError, PrecisionError, RecipeError, unknown
from mlpconv.optimizers import Optimizer

Engine = Literal["tensorflow", "jax"]


@dataclass(frozen=True)
class KerasBackend:
    """Keras on one engine: see ``mlpconv.backends.base.Backend``."""

    engine: Engine
    framework_biases: bool = False

    def native(self, network: Network, weights: Weights | None = None) -> Any:
        """A ``keras.Sequential``: float32 (B, H, W, C) of the network's input size → (B, classes).

        Each block is a ``keras.Sequential`` in it. All have the network's names (``block1``, and in it
        ``block1.conv``); layers that only Keras needs have a hyphen in their names (``block1.conv-pad``).

        Args:
            network: The network.
            weights: The canonical weights; by default Keras' own initialization.

        Raises:
            WeightsError: The weights belong to another network.
        """
        from mlpconv.backends.keras import network as keras_network

        model = keras_network.build_nested(network)
        if weights is not None:
            check_weights(network, weights, f"{self.engine} model")
            keras_network.load_nested(network, model, weights)
        return model

    def build(
        self,
        network: Network,
        preprocess: Preprocess,
        *,
        optimizer: Optimizer | None = None,
        precision: Precision = "float32",
        device: str = "cpu",
    ) -> Model:
        """The network as a model on ``device``; in bfloat16, activations are bfloat16 and weights float32."""
        from mlpconv.backends.keras.model import KerasModel

        device, precision = self.choose(device, precision)
        return KerasModel(network, preprocess, optimizer, precision, device)

    def choose(self, device: str | None, precision: str | None) -> tuple[str, Precision]:
        """The device and the precision to use.

        Args:
            device: "cpu", "gpu" or "gpu:1"; "cuda" means "gpu". By default the first GPU, or the CPU where there is
                none.
            precision: "float32" or "bfloat16". By default bfloat16 where TensorFlow computes faster in it on this
                processor, else float32.

        Raises:
            MlpconvError: There is no such device; the message names those found.
            RecipeError: There is no such precision.
        """
        found = self._devices()
        if device is None:
            device = found[1] if len(found) > 1 else "cpu"
        name = device.replace("cuda", "gpu")
        name = "cpu" if name == "cpu:0" else f"{name}:0" if name == "gpu" else name
        if name not in found:
            raise MlpconvError(f"device {device!r}: {self.engine} finds {', '.join(found)}; choose one of them")
        match precision:
            case None:
                # JAX has no fast convolution in bfloat16 on a CPU.
                fast = self.engine == "tensorflow" and name == "cpu" and hardware.has_bfloat16()
                return name, "bfloat16" if fast else "float32"
            case "float32":
                return name, "float32"
            case "bfloat16":
                # XLA computes it on every processor, TensorFlow through oneDNN alone.
                if self.engine == "tensorflow" and name == "cpu" and not hardware.has_bfloat16_convolutions():
                    raise PrecisionError(
                        f"precision bfloat16: TensorFlow has no convolutions in bfloat16 for this processor "
                        f"({hardware.processor()}); use --precision float32, or leave the precision out"
                    )
                return name, "bfloat16"
            case _:
                raise RecipeError(unknown("precision", precision, ["float32", "bfloat16"]))

    def set_deterministic(self, device: str) -> None:
        """Use only deterministic operations from now on, in the whole process.

        Raises:
            MlpconvError: JAX on a GPU reads the setting from XLA_FLAGS when it starts, and it is missing there.
        """
        flag = "--xla_gpu_deterministic_ops=true"
        if self.engine == "tensorflow":
            importlib.import_module("tensorflow").config.experimental.enable_op_determinism()
        elif device != "cpu" and flag not in os.environ.get("XLA_FLAGS", ""):
            raise MlpconvError(f"deterministic: JAX on {device} needs XLA_FLAGS={flag} in the environment")

    def describe_device(self, device: str) -> str:
        """A readable description of a device: "cpu (AMD EPYC 9B14, 2 threads)", "gpu:0 (NVIDIA H100)"."""
        name, _ = self.choose(device, "float32")
        if name == "cpu":
            return hardware.describe_processor(self._threads())
        index = int(name.partition(":")[2])
        if self.engine == "jax":
            model = importlib.import_module("jax").devices()[index].device_kind
        else:
            config = importlib.import_module("tensorflow").config
            details = config.experimental.get_device_details(config.list_physical_devices("GPU")[index])
            model = details.get("device_name", "GPU")
        return f"{name} ({model})"

    def _threads(self) -> int:
        """The threads that compute an operation on the processor."""
        if self.engine == "jax":  # its number cannot be set
            return hardware.cpu_count()
        chosen = importlib.import_module("tensorflow").config.threading.get_intra_op_parallelism_threads()
        return chosen or int(os.environ.get("TF_NUM_INTRAOP_THREADS", "0")) or hardware.cpu_count()

    training_bytes = staticmethod(compiled.training_bytes)
    prediction_bytes = staticmethod(compiled.prediction_bytes)
    available_memory = staticmethod(compiled.available_memory)
    watch_memory = staticmethod(compiled.watch_memory)
    is_out_of_memory = staticmethod(compiled.is_out_of_memory)

    def _devices(self) -> list[str]:
        """ "cpu", then the accelerators."""
        found = importlib.import_module("keras").distribution.list_devices()
        return ["cpu", *(name for name in found if not name.startswith("cpu"))]


@contextmanager
def _without_start_log() -> Iterator[None]:
    """Hide what TensorFlow writes to standard error on import: its build, and the GPUs that it does not find.

    Its logging library does so before it reads TF_CPP_MIN_LOG_LEVEL, so the file descriptor is redirected. Nothing is
    hidden if that variable is set, and what was written is shown if the import fails.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:  # Ctrl-C, too; it is raised again
            os.dup2(original, 2)
            log.seek(0)
            os.write(2, log.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


def start_keras(engine: Engine) -> KerasBackend:
    """Import Keras with an engine, for the rest of the process.

    Raises:
        ModuleNotFoundError: Keras or the engine is not installed.
        MlpconvError: Keras already runs on another engine.
    """
    if "keras" not in sys.modules:
        # The engine first: a Keras that does not find its engine would stay half imported.
        with _without_start_log():
            importlib.import_module(engine)
        # Keras reads this once, when it is imported.
        os.environ["KERAS_BACKEND"] = engine
    running = importlib.import_module("keras").config.backend()
    if running != engine:
        raise MlpconvError(
            f"backend {engine}: Keras already runs on {running} in this process and cannot change; "
            f"use the backend {running}, or start a new process with KERAS_BACKEND={engine}"
        )
    return KerasBackend(engine)
