"""A training step in NumPy: the batch that a step plan describes, the loss, and the update of a parameter."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpconv.arch.network import Preprocess
from mlpconv.backends.base import Floats, Images, Labels, Optimizer, StepPlan
from mlpconv.backends.reference.images import augment
from mlpconv.backends.reference.images import preprocess as _preprocess
from mlpconv.backends.weights import decays

Array = npt.NDArray[Any]


def carry_out(
    plan: StepPlan, images: Images, labels: Labels, preprocess: Preprocess, num_classes: int
) -> tuple[Floats, Floats]:
    """The batch that a step plan describes: x float32 (B, C, S, S) and targets float32 (B, num_classes).

    images: all training images, uint8 (N, H, W, C); labels: int64 (N,). The order is StepPlan's.
    """
    x = _preprocess(augment(plan, images[plan.indices], preprocess), preprocess, plan.image_size)
    if plan.partner is not None:
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


def update(
    optimizer: Optimizer, name: str, p: Array, g: Array, state: Mapping[str, Array], lr: float
) -> tuple[Array, dict[str, Array]]:
    """A parameter after one step down its gradient, and what the optimiser remembers for it: Optimizer's formulas.

    name: the parameter's canonical name. state: empty before the first step; then "velocity" (SGD with momentum), or
    "mean", "square" and "step" (Adam, AdamW).
    """
    decay = optimizer.weight_decay if decays(name, p.shape) else 0.0
    if optimizer.name == "sgd":
        g = g + decay * p
        if not optimizer.momentum:
            return p - lr * g, {}
        velocity = optimizer.momentum * state.get("velocity", np.zeros_like(p)) + g
        direction = g + optimizer.momentum * velocity if optimizer.nesterov else velocity
        return p - lr * direction, {"velocity": velocity}
    p = p - lr * decay * p
    step = int(state.get("step", 0)) + 1
    mean = optimizer.beta1 * state.get("mean", np.zeros_like(p)) + (1 - optimizer.beta1) * g
    square = optimizer.beta2 * state.get("square", np.zeros_like(p)) + (1 - optimizer.beta2) * g * g
    unbiased_mean = mean / (1 - optimizer.beta1**step)
    unbiased_square = square / (1 - optimizer.beta2**step)
    p = p - lr * unbiased_mean / (np.sqrt(unbiased_square) + optimizer.eps)
    return p, {"mean": mean, "square": square, "step": np.array(step)}
