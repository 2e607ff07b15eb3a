"""The interface of the back ends: the step plan, the metrics, and the ``Backend`` and ``Model`` protocols.

A back end is a class that matches ``Backend`` and whose ``build`` returns a class that matches ``Model``; the type
checker compares them. The names are in ``mlpconv.backends.registry``, the optimizers in ``mlpconv.optimizers``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mlpconv.arch.cost import Precision as Precision
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.optimizers import Optimizer

Images = npt.NDArray[np.uint8]
"""uint8 (N, H, W, C)."""
Labels = npt.NDArray[np.int64]
"""int64 (N,)."""
Floats = npt.NDArray[np.float32]
Weights = Mapping[str, Floats]
"""The canonical weights: see mlpconv.backends.weights."""
State = dict[str, npt.NDArray[Any]]
"""Everything that a step changes, by name: see mlpconv.backends.training_state.

Only the back end that made a state can resume from it.
"""


@dataclass(frozen=True, eq=False, slots=True)
class StepPlan:
    """Everything that determines one training step of B images.

    Flip, crop, shift, color, erase and cut apply in this order to the images at their own size, in integers, so that
    all back ends get the same pixels; mixing follows the resizing. A field that is not used is None.
    """

    indices: npt.NDArray[np.int64]
    """int64 (B,): positions in the attached images."""
    image_size: int
    """Side of the network's input in pixels."""
    learning_rate: float
    dropout_seed: int
    """The seed of all dropout masks of the step."""
    flip: npt.NDArray[np.bool_] | None = None
    """bool (B,): whether to mirror the image left to right."""
    shift: npt.NDArray[np.int64] | None = None
    """int64 (B, 2): pixels down and right; black moves in."""
    erase: npt.NDArray[np.int64] | None = None
    """int64 (B, 4): a box (top, left, height, width) to fill with the preprocess mean."""
    partner: npt.NDArray[np.int64] | None = None
    """int64 (B,): positions in this batch to mix with: x ← mix·x + (1 − mix)·x[partner], and the labels alike."""
    mix: float = 1.0
    """The weight of the image itself in mixing, or its share of the area with ``cut``."""
    crop: npt.NDArray[np.int64] | None = None
    """int64 (B, 4): a box (top, left, height, width) in the image, which is enlarged to the size of the image."""
    color: npt.NDArray[np.int64] | None = None
    """int64 (B, 3): factors on brightness, contrast and saturation in 256ths."""
    cut: npt.NDArray[np.int64] | None = None
    """int64 (4,): a box (top, left, height, width) that each image takes from its partner, instead of mixing."""
    label_smoothing: float = 0.0
    """ε: the target is 1 − ε + ε/K for the image's class and ε/K for each of the other K − 1 classes."""

    def at_size(self, image_size: int) -> "StepPlan":
        """The same step at another image size."""
        return replace(self, image_size=image_size)


class Metrics(NamedTuple):
    """Sums since the metrics were last reset."""

    loss: float = 0.0
    """The sum of the images' losses, in nats."""
    correct: int = 0
    """Images whose class was predicted."""
    examples: int = 0
    """Images."""
    skipped: int = 0
    """Updates that were masked because the loss or a gradient was not finite; their images count in no other field."""


class Predictor(Protocol):
    """A trained network with its preprocessing: from images to logits and class maps."""

    def logits(self, images: Images) -> Floats:
        """The logits, float32 (N, classes), of uint8 (N, H, W, C): preprocessed and computed as in evaluation."""
        ...

    def class_maps(self, images: Images, size: tuple[int, int] | None = None) -> Floats:
        """The class maps, float32 (N, classes, h, w), of uint8 (N, H, W, C): see mlpconv.arch.class_maps.

        Args:
            images: The images.
            size: (height, width) to resize the images to; by default the preprocess's own fit and size.

        Raises:
            NetworkError: The network has no class maps, or the images are too small for it.
        """
        ...


