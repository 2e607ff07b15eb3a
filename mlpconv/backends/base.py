"""What a back end can be told, and what it answers: the step plan, the optimiser, the Backend and Model protocols."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from mlpconv.arch.network import Network, Preprocess
from mlpconv.errors import MissingDependency, MlpconvError, RecipeError, unknown

Images = npt.NDArray[np.uint8]
"""uint8 (N, H, W, C)."""
Labels = npt.NDArray[np.int64]
"""int64 (N,)."""
Floats = npt.NDArray[np.float32]
Weights = Mapping[str, Floats]
"""The canonical weights: see mlpconv.backends.weights."""
State = dict[str, npt.NDArray[Any]]
"""Everything that a step changes, by name. It resumes only in the back end that made it. A canonical weight's name is a
whole part, between dots or slashes, of the names of its own array and of the optimiser's for it; all of the optimiser's
begin with "optimizer", the metric sums with "metrics", and both are 0 before the first step."""
Precision = Literal["float32", "bfloat16"]


class Optimizer(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The rule that turns a gradient g into an update of a parameter p at the rate lr.

    sgd: v ← momentum·v + g, p ← p − lr·v (Nesterov: p ← p − lr·(g + momentum·v)); weight decay adds weight_decay·p to
    g. adam (Kingma, Ba 2014): m ← β₁m + (1−β₁)g, s ← β₂s + (1−β₂)g², p ← p − lr·m̂/(√ŝ + eps), m̂ and ŝ free of bias.
    adamw (Loshchilov, Hutter 2017): adam after p ← p − lr·weight_decay·p. Biases and normalisation are not decayed.
    """

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        for field in ("momentum", "beta1", "beta2"):
            if not 0 <= getattr(self, field) < 1:
                raise RecipeError(f"optimizer.{field} must be at least 0 and below 1, not {getattr(self, field)}")
        if not (0 <= self.weight_decay < float("inf") and 0 < self.eps < float("inf")):
            raise RecipeError("optimizer: weight_decay must be at least 0 and eps above 0, both finite")
        if self.name != "sgd" and (self.momentum or self.nesterov):
            raise RecipeError(f"optimizer: momentum and nesterov belong to sgd; {self.name} has beta1 and beta2")
        if self.nesterov and not self.momentum:
            raise RecipeError("optimizer: nesterov needs a momentum above 0")
        if self.name == "adam" and self.weight_decay:
            raise RecipeError("optimizer: adam has no weight decay; use adamw")

    @property
    def kind(self) -> str:
        """The name under which the cost ledger knows what it keeps: "momentum" is sgd with momentum."""
        return "momentum" if self.name == "sgd" and self.momentum else self.name


@dataclass(frozen=True, eq=False, slots=True)
class StepPlan:
    """Everything that one training step is told. B is the number of images.

    indices: int64 (B,), positions in the attached images. image_size: side in pixels of the network's input.
    dropout_seed: every dropout mask of the step comes from it. Then, each None where not used, in the order in which
    they are carried out, on the images at their own size: flip, bool (B,), mirrored left to right; shift, int64 (B, 2),
    pixels down and right, black moving in; erase, int64 (B, 4), a box (top, left, height, width) filled with the
    preprocess mean. After resizing: partner, int64 (B,), positions in this batch to be mixed with, x ← mix·x +
    (1 − mix)·x[partner], the labels alike. label_smoothing ε: the target is 1 − ε + ε/K for the class, ε/K for others.
    """

    indices: npt.NDArray[np.int64]
    image_size: int
    learning_rate: float
    dropout_seed: int
    flip: npt.NDArray[np.bool_] | None = None
    shift: npt.NDArray[np.int64] | None = None
    erase: npt.NDArray[np.int64] | None = None
    partner: npt.NDArray[np.int64] | None = None
    mix: float = 1.0
    label_smoothing: float = 0.0

    def at_size(self, image_size: int) -> "StepPlan":
        """The same step at another image size."""
        return replace(self, image_size=image_size)


class Metrics(NamedTuple):
    """Sums over images since the metrics were last reset. ``skipped`` counts the updates that were masked because the
    loss or a gradient was not finite; the images of such a step count in nothing else."""

    loss: float = 0.0
    correct: int = 0
    examples: int = 0
    skipped: int = 0


