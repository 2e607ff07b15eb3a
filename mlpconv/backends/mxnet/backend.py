"""MXNet 1.9.1: networks as hybridized Gluon blocks. It needs NumPy below 1.24, and therefore a separate environment."""

import importlib
import importlib.util
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpconv import hardware
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Model, Precision, Weights
from mlpconv.backends.common import compiled
from mlpconv.backends.weights import check_weights
from mlpconv.errors import MissingDependency, MlpconvError, RecipeError, unknown
from mlpconv.optimizers import Optimizer


@dataclass(frozen=True)
class MxnetBackend:
    """MXNet: see ``mlpconv.backends.base.Backend``."""

    framework_biases: bool = False

    def native(self, network: Network, weights: Weights | None = None) -> Any:
        """A ``gluon.nn.HybridSequential`` for float32 (B, C, H, W), made of Gluon's own layers only.

        Its children have the network's names, so that ``save_parameters`` writes ``block1.conv.weight`` and the
        ``name`` of a block is ``block1``.

        Args:
            network: The network.
            weights: The canonical weights; without them the block is not initialized.

        Raises:
            WeightsError: The weights belong to another network.
        """
        from mlpconv.backends.mxnet import network as mxnet_network

        block = mxnet_network.build(network, network.input_shape)
        if weights is not None:
            check_weights(network, weights, "mxnet block")
            block.initialize()
            mxnet_network.load(network, block, weights)
        return block

    def build(
        self,
        network: Network,
        preprocess: Preprocess,
        *,
        optimizer: Optimizer | None = None,
        precision: Precision = "float32",
        device: str = "cpu",
    ) -> Model:
        """The network as a model on ``device``; without an optimizer it cannot be trained."""
        from mlpconv.backends.mxnet.model import MxnetModel

        device, _ = self.choose(device, precision)
        return MxnetModel(network, preprocess, optimizer, device)

    def choose(self, device: str | None, precision: str | None) -> tuple[str, Precision]:
        """The device and the precision to use.

        Args:
            device: "cpu", "gpu" or "gpu:1"; "cuda" means "gpu". By default the first GPU, or the CPU where there is
                none.
            precision: "float32", the only one.

        Raises:
            MlpconvError: There is no such device; the message names those found.
            RecipeError: Another precision.
        """
        if precision == "bfloat16":
            raise RecipeError("precision bfloat16: the back end mxnet trains in float32; leave the precision out")
        if precision not in (None, "float32"):
            raise RecipeError(unknown("precision", precision, ["float32"]))
        gpus = importlib.import_module("mxnet").context.num_gpus()
        devices = ["cpu", *(f"gpu:{index}" for index in range(gpus))]
        name = (device or devices[-1 if len(devices) == 1 else 1]).replace("cuda", "gpu")
        name = "cpu" if name == "cpu:0" else f"{name}:0" if name == "gpu" else name
        if name not in devices:
            raise MlpconvError(f"device {device!r}: mxnet finds {', '.join(devices)}; choose one of them")
        return name, "float32"

    def describe_device(self, device: str) -> str:
        """A readable description of a device: "cpu (AMD EPYC 9B14, 2 threads)", "gpu:0"."""
        return hardware.describe_processor(hardware.openmp_threads()) if device == "cpu" else device

    def set_deterministic(self, device: str) -> None:
        """Do nothing: MXNet's operations on the CPU are deterministic."""

    training_bytes = staticmethod(compiled.training_bytes)
    prediction_bytes = staticmethod(compiled.prediction_bytes)
    available_memory = staticmethod(compiled.available_memory)
    watch_memory = staticmethod(compiled.watch_memory)
    is_out_of_memory = staticmethod(compiled.is_out_of_memory)


def start_mxnet() -> MxnetBackend:
    """Import MXNet.

    Raises:
        ModuleNotFoundError: It is not installed.
        MissingDependency: NumPy is too new for it.
    """
    if importlib.util.find_spec("mxnet") and tuple(map(int, np.__version__.split(".")[:2])) >= (1, 24):
        raise MissingDependency(
            f"backend mxnet: MXNet 1.9.1 needs NumPy below 1.24, here is {np.__version__}; "
            "install it in a separate environment (in the repository: make mxnet)"
        )
    with warnings.catch_warnings():
        # It uses names for which NumPy 1.23 issues warnings.
        warnings.simplefilter("ignore")
        importlib.import_module("mxnet")
    return MxnetBackend()
