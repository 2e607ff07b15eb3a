"""MXNet 1.9.1: the network as a hybridised Gluon block. It needs NumPy below 1.24, and so an environment of its own."""

import importlib
import importlib.util
import sys
import warnings
from typing import Any

import numpy as np

from mlpconv.arch.network import Network, Preprocess
from mlpconv.backends import hardware
from mlpconv.backends.base import Model, Optimizer, Precision, Weights
from mlpconv.backends.common.compiled import available_memory as available_memory
from mlpconv.backends.common.compiled import is_out_of_memory as is_out_of_memory
from mlpconv.backends.common.compiled import prediction_bytes as prediction_bytes
from mlpconv.backends.common.compiled import training_bytes as training_bytes
from mlpconv.backends.common.compiled import watch_memory as watch_memory
from mlpconv.backends.weights import check_weights
from mlpconv.errors import MissingDependency, MlpconvError, RecipeError, unknown

framework_biases = False


def select(name: str) -> Any:
    """This module is the back end. Raises MissingDependency where NumPy is too new for MXNet."""
    if importlib.util.find_spec(name) and tuple(map(int, np.__version__.split(".")[:2])) >= (1, 24):
        raise MissingDependency(
            f"backend mxnet: MXNet 1.9.1 needs NumPy below 1.24, here is {np.__version__}; "
            "give it an environment of its own (in the repository: make mxnet)"
        )
    with warnings.catch_warnings():
        # It uses names that NumPy 1.23 warns of.
        warnings.simplefilter("ignore")
        importlib.import_module(name)
    return sys.modules[__name__]


def native(network: Network, weights: Weights | None = None) -> Any:
    """The network as a ``gluon.nn.HybridSequential`` for float32 (B, C, H, W), made of Gluon's own layers only.

    Its children carry our names, so ``save_parameters`` writes ``block1.conv.weight``. weights: canonical; without them
    the block is not initialised. Raises WeightsError for another network's weights.
    """
    from mlpconv.backends.mxnet import network as mxnet_network

    block = mxnet_network.build(network, network.input_shape)
    if weights is not None:
        check_weights(network, weights, "mxnet block")
        block.initialize()
        mxnet_network.load(network, block, weights)
    return block


def build(
    network: Network,
    preprocess: Preprocess,
    *,
    optimizer: Optimizer | None = None,
    precision: Precision = "float32",
    device: str = "cpu",
) -> Model:
    """A network that can be trained and evaluated on ``device``."""
    from mlpconv.backends.mxnet.model import MxnetModel

    device, _ = choose(device, precision)
    return MxnetModel(network, preprocess, optimizer, device)


def choose(device: str | None, precision: str | None) -> tuple[str, Precision]:
    """The first GPU that MXNet finds, else the CPU; "cuda" is taken for "gpu". Raises MlpconvError for a device that is
    not there, RecipeError for a precision other than float32."""
    if precision == "bfloat16":
        raise RecipeError("precision bfloat16: the back end mxnet trains in float32; leave the precision out")
    if precision not in (None, "float32"):
        raise RecipeError(unknown("precision", precision, ["float32"]))
    found = ["cpu", *(f"gpu:{index}" for index in range(_mxnet().context.num_gpus()))]
    name = (device or found[-1 if len(found) == 1 else 1]).replace("cuda", "gpu")
    name = "cpu" if name == "cpu:0" else f"{name}:0" if name == "gpu" else name
    if name not in found:
        raise MlpconvError(f"device {device!r}: mxnet finds {', '.join(found)}; choose one of them")
    return name, "float32"


def describe_device(device: str) -> str:
    """A device as one reads it: "cpu (AMD EPYC 9B14, 2 threads)", "gpu:0"."""
    return hardware.describe_processor(hardware.cpu_count()) if device == "cpu" else device


def set_deterministic(device: str) -> None:
    """Nothing is to be done: what MXNet computes on the CPU is the same each time."""


def _mxnet() -> Any:
    return importlib.import_module("mxnet")