class Model(Predictor, Protocol):
    """A network in one framework, with what training and prediction need."""

    @property
    def native(self) -> Any:
        """The framework's own object: an nn.Module, a keras.Model, a gluon.HybridBlock."""
        ...

    def weights(self) -> dict[str, Floats]:
        """The canonical weights, copied."""
        ...

    def load_weights(self, weights: Weights) -> None:
        """Set the canonical weights. Raises WeightsError where they belong to another network."""
        ...

    def attach(self, images: Images, labels: Labels) -> None:
        """Set the training images, once; the back end decides where they are kept."""
        ...

    def train_step(self, plan: StepPlan) -> None:
        """Perform one step without waiting for its result.

        Where the loss or a gradient is not finite, the step changes nothing but ``Metrics.skipped``.
        """
        ...

    def read_metrics(self, *, reset: bool = False) -> Metrics:
        """The sums since the last reset: the only call of training that waits for the device."""
        ...

    def outputs(self, images: Images, layer: str) -> Floats:
        """The output, float32 (N, C, h, w), of a layer with maps in evaluation, by the layer's full name."""
        ...

    def training_state(self) -> State:
        """Copies of everything that a step changes."""
        ...

    def load_training_state(self, state: State) -> None:
        """Continue from ``training_state()``.

        Raises:
            WeightsError: Another network, optimizer or back end made the state.
        """
        ...


class Backend(Protocol):
    """A framework."""

    @property
    def framework_biases(self) -> bool:
        """Whether the framework initializes biases as U(±√(1/fan_in)), as PyTorch does, and not to zero."""
        ...

    def native(self, network: Network, weights: Weights | None = None) -> Any:
        """The network as the framework's own object, without anything of mlpconv in it.

        Args:
            network: The network.
            weights: The canonical weights; by default the framework's own initialization.
        """
        ...

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
        ...

    def set_deterministic(self, device: str) -> None:
        """Use only deterministic algorithms from now on, in the whole process.

        Raises:
            MlpconvError: It is impossible, or too late.
        """
        ...

    def describe_device(self, device: str) -> str:
        """A readable description of a device: "cpu (AMD EPYC, 2 threads)"."""
        ...

    def choose(self, device: str | None, precision: str | None) -> tuple[str, Precision]:
        """The device and the precision to use; None leaves the choice to the back end.

        Raises:
            MlpconvError: This machine does not have the device.
            RecipeError: There is no such precision, or the device cannot compute in it.
        """
        ...

    def training_bytes(
        self,
        network: Network,
        preprocess: Preprocess,
        source: tuple[int, int],
        plan: Callable[[int], StepPlan],
        *,
        optimizer: Optimizer,
        precision: Precision,
        device: str = "cpu",
    ) -> Callable[[int], int]:
        """A function from a batch size to the peak bytes of tensors in a training step, without the data set.

        Args:
            network: The network.
            preprocess: The preprocessing.
            source: (height, width) of the stored images.
            plan: Makes the plan of a step from a batch size.
            optimizer: The optimizer.
            precision: The precision of the activations.
            device: The device.
        """
        ...

    def prediction_bytes(
        self,
        network: Network,
        preprocess: Preprocess,
        source: tuple[int, int],
        *,
        optimizer: Optimizer | None = None,
        precision: Precision,
        device: str = "cpu",
    ) -> Callable[[int], int]:
        """A function from a number of images to the peak bytes of tensors in ``Model.logits``.

        Args:
            network: The network.
            preprocess: The preprocessing.
            source: (height, width) of the stored images.
            optimizer: The optimizer whose state exists at the same time, if any.
            precision: The precision of the activations.
            device: The device.
        """
        ...

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether the error means that the device's memory was not enough."""
        ...

    def available_memory(self, device: str) -> int | None:
        """Bytes that are free on the device now; None where that is not known."""
        ...

    def watch_memory(self, device: str) -> Callable[[], int | None]:
        """Start to measure the peak bytes of tensors.

        Returns:
            A function that returns the peak since this call; None where the back end does not measure it.
        """
        ...
