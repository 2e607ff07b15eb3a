"""A model whose training steps several processes share, by PyTorch's DistributedDataParallel.

Each process computes its part of the batch. A step depends on the whole batch: on its mean loss, its
gradients, the statistics of batch normalization, the dropout masks. So the number of processes changes results only by
rounding.
"""

import warnings
from collections.abc import Callable
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Floats, Images, Labels, Precision, State, StepPlan, Weights
from mlpconv.backends.common.batch_parts import BatchPart, bounds, part_of
from mlpconv.backends.pytorch.model import EVALUATION_BATCH, Size, TorchModel
from mlpconv.backends.pytorch.processes import ProcessGroup
from mlpconv.optimizers import Optimizer


class ParallelModel(TorchModel):
    """A model in a process that follows the first one: see ``TorchModel``."""

    def __init__(
        self,
        group: ProcessGroup,
        network: Network,
        preprocess: Preprocess,
        optimizer: Optimizer,
        precision: Precision,
        device: str,
    ) -> None:
        self.group = group
        self._announce("build")
        super().__init__(network, preprocess, optimizer, precision, device)
        _share_statistics(self.native, self._batch_part)
        # Where an axis has one entry, its stride may be anything.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        with group.connected():
            self._parallel = DistributedDataParallel(_Forward(self))

    def _announce(self, *command: object) -> None:
        """Tell the processes that follow what this one does; they tell nobody."""

    def train_step(self, plan: StepPlan) -> None:
        """Compute this process's part of a step, and update the weights as all processes do."""
        with self.group.connected():
            super().train_step(plan)

    def _part(self, plan: StepPlan) -> StepPlan:
        place, part = self.group.place, self._batch_part
        step, now = part_of(plan, place.rank, place.size)
        part.before, part.total, part.counted = now.before, now.total, now.counted
        return step

    def _training_logits(self, pixels: Tensor, size: Size) -> Tensor:
        return self._parallel(pixels, size)

    def _backward(self, loss: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
        total = self._batch_part.total
        assert total is not None
        if not self._batch_part.counted:
            sums = torch.zeros_like(sums)
        images = sums[2].item() if sums.device.type == "cpu" else sums[2]
        work = dist.all_reduce(sums, async_op=True)
        assert work is not None
        # DistributedDataParallel averages the gradients over the processes, whatever their numbers of images.
        (loss * (images * self.group.place.size / total)).backward()
        work.wait()
        return sums[0] / total, sums


class LeadingModel(ParallelModel):
    """The model in the first process, which announces to the others what it does."""

    def _announce(self, *command: object) -> None:
        self.group.tell(*command)

    def attach(self, images: Images, labels: Labels) -> None:
        """Set the training images: the first ones of the run's, in every process."""
        self._announce("attach", len(images))
        super().attach(images, labels)

    def train_step(self, plan: StepPlan) -> None:
        """Perform one step in all processes."""
        self._announce("train_step", plan)
        super().train_step(plan)

    def load_weights(self, weights: Weights) -> None:
        """Set the canonical weights in all processes."""
        super().load_weights(weights)
        self._announce("load_weights", dict(weights))

    def load_training_state(self, state: State) -> None:
        """Continue from ``training_state()`` in all processes."""
        self._announce("load_training_state", state)
        super().load_training_state(state)

    def _evaluated(self, images: Images, forward: Callable[[Tensor], Tensor], batch: int = EVALUATION_BATCH) -> Floats:
        # Meanwhile, the other processes on this machine wait.
        threads = torch.get_num_threads()
        torch.set_num_threads(threads * self.group.place.here)
        try:
            return super()._evaluated(images, forward, batch)
        finally:
            torch.set_num_threads(threads)


class _Forward(nn.Module):
    """The training step's forward pass, as DistributedDataParallel takes it."""

    def __init__(self, model: ParallelModel) -> None:
        super().__init__()
        # Not the module itself: its buffers are the same in all processes, and would be sent in each step.
        self.weights = nn.ParameterList(model.native.parameters())
        self._logits = lambda pixels, size: TorchModel._training_logits(model, pixels, size)

    def forward(self, pixels: Tensor, size: Size) -> Tensor:
        return self._logits(pixels, size)


class _Sum(torch.autograd.Function):
    """The sum over all processes."""

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _Sum.forward(ctx, gradient)


class _SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalization with the statistics of the whole batch, also on a processor, where SyncBatchNorm has none."""

    part: BatchPart

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        total, world = self.part.total, dist.get_world_size()
        assert total is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        x = input.float()
        var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        own = torch.zeros(world, 2, len(mean), device=x.device)
        own[dist.get_rank()] = torch.stack([mean, var])
        means, variances = cast(Tensor, _Sum.apply(own)).unbind(1)
        images = [end - first for first, end in (bounds(total, rank, world) for rank in range(world))]
        shares = torch.tensor(images, device=x.device).div(total)[:, None]
        mean = (shares * means).sum(0)
        var = (shares * (variances + (means - mean) ** 2)).sum(0)
        with torch.no_grad():
            values = total * x.shape[2] * x.shape[3]
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (values / max(values - 1, 1)), self.momentum)
        scale = self.weight * torch.rsqrt(var + self.eps)
        return (x * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]).to(input.dtype)


def _share_statistics(module: nn.Module, part: BatchPart) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.__class__ = _SharedBatchNorm
            cast(_SharedBatchNorm, layer).part = part
