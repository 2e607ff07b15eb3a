"""The fast training step in PyTorch.

Images stay uint8 at their own size, on the model's device. Augmentation, normalization and resizing are part of the
step, and are folded into the first convolution where that is exact (mlpconv.backends.common.resize_folding).
"""

import warnings
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlpconv.arch.class_maps import until_class_maps
from mlpconv.arch.layers import Conv2d
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.arch.shapes import num_classes
from mlpconv.backends.base import Floats, Images, Labels, Metrics, Precision, State, StepPlan, Weights
from mlpconv.backends.common.batch_parts import BatchPart
from mlpconv.backends.common.required_outputs import required_outputs
from mlpconv.backends.common.resize_folding import can_fold
from mlpconv.backends.pytorch.augmentation import augment, fit
from mlpconv.backends.pytorch.folding import Fold
from mlpconv.backends.pytorch.forward import Operation, operations
from mlpconv.backends.pytorch.network import named, native, put
from mlpconv.backends.pytorch.optimizer import create_update
from mlpconv.backends.training_state import SLASHED, parse_key
from mlpconv.backends.weights import is_statistic
from mlpconv.data.memory_mapped import map_of, release
from mlpconv.errors import WeightsError
from mlpconv.optimizers import Optimizer

Size = tuple[int, int]
EVALUATION_BATCH = 256
"""Images that prediction computes at once."""


