"""One training step in Keras as a pure function, the same for TensorFlow and JAX, and what compiles it.

Keras' own training loop and optimisers are not used, since they compute other formulas (Keras' momentum holds the
learning rate, its running variance is fed with a biased one).
"""

from typing import Any

import numpy as np
from keras import config, ops  # pyright: ignore[reportAttributeAccessIssue]

from mlpconv.backends.base import Optimizer
from mlpconv.backends.weights import decays

Correction = tuple[float, int]
"""Of a running variance: its momentum, and the positions of its map."""

if config.backend() == "tensorflow":
    import tensorflow as tf  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

    compiled = tf.function

    def value_and_grad(function: Any, parameters: list[Any]) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parameters)
            value, rest = function(parameters)
        return (value, rest), tape.gradient(value, parameters)
else:
    import jax  # pyright: ignore[reportMissingImports]

    compiled = jax.jit

    def value_and_grad(function: Any, parameters: list[Any]) -> Any:
        return jax.value_and_grad(function, has_aux=True)(parameters)


def step(
    model: Any,
    optimizer: Optimizer,
    names: list[str],
    corrections: list[Correction | None],
    state: Any,
    batch: Any,
    lr: Any,
) -> Any:
    """The state after a batch; where the loss or a gradient is not finite, the same state with one more skipped.

    names: canonical, of the trainable variables. corrections: one for each other variable. state: trainable values,
    other values, the optimiser's slots, steps done, sums of loss, hits and skipped. batch: x, targets, labels.
    """
    parameters, rest, slots, steps, (total, correct, skipped) = state
    x, targets, labels = batch

    def objective(parameters: list[Any]) -> Any:
        logits, after = model.stateless_call(parameters, rest, x, training=True)
        logits = ops.cast(logits, "float32")
        return -ops.mean(ops.sum(targets * ops.log_softmax(logits), axis=1)), (logits, after)

    (loss, (logits, after)), gradients = value_and_grad(objective, parameters)
    finite = ops.isfinite(loss)
    for gradient in gradients:
        finite = ops.logical_and(finite, ops.all(ops.isfinite(gradient)))
    after = [
        value if correction is None else _unbiased(old, value, x.shape[0], *correction)
        for old, value, correction in zip(rest, after, corrections, strict=True)
    ]
    updated = [
        update(optimizer, name, p, g, own, steps + 1, lr)
        for name, p, g, own in zip(names, parameters, gradients, slots, strict=True)
    ]
    hits = ops.sum(ops.cast(ops.cast(ops.argmax(logits, axis=1), "int32") == labels, "int32"))

    def kept(new: Any, old: Any) -> Any:
        return ops.where(finite, new, old)

    return (
        [kept(p, old) for (p, _), old in zip(updated, parameters, strict=True)],
        [kept(value, old) for value, old in zip(after, rest, strict=True)],
        [{key: kept(new[key], old[key]) for key in old} for (_, new), old in zip(updated, slots, strict=True)],
        kept(steps + 1, steps),
        (
            kept(total + loss * x.shape[0], total),
            kept(correct + hits, correct),
            kept(skipped, skipped + 1),
        ),
    )


def _unbiased(old: Any, new: Any, batch: int, momentum: float, positions: int) -> Any:
    """A running variance fed with the unbiased variance of the batch, as in PyTorch; Keras feeds the biased one."""
    count = batch * positions
    kept = (1 - momentum) * old
    return kept + (new - kept) * (count / max(1, count - 1))


def update(
    optimizer: Optimizer, name: str, p: Any, g: Any, state: dict[str, Any], step: Any, lr: Any
) -> tuple[Any, dict[str, Any]]:
    """``mlpconv.backends.numpy.update`` on tensors; ``step`` is 1 at the first."""
    decay = optimizer.weight_decay if decays(name, p.shape) else 0.0
    if optimizer.name == "sgd":
        g = g + decay * p
        if not optimizer.momentum:
            return p - lr * g, {}
        velocity = optimizer.momentum * state["velocity"] + g
        return p - lr * (g + optimizer.momentum * velocity if optimizer.nesterov else velocity), {"velocity": velocity}
    p = p - lr * decay * p
    mean = optimizer.beta1 * state["mean"] + (1 - optimizer.beta1) * g
    square = optimizer.beta2 * state["square"] + (1 - optimizer.beta2) * g * g
    root = ops.sqrt(square / _gathered(optimizer.beta2, step))
    return p - lr * mean / _gathered(optimizer.beta1, step) / (root + optimizer.eps), {"mean": mean, "square": square}


def _gathered(beta: float, step: Any) -> Any:
    """1 − βᵗ; in float32 the plain formula loses four digits where β is 0.999."""
    return -ops.expm1(ops.cast(step, "float32") * float(np.log(beta))) if beta else 1.0


def fresh(optimizer: Optimizer | None, shape: tuple[int, ...]) -> dict[str, Any]:
    """What an optimiser remembers for a parameter before the first step."""
    kept = {"momentum": ("velocity",), "adam": ("mean", "square"), "adamw": ("mean", "square")}
    return {key: ops.zeros(shape, "float32") for key in kept.get(optimizer.kind if optimizer else "", ())}