class Model(Protocol):
    """A network realised in one framework."""

    @property
    def native(self) -> Any:
        """The framework's own object: an nn.Module, a keras.Model, a gluon.HybridBlock."""
        ...

    def weights(self) -> dict[str, Floats]: ...

    def load_weights(self, weights: Weights) -> None: ...

    def attach(self, images: Images, labels: Labels) -> None:
        """Take the training images, once; they live where the back end wants them."""
        ...

    def train_step(self, plan: StepPlan) -> None:
        """Carry out one step without waiting for its result; a non-finite loss or gradient masks the update."""
        ...

    def read_metrics(self, *, reset: bool = False) -> Metrics:
        """The sums since the last reset: the only call of training that waits for the device."""
        ...

    def logits(self, images: Images) -> Floats:
        """float32 (N, classes) for uint8 (N, H, W, C): preprocessed and computed as in evaluation."""
        ...

    def class_maps(self, images: Images, size: tuple[int, int] | None = None) -> Floats:
        """float32 (N, classes, h, w) for uint8 (N, H, W, C): what a last ReLU and the average pooling make the logits
        of (mlpconv.arch.class_maps).

        size: (height, width) that the images are resized to; the preprocess's own fit and size by default. Raises
        NetworkError where the network has no class maps, or the images are too small for it.
        """
        ...

    def outputs(self, images: Images, layer: str) -> Floats:
        """float32 (N, C, h, w) for uint8 (N, H, W, C): what a layer with maps gives in evaluation, by its full name."""
        ...

    def training_state(self) -> State: ...

    def load_training_state(self, state: State) -> None: ...


class Backend(Protocol):
    """A framework. ``framework_biases``: whether it starts biases as U(±√(1/fan_in)), as PyTorch does, or at zero."""

    framework_biases: bool

    def native(self, network: Network, weights: Weights | None = None) -> Any:
        """The framework's own object for one's own use."""
        ...

    def build(
        self,
        network: Network,
        preprocess: Preprocess,
        *,
        optimizer: Optimizer | None = None,
        precision: Precision = "float32",
        device: str = "cpu",
    ) -> Model: ...

    def set_deterministic(self, device: str) -> None:
        """Only deterministic algorithms from here on, for the whole process. Raises MlpconvError where it is too late
        for that or impossible."""
        ...

    def describe_device(self, device: str) -> str:
        """A device as one reads it: "cpu (AMD EPYC, 2 threads)"."""
        ...

    def choose(self, device: str | None, precision: str | None) -> tuple[str, Precision]:
        """The device and precision to use where the user left them open, as the chapter's try_gpu does."""
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
        """A function from a batch's images to the most bytes of tensors that a training step has alive at once, the
        data set not counted. source: (height, width) of the images as they are stored. plan: a step of so many."""
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
        """The same for ``Model.logits`` of so many images. optimizer: whose state is alive meanwhile."""
        ...

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether the framework says by it that the device's memory was not enough."""
        ...

    def available_memory(self, device: str) -> int | None:
        """Bytes that are free on the device now; None where that cannot be known."""
        ...

    def watch_memory(self, device: str) -> Callable[[], int | None]:
        """Begin anew to count tensors' bytes; a function that says their peak since, None where nobody counts."""
        ...


_MODULES = {"torch": "pytorch", "tensorflow": "keras", "jax": "keras", "mxnet": "mxnet"}
_OWN_ENVIRONMENT = " in an environment of its own: MXNet 1.9.1 needs NumPy below 1.24 (in the repository: make mxnet)"


def list_backends() -> list[str]:
    """The names that ``get_backend`` takes."""
    return list(_MODULES)


def get_backend(name: str) -> Backend:
    """The back end of a framework. Raises MissingDependency naming what to install, MlpconvError for an unknown
    name."""
    if name not in _MODULES:
        raise MlpconvError(unknown("backend", name, _MODULES))
    try:
        module: Any = importlib.import_module(f"mlpconv.backends.{_MODULES[name]}.backend")
        return module.select(name)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("mlpconv"):
            raise
        remedy = f'pip install "mlpconv[{name}]"' + (_OWN_ENVIRONMENT if name == "mxnet" else "")
        raise MissingDependency(f"backend {name}: the package {error.name!r} is not installed; {remedy}") from error
