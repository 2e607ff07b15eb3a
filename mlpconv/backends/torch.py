"""PyTorch: the network as an nn.Module, and the fast training step.

Images stay uint8 at their own size where the model lives. Augmentation, normalisation and resizing happen inside the
step, and are folded into the first convolution where that is exact (mlpconv.backends.fold).
"""

import os
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlpconv.arch.layers import (
    AnyLayer,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    Shape,
    Sigmoid,
    pair,
)
from mlpconv.arch.maps import until_class_maps
from mlpconv.arch.network import Block, Network, Preprocess
from mlpconv.arch.shapes import layer_shapes, num_classes
from mlpconv.backends import hardware
from mlpconv.backends.base import Floats, Images, Labels, Metrics, Optimizer, Precision, State, StepPlan, Weights
from mlpconv.backends.extents import computed_extents
from mlpconv.backends.fold import can_fold
from mlpconv.backends.torch_fold import Fold
from mlpconv.backends.torch_forward import Operation, operations
from mlpconv.backends.torch_images import augment, fit
from mlpconv.backends.torch_memory import available_memory as available_memory
from mlpconv.backends.torch_memory import is_out_of_memory as is_out_of_memory
from mlpconv.backends.torch_memory import prediction_bytes as prediction_bytes
from mlpconv.backends.torch_memory import training_bytes as training_bytes
from mlpconv.backends.torch_memory import watch_memory as watch_memory
from mlpconv.backends.torch_steps import Steps
from mlpconv.backends.weights import check_weights, is_statistic
from mlpconv.data.mapped import map_of, release
from mlpconv.errors import MlpconvError, RecipeError, WeightsError, unknown

Size = tuple[int, int]
EVALUATION_BATCH = 256
DEVICES = ("cpu", "cuda", "mps", "xpu")
framework_biases = True


def select(name: str) -> Any:
    """This module is the back end."""
    return sys.modules[__name__]


def native(network: Network, weights: Weights | None = None) -> nn.Module:
    """The network as an ``nn.Sequential`` for one's own training loop; its ``state_dict`` has the canonical names.

    weights: canonical; without them PyTorch's own start. Input: float (B, C, H, W).
    """
    modules = {}
    previous: AnyLayer | None = None
    for row in layer_shapes(network):
        # What the layer before needs for its own gradient must not be overwritten, nor the caller's images.
        overwrite = isinstance(previous, Conv2d | Linear | BatchNorm2d)
        modules[row.name] = _module(row.layer, row.input_shape, overwrite)
        previous = row.layer
    module = nn.Sequential(
        OrderedDict(
            (
                name,
                nn.Sequential(OrderedDict((part, modules[f"{name}.{part}"]) for part in layer.layers))
                if isinstance(layer, Block)
                else modules[name],
            )
            for name, layer in network.layers.items()
        )
    )
    if weights is not None:
        _put(module, network, weights, "weights")
    return module


def _module(layer: AnyLayer, before: Shape, overwrite: bool) -> nn.Module:
    match layer:
        case Conv2d():
            kernel, stride, padding = pair(layer.kernel_size), pair(layer.stride), pair(layer.padding)
            return nn.Conv2d(before[0], layer.out_channels, kernel, stride, padding, bias=layer.bias)
        case BatchNorm2d():
            return nn.BatchNorm2d(before[0], layer.eps, layer.momentum)
        case ReLU():
            return nn.ReLU(inplace=overwrite)
        case Sigmoid():
            return nn.Sigmoid()
        case MaxPool2d():
            return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)
        case AvgPool2d():
            return nn.AvgPool2d(
                layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, layer.count_include_pad
            )
        case Dropout():
            return nn.Dropout(layer.p)
        case GlobalAvgPool2d():
            return nn.AdaptiveAvgPool2d(1)
        case Flatten():
            return nn.Flatten()
        case Linear():
            return nn.Linear(before[0], layer.out_features, bias=layer.bias)


