"""The functions that Keras compiles, the same for TensorFlow and JAX: the network's outputs, and one training step.

They are pure functions of a state. Keras' own training loop and optimizers are not used, since they compute other
formulas: Keras' momentum includes the learning rate, and its running variance averages the biased variances of the
batches.
"""

from math import prod
from typing import Any, NamedTuple

import numpy as np
from keras import config, ops  # pyright: ignore[reportAttributeAccessIssue]

from mlpconv.arch.layers import BatchNorm2d
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.arch.shapes import layer_shapes
from mlpconv.backends.common import compiled as common
from mlpconv.backends.keras import network as keras_network
from mlpconv.optimizers import Optimizer, Step

if config.backend() == "tensorflow":
    import tensorflow as tf  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

    def compiled(function: Any, donated: int | None = None) -> Any:
        return tf.function(function)

    def value_and_grad(function: Any, parameters: dict[str, Any]) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parameters)
            value, rest = function(parameters)
        return (value, rest), tape.gradient(value, parameters)
else:
    import jax  # pyright: ignore[reportMissingImports]

    def compiled(function: Any, donated: int | None = None) -> Any:
        return jax.jit(function, donate_argnums=() if donated is None else donated)

    def value_and_grad(function: Any, parameters: dict[str, Any]) -> Any:
        return jax.value_and_grad(function, has_aux=True)(parameters)


class State(NamedTuple):
    """Everything that a step changes, as tensors by canonical names."""

    parameters: dict[str, Any]
    statistics: dict[str, Any]
    """The running statistics."""
    slots: dict[str, dict[str, Any]]
    """What the optimizer keeps for each parameter, by ``Optimizer.state_names``."""
    step: Any
    """The number of updates, without the skipped ones."""
    sums: tuple[Any, Any, Any, Any]
    """Loss, correct images, images, skipped updates."""


class Path:
    """The network for pixels (B, H, W, C) of one size: the input stage, then the layers in Keras.

    Args:
        network: The network.
        native: The model whose variables are used.
        preprocess: The preprocessing.
        source: (height, width) of the pixels.
        size: (height, width) that they are resized to.
        policy: Keras' dtype policy.
        output: The layer to end with; by default the last.
    """

    def __init__(
        self,
        network: Network,
        native: Any,
        preprocess: Preprocess,
        source: tuple[int, int],
        size: tuple[int, int],
        policy: str,
        output: str | None = None,
    ) -> None:
        self.input_stage = common.input_stage(network, preprocess, source, size, output)
        self._mean, self._std = (np.array(each, np.float32) for each in (preprocess.mean, preprocess.std))
        self._bfloat16 = "bfloat16" in policy
        shape = (network.input_channels, *size)
        folded = self.input_stage.fold.name if self.input_stage.fold else None
        self._model = keras_network.build(
            network, shape, policy=policy, like=native, lean=output is None, start_after=folded, output=output
        )
        names = {id(variable): name for name, variable in keras_network.variables(network, native).items()}
        self._trainable = [names[id(variable)] for variable in self._model.trainable_variables]
        seeds = [id(v) for v in native.non_trainable_variables if id(v) not in names]
        self._others = [
            (names.get(id(v)), seeds.index(id(v)) if id(v) in seeds else -1, v.dtype)
            for v in self._model.non_trainable_variables
        ]
        self._positions = {
            row.name: (row.layer.momentum, prod(row.output_shape[1:]))
            for row in layer_shapes(network, shape)
            if isinstance(row.layer, BatchNorm2d)
        }

    def __call__(
        self, parameters: dict[str, Any], statistics: dict[str, Any], seeds: Any, pixels: Any, *, training: bool
    ) -> tuple[Any, dict[str, Any]]:
        """The output, float32, and the new running statistics. seeds: integers (dropouts, 2)."""
        before = [statistics[name] if name else ops.cast(seeds[index], kind) for name, index, kind in self._others]
        x = self._first(parameters, pixels)
        y, after = self._model.stateless_call(
            [parameters[name] for name in self._trainable], before, x, training=training
        )
        found = dict(statistics)
        for (name, _, _), old, new in zip(self._others, before, after, strict=True):
            if name and training:
                found[name] = self._unbiased(name, old, new, pixels.shape[0])
        return ops.cast(y, "float32"), found

    def _first(self, parameters: dict[str, Any], pixels: Any) -> Any:
        fold, resize = self.input_stage.fold, self.input_stage.resize
        x = ops.cast(pixels, "float32")
        if fold is None:
            x = (x / 255.0 - self._mean) / self._std
        if resize is not None:
            x = ops.einsum("sh,bhwc->bswc", ops.convert_to_tensor(resize.rows), x)
            x = ops.einsum("tw,bswc->bstc", ops.convert_to_tensor(resize.columns), x)
        return x if fold is None else self._folded(parameters, x, fold)

    def _folded(self, parameters: dict[str, Any], knots: Any, fold: common.Fold) -> Any:
        """The first layer's output, with the normalization, from knots of values 0..255."""
        kernel = parameters[f"{fold.name}.weight"]  # (kh, kw, in, out)
        kh, kw, channels, out = kernel.shape
        weight = ops.matmul(ops.convert_to_tensor(fold.matrix), ops.reshape(kernel, (kh * kw, channels * out)))
        weight = ops.reshape(weight, (*fold.kernel, channels, out)) / (255 * self._std)[:, None]
        bias = -ops.sum(kernel * (self._mean / self._std)[:, None], axis=(0, 1, 2))
        if f"{fold.name}.bias" in parameters:
            bias = bias + parameters[f"{fold.name}.bias"]
        kind = "bfloat16" if self._bfloat16 else "float32"
        x = ops.conv(
            ops.cast(knots, kind),
            ops.cast(weight, kind),
            strides=fold.stride,
            padding="valid",
            data_format="channels_last",
        )
        return x + ops.cast(bias, kind)

    def _unbiased(self, name: str, old: Any, new: Any, batch: int) -> Any:
        """Correct a running variance: PyTorch averages unbiased variances of the batches, Keras biased ones."""
        layer_name, _, part = name.rpartition(".")
        if part != "running_var":
            return new
        momentum, positions = self._positions[layer_name]
        count = batch * positions
        kept = (1 - momentum) * old
        return kept + (new - kept) * (count / max(1, count - 1))


