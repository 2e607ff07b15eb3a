"""A training step in NumPy: the batch that a step plan describes, the loss, and the update of the parameters."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Floats, Images, Labels, StepPlan
from mlpconv.backends.reference.images import augment
from mlpconv.backends.reference.images import preprocess as _preprocess
from mlpconv.optimizers import Optimizer, Step

Array = npt.NDArray[Any]


def carry_out(
    plan: StepPlan, images: Images, labels: Labels, preprocess: Preprocess, num_classes: int
) -> tuple[Floats, Floats]:
    """The batch that a step plan describes, in the order of ``StepPlan``.

    Args:
        plan: The plan.
        images: All training images, uint8 (N, H, W, C).
        labels: Their labels, int64 (N,).
        preprocess: The preprocessing.
        num_classes: The number of classes.

    Returns:
        The network's input, float32 (B, C, S, S), and the targets, float32 (B, num_classes).
    """
    x = _preprocess(augment(plan, images[plan.indices], preprocess), preprocess, plan.image_size)
    if plan.partner is not None and plan.cut is None:
        x = plan.mix * x + (1 - plan.mix) * x[plan.partner]
    return x.astype(np.float32), targets(plan, labels[plan.indices], num_classes)


def targets(plan: StepPlan, labels: Labels, num_classes: int) -> Floats:
    """The targets, float32 (B, num_classes), of the batch's labels (B,)."""
    rows = np.eye(num_classes, dtype=np.float32)[labels]
    rows = (1 - plan.label_smoothing) * rows + plan.label_smoothing / num_classes
    if plan.partner is not None:
        rows = plan.mix * rows + (1 - plan.mix) * rows[plan.partner]
    return rows.astype(np.float32)


def loss(logits: Array, targets: Array) -> float:
    """The mean cross entropy, in nats, of logits (B, K) against targets (B, K) whose rows sum to 1."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-(targets * log_probabilities).sum(axis=1).mean())


@dataclass(frozen=True)
class OptimizerState:
    """What an optimizer keeps between two updates."""

    step: int = 0
    """The number of updates so far."""
    arrays: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    """By the parameter's name, then by ``Optimizer.state_names``; zeros before the first update."""


def update(
    optimizer: Optimizer,
    parameters: Mapping[str, Array],
    gradients: Mapping[str, Array],
    state: OptimizerState,
    learning_rate: float,
    depthwise: Collection[str] = (),
) -> tuple[dict[str, Array], OptimizerState]:
    """All parameters and the optimizer's state after one step along the gradients.

    Args:
        optimizer: The optimizer.
        parameters: By name.
        gradients: By the same names.
        state: ``OptimizerState()`` before the first step.
        learning_rate: The learning rate.
        depthwise: The names of kernels of depthwise convolutions.
    """
    rule, count = optimizer.rule, state.step + 1
    # As Python numbers, which do not change the type of the arrays.
    step = Step(learning_rate, tuple(map(float, rule.shared(optimizer, count, np))))
    found, arrays = {}, {}
    for name, p in parameters.items():
        kept = state.arrays.get(name) or {part: np.zeros_like(p) for part in optimizer.state_names}
        each = step._replace(one_row=name in depthwise)
        found[name], arrays[name] = rule.update(optimizer, p, gradients[name], kept, each, np)
    return found, OptimizerState(count, arrays)
