"""PyTorch as a back end: devices, and networks to train on them."""

import os
from dataclasses import dataclass
from typing import cast, get_args

import torch
from torch import nn

from mlpconv import hardware
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Precision, Weights
from mlpconv.backends.processes import place
from mlpconv.backends.pytorch import memory
from mlpconv.backends.pytorch import network as torch_network
from mlpconv.backends.pytorch.convolutions import COMPUTES_BFLOAT16
from mlpconv.backends.pytorch.model import TorchModel
from mlpconv.backends.pytorch.processes import joined
from mlpconv.errors import MlpconvError, PrecisionError, RecipeError, unknown
from mlpconv.optimizers import Optimizer

DEVICES = ("cpu", "cuda", "mps", "xpu")


@dataclass(frozen=True)
class TorchBackend:
    """PyTorch: see ``mlpconv.backends.base.Backend``."""

    framework_biases: bool = True

    def native(self, network: Network, weights: Weights | None = None) -> nn.Module:
        """The network as an ``nn.Sequential`` for float (B, C, H, W); its ``state_dict`` has the canonical names."""
        return torch_network.native(network, weights)

    def build(
        self,
        network: Network,
        preprocess: Preprocess,
        *,
        optimizer: Optimizer | None = None,
        precision: Precision = "float32",
        device: str = "cpu",
    ) -> TorchModel:
        """The network as a model on ``device``; without an optimizer it cannot be trained.

        In one of several connected processes, all of them train it together.
        """
        if optimizer is not None and (group := joined()) is not None:
            from mlpconv.backends.pytorch.parallel import LeadingModel, ParallelModel

            kind = ParallelModel if group.place.rank else LeadingModel
            return kind(group, network, preprocess, optimizer, precision, device)
        return TorchModel(network, preprocess, optimizer, precision, device)

    def choose(self, device: str | None, precision: str | None) -> tuple[str, Precision]:
        """The device and the precision to use.

        Args:
            device: "cpu", "cuda", "cuda:1", "mps" or "xpu"; by default the first GPU if there is one, as in the
                chapter's ``try_gpu``.
            precision: "float32" or "bfloat16"; by default bfloat16 where the device computes in it.

        Raises:
            MlpconvError: This machine does not have the device.
            RecipeError: There is no such precision.
            PrecisionError: This processor cannot compute in the precision.
        """
        if precision not in (None, *get_args(Precision)):
            raise RecipeError(unknown("precision", precision, get_args(Precision)))
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        if device.partition(":")[0] not in DEVICES:
            raise MlpconvError(f"{unknown('device', device, DEVICES)}; one of several by its number: cuda:1")
        try:
            device = "cpu" if torch.zeros(1, device=device).device.type == "cpu" else device
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0].partition(". ")[0]
            raise MlpconvError(f"device {device}: not usable here: {reason}; `mlpconv doctor` lists what is") from None
        if precision is None:
            precision = "bfloat16" if _is_fast_in_bfloat16(device) else "float32"
        elif precision == "bfloat16" and device == "cpu" and not COMPUTES_BFLOAT16:
            raise PrecisionError(
                f"precision bfloat16: PyTorch has no fast convolutions in bfloat16 for this processor "
                f"({hardware.processor()}); use --precision float32, or leave the precision out"
            )
        return device, cast(Precision, precision)

    def describe_device(self, device: str) -> str:
        """A readable description of a device: "cuda:0 (NVIDIA H100)", "cpu (AMD EPYC 9R14, 2 threads)"."""
        count = place().size
        if device.startswith("cuda"):
            several = f", {count} processes" if count > 1 else ""
            return f"{device} ({torch.cuda.get_device_name(device)}{several})"
        return hardware.describe_processor(torch.get_num_threads(), count) if device == "cpu" else device

    def list_gpus(self) -> list[tuple[str, str, int]]:
        """The GPUs that PyTorch sees: (device, name, bytes of memory; 0 where they share the machine's)."""
        count = torch.cuda.device_count()
        properties = {f"cuda:{index}": torch.cuda.get_device_properties(index) for index in range(count)}
        gpus = [(device, gpu.name, gpu.total_memory) for device, gpu in properties.items()]
        return [*gpus, ("mps", "Apple GPU", 0)] if torch.backends.mps.is_available() else gpus

    def set_deterministic(self, device: str) -> None:
        """Use only deterministic algorithms from now on, in the whole process.

        Where an operation has no deterministic algorithm, PyTorch raises an error when it computes it.
        """
        # cuBLAS reads it at its first use, and PyTorch refuses to use cuBLAS without it.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False

    training_bytes = staticmethod(memory.training_bytes)
    prediction_bytes = staticmethod(memory.prediction_bytes)

    available_memory = staticmethod(memory.available_memory)
    watch_memory = staticmethod(memory.watch_memory)
    is_out_of_memory = staticmethod(memory.is_out_of_memory)


def start_torch() -> TorchBackend:
    """PyTorch, with no more threads than can be started; with more, OpenMP would end the process."""
    threads = hardware.fit_threads()
    if threads is not None and threads < torch.get_num_threads():  # PyTorch was imported before
        torch.set_num_threads(threads)
    return TorchBackend()


def _is_fast_in_bfloat16(device: str) -> bool:
    if "cuda" in device:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and hardware.has_bfloat16()
