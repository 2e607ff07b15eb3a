"""Keras 3 on TensorFlow or JAX.

Keras itself is imported by ``select`` and not before: it takes one engine for the whole process when it is imported.
"""

import importlib
import os
import sys
from dataclasses import dataclass
from typing import Any

from mlpconv.arch.network import Network, Preprocess
from mlpconv.backends import hardware
from mlpconv.backends.base import Model, Optimizer, Precision, Weights
from mlpconv.backends.common import compiled
from mlpconv.backends.weights import check_weights
from mlpconv.errors import MlpconvError, PrecisionError, RecipeError, unknown


@dataclass(frozen=True)
class KerasBackend:
    """Keras on one engine, "tensorflow" or "jax"."""

    engine: str
    framework_biases: bool = False

    def native(self, network: Network, weights: Weights | None = None) -> Any:
        """A functional ``keras.Model``: float32 (B, H, W, C) of the network's input size → (B, classes).

        Its layers carry our names (``block1.conv``), those that Keras needs besides a name with a hyphen
        (``block1.conv-pad``). weights: canonical; without them the model begins as Keras begins. Raises WeightsError
        for another network's weights.
        """
        from mlpconv.backends.keras import network as keras_network

        model = keras_network.build(network, network.input_shape)
        if weights is not None:
            check_weights(network, weights, f"{self.engine} model")
            keras_network.load(network, model, weights)
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
        """The network with what training and prediction need. bfloat16 computes in it and keeps weights in float32."""
        from mlpconv.backends.keras.model import KerasModel

        device, precision = self.choose(device, precision)
        return KerasModel(network, preprocess, optimizer, precision, device)

    def choose(self, device: str | None, precision: str | None) -> tuple[str, Precision]:
        """The device asked for, else the first GPU, else the CPU; the precision asked for, else bfloat16 where
        TensorFlow computes faster in it on this processor, else float32.

        device: "cpu", "gpu" or "gpu:1"; "cuda" is taken for "gpu". Raises MlpconvError naming the devices found,
        RecipeError for an unknown precision.
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
        raise RecipeError(unknown("precision", precision, ["float32", "bfloat16"]))

    def set_deterministic(self, device: str) -> None:
        """Only deterministic operations from here on, for the whole process. JAX on a GPU takes that from XLA_FLAGS
        alone, before it starts: MlpconvError says so where it is missing."""
        flag = "--xla_gpu_deterministic_ops=true"
        if self.engine == "tensorflow":
            importlib.import_module("tensorflow").config.experimental.enable_op_determinism()
        elif device != "cpu" and flag not in os.environ.get("XLA_FLAGS", ""):
            raise MlpconvError(f"deterministic: JAX on {device} needs XLA_FLAGS={flag} in the environment")

    def describe_device(self, device: str) -> str:
        """A device as one reads it: "cpu (AMD EPYC 9B14, 2 threads)", "gpu:0 (NVIDIA H100)"."""
        name, _ = self.choose(device, "float32")
        if name == "cpu":
            return hardware.describe_processor(hardware.cpu_count())
        index = int(name.partition(":")[2])
        if self.engine == "jax":
            model = importlib.import_module("jax").devices()[index].device_kind
        else:
            config = importlib.import_module("tensorflow").config
            details = config.experimental.get_device_details(config.list_physical_devices("GPU")[index])
            model = details.get("device_name", "GPU")
        return f"{name} ({model})"

    training_bytes = staticmethod(compiled.training_bytes)
    prediction_bytes = staticmethod(compiled.prediction_bytes)
    available_memory = staticmethod(compiled.available_memory)
    watch_memory = staticmethod(compiled.watch_memory)
    is_out_of_memory = staticmethod(compiled.is_out_of_memory)

    def _devices(self) -> list[str]:
        """ "cpu", then the accelerators."""
        found = importlib.import_module("keras").distribution.list_devices()
        return ["cpu", *(name for name in found if not name.startswith("cpu"))]


def select(name: str) -> KerasBackend:
    """Keras on the engine ``name``, "tensorflow" or "jax", for the rest of the process.

    Raises ModuleNotFoundError where Keras or the engine is not installed, MlpconvError where Keras already runs on
    another engine.
    """
    if "keras" not in sys.modules:
        # The engine first: a Keras that does not find it would stay behind half imported.
        importlib.import_module(name)
        # Keras reads it once, when it is imported.
        os.environ["KERAS_BACKEND"] = name
    running = importlib.import_module("keras").config.backend()
    if running != name:
        raise MlpconvError(
            f"backend {name}: Keras already runs on {running} in this process and cannot change; "
            f"use the backend {running}, or start a new process with KERAS_BACKEND={name}"
        )
    return KerasBackend(name)