def _named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The canonical weights of a module, as they live in it."""
    return ((name, value) for name, value in module.state_dict().items() if not name.endswith("num_batches_tracked"))


def _put(module: nn.Module, network: Network, weights: Weights, place: str) -> None:
    check_weights(network, weights, place)
    with torch.no_grad():
        for name, value in _named(module):
            value.copy_(torch.from_numpy(np.ascontiguousarray(weights[name])))


def choose(device: str | None, precision: str | None) -> tuple[str, Precision]:
    """The device and precision where the user left them open: the first GPU if there is one, as the chapter's try_gpu,
    and bfloat16 where the processor computes in it. Raises MlpconvError for what this machine does not have,
    RecipeError for a precision that is none."""
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
        has = torch.cuda.is_bf16_supported(including_emulation=False) if "cuda" in device else (
            device == "cpu" and hardware.has_bfloat16()
        )  # fmt: skip
        precision = "bfloat16" if has else "float32"
    return device, cast(Precision, precision)


def describe_device(device: str) -> str:
    """A device as one reads it: "cuda:0 (NVIDIA H100)", "cpu (AMD EPYC 9R14, 2 threads)"."""
    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({hardware.processor()}, {torch.get_num_threads()} threads)" if device == "cpu" else device


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
) -> "TorchModel":
    """A network that can be trained and evaluated on ``device``."""
    return TorchModel(network, preprocess, optimizer, precision, device)


class TorchModel:
    """A Model (mlpconv.backends.base) in PyTorch: float32 weights, channels last, mixed precision if asked for."""

    native: nn.Sequential

    def __init__(
        self, network: Network, preprocess: Preprocess, optimizer: Optimizer | None, precision: Precision, device: str
    ) -> None:
        self.network, self.preprocess, self.precision = network, preprocess, precision
        self.device = torch.device(device)
        self.classes = num_classes(network)
        self._layout = _layout(network, self.device)
        with self.device:
            self.native = cast(nn.Sequential, native(network))
        for parameter in self.native.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=self._layout)
        self._steps = Steps(self.native, optimizer) if optimizer else None
        self._generator = torch.Generator(self.device)
        self._plans: dict[tuple[Size, Size, bool], tuple[Fold | None, list[Operation]]] = {}
        self._images = self._labels = torch.empty(0)
        self._sums = torch.zeros(4, dtype=torch.float64, device=self.device)  # loss, correct, examples, skipped
        self._mean = torch.tensor(preprocess.mean, device=self.device).view(1, -1, 1, 1)
        self._std = torch.tensor(preprocess.std, device=self.device).view(1, -1, 1, 1)

    def weights(self) -> dict[str, Floats]:
        """The canonical weights, copied."""
        return {name: value.detach().float().cpu().contiguous().numpy().copy() for name, value in _named(self.native)}

    def load_weights(self, weights: Weights) -> None:
        """Take canonical weights. Raises WeightsError with the difference where they are another network's."""
        _put(self.native, self.network, weights, "load_weights")

    def attach(self, images: Images, labels: Labels) -> None:
        """Take the training images to the device, as they are; many of a mapped file stay in it."""
        device = self.device if map_of(images) is None or self._has_room(images.nbytes) else torch.device("cpu")
        self._images = _tensor(images).to(device)
        self._labels = _tensor(labels).to(self.device)

    def train_step(self, plan: StepPlan) -> None:
        """Carry out one step; nothing here waits for the device."""
        assert self._steps is not None, "a model without an optimizer cannot be trained"
        self.native.train()
        chosen = torch.from_numpy(plan.indices)
        indices = chosen.to(self.device, non_blocking=True)
        labels = self._labels[indices]
        pixels = augment(self._gather(chosen, indices).permute(0, 3, 1, 2), plan, self._mean)
        partner = None if plan.partner is None else torch.from_numpy(plan.partner).to(self.device, non_blocking=True)
        if partner is not None:
            pixels = pixels.float()
            pixels = plan.mix * pixels + (1 - plan.mix) * pixels[partner]
        statistics = {name: value.clone() for name, value in _named(self.native) if is_statistic(name)}
        self._generator.manual_seed(plan.dropout_seed)
        logits = self._forward(pixels, plan.image_size).float()
        smoothing = plan.label_smoothing
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        if partner is not None:
            other = F.cross_entropy(logits, labels[partner], label_smoothing=smoothing)
            loss = plan.mix * loss + (1 - plan.mix) * other
        loss.backward()
        finite = self._steps.update(loss.detach(), plan.learning_rate)
        with torch.no_grad():
            for name, value in _named(self.native):
                if name in statistics:
                    value.copy_(torch.where(finite, value, statistics[name]))
            correct = (logits.argmax(1) == labels).sum()
            sums = torch.stack([loss.detach() * len(labels), correct, torch.full_like(correct, len(labels))]).double()
            self._sums[:3] += torch.where(finite, sums, 0.0)
            self._sums[3] += ~finite

    def _has_room(self, size: int) -> bool:
        """Whether the device has twice this many bytes free; the processor's memory is left to the system."""
        return self.device.type == "cuda" and torch.cuda.mem_get_info(self.device)[0] > 2 * size

    def _gather(self, chosen: Tensor, indices: Tensor) -> Tensor:
        """The images of a batch on the device. chosen, indices: the same, on the processor and on the device."""
        if self._images.device == self.device:
            return self._images.index_select(0, indices)
        batch = self._images.index_select(0, chosen)
        batch = batch.pin_memory() if self.device.type == "cuda" else batch
        return batch.to(self.device, non_blocking=True)

    def read_metrics(self, *, reset: bool = False) -> Metrics:
        """The sums since the last reset: the only call of training that waits for the device."""
        loss, correct, examples, skipped = self._sums.tolist()
        if reset:
            self._sums.zero_()
        return Metrics(loss, int(correct), int(examples), int(skipped))

    def logits(self, images: Images) -> Floats:
        """float32 (N, classes) for uint8 (N, H, W, C), in evaluation mode, in batches."""
        if not len(images):
            return np.empty((0, self.classes), np.float32)
        found = self._evaluated(images, lambda pixels: self._forward(pixels, self.preprocess.size))
        release(images)
        return found

    def class_maps(self, images: Images, size: tuple[int, int] | None = None) -> Floats:
        """float32 (N, classes, h, w): what the last ReLU and the average pooling make the logits of; see Model."""
        if size is None:
            return self._evaluated(images, lambda pixels: self._forward(pixels, self.preprocess.size, maps=True))
        batch = min(max(EVALUATION_BATCH * self.preprocess.size**2 // (size[0] * size[1]), 1), EVALUATION_BATCH)
        return self._evaluated(images, lambda pixels: self._resized(pixels, size, maps=True), batch)

    def outputs(self, images: Images, layer: str) -> Floats:
        """float32 (N, C, h, w): the output of one layer, in evaluation mode; see Model."""
        names = [name for name, _ in self.network.walk()]
        modules: list[Operation] = [self.native.get_submodule(name) for name in names[: names.index(layer) + 1]]
        own = self.preprocess.size
        return self._evaluated(
            images, lambda pixels: self._carry_out(modules, self._input(fit(pixels, self.preprocess.fit), (own, own)))
        )

    def _evaluated(self, images: Images, forward: Callable[[Tensor], Tensor], batch: int = EVALUATION_BATCH) -> Floats:
        """What ``forward`` gives for the pixels (B, C, H, W) of all images, at least one, in evaluation mode."""
        starts = range(0, len(images), batch)
        parts = [self._one_batch(images[start : start + batch], forward).cpu() for start in starts]
        return torch.cat(parts).contiguous().numpy()

    def evaluated(self, images: Images) -> Tensor:
        """``logits`` of one batch, as a tensor on the device."""
        return self._one_batch(images, lambda pixels: self._forward(pixels, self.preprocess.size))

    def _one_batch(self, images: Images, forward: Callable[[Tensor], Tensor]) -> Tensor:
        self.native.eval()
        with torch.inference_mode(), self._autocast():
            return forward(_tensor(images).to(self.device).permute(0, 3, 1, 2)).float()

    def training_state(self) -> State:
        """Weights, optimiser state and metric sums: all that a step changes."""
        assert self._steps is not None
        state: State = {f"weights/{name}": value for name, value in self.weights().items()}
        state |= {f"optimizer/{name}": value for name, value in self._steps.state().items()}
        return state | {"metrics": self._sums.cpu().numpy().copy()}

    def load_training_state(self, state: State) -> None:
        """Go on from ``training_state``. Raises WeightsError where it is another network's."""
        assert self._steps is not None
        self.load_weights({name[8:]: value for name, value in state.items() if name.startswith("weights/")})
        self._steps.load({name[10:]: value for name, value in state.items() if name.startswith("optimizer/")})
        if state.get("metrics", np.empty(0)).shape != self._sums.shape:
            raise WeightsError("load_training_state: the metric sums are missing")
        self._sums.copy_(torch.from_numpy(state["metrics"]))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _forward(self, pixels: Tensor, size: int, maps: bool = False) -> Tensor:
        """Logits, or class maps, for (B, C, H, W) pixel values 0..255 at their own size."""
        return self._resized(fit(pixels, self.preprocess.fit), (size, size), maps)

    def _resized(self, pixels: Tensor, size: Size, maps: bool) -> Tensor:
        """The same of images that are brought to ``size`` (height, width) as they are."""
        fold, steps = self._plan((int(pixels.shape[2]), int(pixels.shape[3])), size, maps)
        with self._autocast():
            return self._carry_out(steps, fold.patches(pixels) if fold else self._input(pixels, size))

    def _input(self, pixels: Tensor, size: Size) -> Tensor:
        x = (pixels.float() / 255 - self._mean) / self._std
        if x.shape[2:] != size:
            shrinks = size[0] < x.shape[2] or size[1] < x.shape[3]
            x = F.interpolate(x, size, mode="bilinear", antialias=self.preprocess.antialias and shrinks)
        return x.contiguous(memory_format=self._layout)

    def _plan(self, source: Size, size: Size, maps: bool) -> tuple[Fold | None, list[Operation]]:
        """What to carry out on images of ``source`` (height, width) enlarged to ``size``, made once."""
        key = source, size, maps
        if key not in self._plans:
            network = until_class_maps(self.network)[0] if maps else self.network
            shape = (network.input_channels, *size)
            fold = None
            if size[0] == size[1] and can_fold(network, source, size[0]):
                name, layer = next(network.walk())
                assert isinstance(layer, Conv2d)
                module = cast(nn.Conv2d, self.native.get_submodule(name))
                outputs = computed_extents(network, shape, folded=True)[name].size
                fold = Fold(layer, module, source, size[0], self.preprocess, outputs)
            folded = fold.parameters if fold else None
            self._plans[key] = fold, operations(network, self.native, shape, self._generator, folded)
        return self._plans[key]

    def _carry_out(self, steps: list[Operation], x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x


def _layout(network: Network, device: torch.device) -> torch.memory_format:
    """Channels last, which is fastest, where it is safe."""
    for row in layer_shapes(network):
        if isinstance(row.layer, Conv2d) and device.type == "cpu" and row.input_shape[0] < 16:
            kernel, stride = pair(row.layer.kernel_size), pair(row.layer.stride)
            # Its gradient in channels last writes past its memory: oneDNN issue 6035.
            if kernel == (1, 1) and stride != (1, 1):
                return torch.contiguous_format
    return torch.channels_last


def _tensor(array: np.ndarray) -> Tensor:
    """An array as a tensor, without a copy where PyTorch can: it takes no read-only and no reversed one."""
    direct = all(step >= 0 for step in array.strides) and (array.flags.writeable or map_of(array) is not None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # and nobody writes to it
        return torch.from_numpy(array if direct else array.copy())