def step(path: Path, optimizer: Optimizer, state: State, batch: common.Batch, seeds: Any, lr: Any) -> State:
    """The state after a batch; where the loss or a gradient is not finite, only the skipped updates change."""
    pixels, targets, labels = batch

    def objective(parameters: dict[str, Any]) -> Any:
        logits, after = path(parameters, state.statistics, seeds, pixels, training=True)
        return -ops.mean(ops.sum(targets * ops.log_softmax(logits), axis=1)), (logits, after)

    (loss, (logits, after)), gradients = value_and_grad(objective, state.parameters)
    finite = ops.isfinite(loss)
    for gradient in gradients.values():
        finite = ops.logical_and(finite, ops.all(ops.isfinite(gradient)))

    def kept(new: Any, old: Any) -> Any:
        return ops.where(finite, new, old)

    updated, slots = update(optimizer, state.parameters, gradients, state.slots, state.step + 1, lr)
    parameters = {name: kept(new, state.parameters[name]) for name, new in updated.items()}
    slots = {
        name: {part: kept(slots[name][part], value) for part, value in old.items()} for name, old in state.slots.items()
    }
    hits = ops.sum(ops.cast(ops.cast(ops.argmax(logits, axis=1), "int32") == labels, "int32"))
    total, correct, examples, skipped = state.sums
    count = pixels.shape[0]
    return State(
        parameters,
        {name: kept(after[name], old) for name, old in state.statistics.items()},
        slots,
        kept(state.step + 1, state.step),
        (
            kept(total + loss * count, total),
            kept(correct + hits, correct),
            kept(examples + count, examples),
            kept(skipped, skipped + 1),
        ),
    )


def update(
    optimizer: Optimizer,
    parameters: dict[str, Any],
    gradients: dict[str, Any],
    slots: dict[str, dict[str, Any]],
    count: Any,
    learning_rate: Any,
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """All parameters and what the optimizer keeps for them after a step.

    Args:
        optimizer: The optimizer.
        parameters: By canonical name.
        gradients: By the same names.
        slots: By the same names, then by ``Optimizer.state_names``.
        count: The number of this step, which is 1 in the first.
        learning_rate: A scalar tensor.
    """
    rule = optimizer.rule
    updated, kept = {}, {}
    for name, p in parameters.items():
        # Computed again for each parameter: the compilers round differently where one scalar serves all.
        # Keras' depthwise kernels, (kh, kw, C, 1), are one row as they are.
        step = Step(learning_rate, rule.shared(optimizer, ops.cast(count, "float32"), ops), -1)
        updated[name], kept[name] = rule.update(optimizer, p, gradients[name], slots[name], step, ops)
    return updated, kept


def initial_slots(optimizer: Optimizer | None, shape: tuple[int, ...]) -> dict[str, Any]:
    """What an optimizer keeps for a parameter of this shape before the first step."""
    return {part: ops.zeros(shape, "float32") for part in (optimizer.state_names if optimizer else ())}
