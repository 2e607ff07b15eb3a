"""PyTorch as a back end: devices, and networks to train on them."""

import os
import sys
from typing import Any, cast, get_args

import torch

from mlpconv.arch.network import Network, Preprocess
from mlpconv.backends import hardware
from mlpconv.backends.base import Optimizer, Precision
from mlpconv.backends.pytorch.convolutions import COMPUTES_BFLOAT16
from mlpconv.backends.pytorch.memory import available_memory as available_memory
from mlpconv.backends.pytorch.memory import is_out_of_memory as is_out_of_memory
from mlpconv.backends.pytorch.memory import prediction_bytes as prediction_bytes
from mlpconv.backends.pytorch.memory import training_bytes as training_bytes
from mlpconv.backends.pytorch.memory import watch_memory as watch_memory
from mlpconv.backends.pytorch.model import TorchModel
from mlpconv.backends.pytorch.network import native as native
from mlpconv.errors import MlpconvError, PrecisionError, RecipeError, unknown

DEVICES = ("cpu", "cuda", "mps", "xpu")
framework_biases = True


def select(name: str) -> Any:
    """This module is the back end."""
    return sys.modules[__name__]


def choose(device: str | None, precision: str | None) -> tuple[str, Precision]:
    """The device and precision where the user left them open: the first GPU if there is one, as the chapter's try_gpu,
    and bfloat16 where the processor computes in it. Raises MlpconvError for what this machine does not have,
    RecipeError for a precision that is none, PrecisionError for one that this processor cannot compute in."""
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
        has = (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if "cuda" in device
            else (device == "cpu" and hardware.has_bfloat16())
        )
        precision = "bfloat16" if has else "float32"
    elif precision == "bfloat16" and device == "cpu" and not COMPUTES_BFLOAT16:
        raise PrecisionError(
            f"precision bfloat16: PyTorch has no fast convolutions in bfloat16 for this processor "
            f"({hardware.processor()}); use --precision float32, or leave the precision out"
        )
    return device, cast(Precision, precision)


def describe_device(device: str) -> str:
    """A device as one reads it: "cuda:0 (NVIDIA H100)", "cpu (AMD EPYC 9R14, 2 threads)"."""
    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return hardware.describe_processor(torch.get_num_threads()) if device == "cpu" else device


def list_gpus() -> list[tuple[str, str, int]]:
    """The GPUs that PyTorch sees: (device, name, bytes of memory; 0 where they share the machine's)."""
    properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    found = [(f"cuda:{index}", each.name, each.total_memory) for index, each in enumerate(properties)]
    return [*found, ("mps", "Apple GPU", 0)] if torch.backends.mps.is_available() else found


def set_deterministic(device: str) -> None:
    """Only deterministic algorithms from here on, for the whole process; PyTorch raises where there is none."""
    # cuBLAS reads it when it is first used, and PyTorch refuses to use it without.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def build(
    network: Network,
    preprocess: Preprocess,
    *,
    optimizer: Optimizer | None = None,
    precision: Precision = "float32",
    device: str = "cpu",
) -> TorchModel:
    """A network that can be trained and evaluated on ``device``."""
    return TorchModel(network, preprocess, optimizer, precision, device)