class TorchModel:
    """A network in PyTorch: see ``mlpconv.backends.base.Model``. Weights are float32, and channels last."""

    native: nn.Sequential

    def __init__(
        self, network: Network, preprocess: Preprocess, optimizer: Optimizer | None, precision: Precision, device: str
    ) -> None:
        self.network, self.preprocess, self.precision = network, preprocess, precision
        self.device = torch.device(device)
        self.classes = num_classes(network)
        with self.device:
            self.native = cast(nn.Sequential, native(network))
        for parameter in self.native.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._update = create_update(self.native, optimizer, precision) if optimizer else None
        self._generator = torch.Generator(self.device)
        self._batch_part = BatchPart()
        self._plans: dict[tuple[Size, Size, bool], tuple[Fold | None, list[Operation]]] = {}
        self._images = self._labels = torch.empty(0)
        self._sums = torch.zeros(4, dtype=torch.float64, device=self.device)  # loss, correct, examples, skipped
        self._mean = torch.tensor(preprocess.mean, device=self.device).view(1, -1, 1, 1)
        self._std = torch.tensor(preprocess.std, device=self.device).view(1, -1, 1, 1)

    def weights(self) -> dict[str, Floats]:
        """The canonical weights, copied."""
        return {name: value.detach().float().cpu().contiguous().numpy().copy() for name, value in named(self.native)}

    def load_weights(self, weights: Weights) -> None:
        """Set the canonical weights. Raises WeightsError where they belong to another network."""
        put(self.native, self.network, weights, "load_weights")

    def attach(self, images: Images, labels: Labels) -> None:
        """Copy the training images to the device; memory-mapped images that do not fit there stay in their file."""
        device = self.device if map_of(images) is None or self._fits(images.nbytes) else torch.device("cpu")
        self._images = _tensor(images).to(device)
        self._labels = _tensor(labels).to(self.device)

    def train_step(self, plan: StepPlan) -> None:
        """Perform one step without waiting for the device."""
        assert self._update is not None, "a model without an optimizer cannot be trained"
        self.native.train()
        plan = self._part(plan)
        chosen = torch.from_numpy(plan.indices)
        indices = chosen.to(self.device, non_blocking=True)
        labels = self._labels[indices]
        pixels = augment(self._gather(chosen, indices).permute(0, 3, 1, 2), plan, self._mean)
        pixels = fit(pixels, self.preprocess.fit)  # before images are mixed, whose border has another color
        others = None
        if plan.partner is not None:
            partner = torch.from_numpy(plan.partner).to(self.device, non_blocking=True)
            if plan.cut is None:
                pixels = pixels.float()
                # In a part of a batch, images to mix with follow those of the part.
                pixels = plan.mix * pixels[: len(partner)] + (1 - plan.mix) * pixels[partner]
            labels, others = labels[: len(partner)], labels[partner]
        statistics = {name: value.clone() for name, value in named(self.native) if is_statistic(name)}
        self._generator.manual_seed(plan.dropout_seed)
        logits = self._training_logits(pixels, (plan.image_size, plan.image_size)).float()
        smoothing = plan.label_smoothing
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        if others is not None:
            other = F.cross_entropy(logits, others, label_smoothing=smoothing)
            loss = plan.mix * loss + (1 - plan.mix) * other
        correct = (logits.detach().argmax(1) == labels).sum()
        sums = torch.stack([loss.detach() * len(labels), correct, torch.full_like(correct, len(labels))]).double()
        mean, sums = self._backward(loss, sums)
        finite = self._update.update(mean, plan.learning_rate)
        with torch.no_grad():
            for name, value in named(self.native):
                if name in statistics:
                    value.copy_(torch.where(finite, value, statistics[name]))
            self._sums[:3] += torch.where(finite, sums, 0.0)
            self._sums[3] += ~finite

    def _part(self, plan: StepPlan) -> StepPlan:
        """The part of a step that this process computes: here, all of it."""
        return plan

    def _training_logits(self, pixels: Tensor, size: Size) -> Tensor:
        """The logits of the part, for pixel values that are resized to ``size``."""
        return self._resized(pixels, size, maps=False)

    def _backward(self, loss: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the gradients of the whole batch.

        Args:
            loss: The mean loss of the part.
            sums: Loss, correct images and images of the part, float64 (3,).

        Returns:
            The mean loss of the whole batch, and its sums.
        """
        loss.backward()
        return loss.detach(), sums

    def _fits(self, size: int) -> bool:
        """Whether a GPU has twice this many bytes free. In the processor's memory, the system caches the file."""
        return self.device.type == "cuda" and torch.cuda.mem_get_info(self.device)[0] > 2 * size

    def _gather(self, chosen: Tensor, indices: Tensor) -> Tensor:
        """The images of a batch, on the device.

        chosen, indices: their positions, on the processor and on the device.
        """
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
        return self._evaluated(images, lambda pixels: self._forward(pixels, self.preprocess.size))

    def class_maps(self, images: Images, size: tuple[int, int] | None = None) -> Floats:
        """The class maps, float32 (N, classes, h, w): see ``Model``."""
        if size is None:
            return self._evaluated(images, lambda pixels: self._forward(pixels, self.preprocess.size, maps=True))
        batch = min(max(EVALUATION_BATCH * self.preprocess.size**2 // (size[0] * size[1]), 1), EVALUATION_BATCH)
        return self._evaluated(images, lambda pixels: self._resized(pixels, size, maps=True), batch)

    def outputs(self, images: Images, layer: str) -> Floats:
        """The output of a layer, float32 (N, C, h, w), in evaluation mode: see ``Model``."""
        names = [name for name, _ in self.network.walk()]
        modules: list[Operation] = [self.native.get_submodule(name) for name in names[: names.index(layer) + 1]]
        size = (self.preprocess.size, self.preprocess.size)
        return self._evaluated(
            images, lambda pixels: self._carry_out(modules, self._input(fit(pixels, self.preprocess.fit), size))
        )

    def _evaluated(self, images: Images, forward: Callable[[Tensor], Tensor], batch: int = EVALUATION_BATCH) -> Floats:
        """The results of ``forward`` for the pixels (B, C, H, W) of all images, at least one, in evaluation mode."""
        parts = []
        for start in range(0, len(images), batch):
            parts.append(self._one_batch(images[start : start + batch], forward).cpu())
            release(images)
        return torch.cat(parts).contiguous().numpy()

    def evaluated(self, images: Images) -> Tensor:
        """``logits`` of one batch, as a tensor on the device."""
        return self._one_batch(images, lambda pixels: self._forward(pixels, self.preprocess.size))

    def _one_batch(self, images: Images, forward: Callable[[Tensor], Tensor]) -> Tensor:
        if self.native.training:
            self.native.eval()
        with torch.inference_mode(), self._autocast():
            return forward(_tensor(images).to(self.device).permute(0, 3, 1, 2)).float()

    def training_state(self) -> State:
        """Copies of everything that a step changes: weights, optimizer state and metric sums."""
        assert self._update is not None
        state: State = {SLASHED.weight(name): value for name, value in self.weights().items()}
        return state | self._update.state() | {SLASHED.metrics(): self._sums.cpu().numpy().copy()}

    def load_training_state(self, state: State) -> None:
        """Continue from ``training_state()``. Raises WeightsError where another network or optimizer made it."""
        assert self._update is not None
        keys = {key: parse_key(key) for key in state}
        self.load_weights({key.name: state[stored] for stored, key in keys.items() if key.role == "weight"})
        self._update.load({stored: state[stored] for stored, key in keys.items() if key.role == "optimizer"})
        sums = state.get(SLASHED.metrics(), np.empty(0))
        if sums.shape != self._sums.shape:
            raise WeightsError("load_training_state: the metric sums are missing")
        self._sums.copy_(torch.from_numpy(sums))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _forward(self, pixels: Tensor, size: int, maps: bool = False) -> Tensor:
        """Logits, or class maps, for (B, C, H, W) pixel values 0..255 at their own size."""
        return self._resized(fit(pixels, self.preprocess.fit), (size, size), maps)

    def _resized(self, pixels: Tensor, size: Size, maps: bool) -> Tensor:
        """Logits, or class maps, for pixel values that are resized to ``size`` (height, width)."""
        fold, steps = self._plan((int(pixels.shape[2]), int(pixels.shape[3])), size, maps)
        with self._autocast():
            return self._carry_out(steps, fold.patches(pixels) if fold else self._input(pixels, size))

    def _input(self, pixels: Tensor, size: Size) -> Tensor:
        x = (pixels.float() / 255 - self._mean) / self._std
        if x.shape[2:] != size:
            shrinks = size[0] < x.shape[2] or size[1] < x.shape[3]
            x = F.interpolate(x, size, mode="bilinear", antialias=self.preprocess.antialias and shrinks)
        return x.contiguous(memory_format=torch.channels_last)

    def _plan(self, source: Size, size: Size, maps: bool) -> tuple[Fold | None, list[Operation]]:
        """The fold, if any, and the operations for images of ``source`` (height, width) resized to ``size``; cached."""
        key = source, size, maps
        if key not in self._plans:
            network = until_class_maps(self.network)[0] if maps else self.network
            shape = (network.input_channels, *size)
            fold = None
            if size[0] == size[1] and can_fold(network, source, size[0]):
                name, layer = next(network.walk())
                assert isinstance(layer, Conv2d)
                module = cast(nn.Conv2d, self.native.get_submodule(name))
                outputs = required_outputs(network, shape, folded=True)[name].size
                fold = Fold(layer, module, source, size[0], self.preprocess, outputs)
            folded = fold.parameters if fold else None
            self._plans[key] = fold, operations(network, self.native, shape, self._generator, folded, self._batch_part)
        return self._plans[key]

    def _carry_out(self, steps: list[Operation], x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x


def _tensor(array: np.ndarray) -> Tensor:
    """An array as a tensor, without a copy unless it is read-only or has negative strides."""
    direct = all(step >= 0 for step in array.strides) and (array.flags.writeable or map_of(array) is not None)
    with warnings.catch_warnings():
        # Nothing writes to it.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array if direct else array.copy())
