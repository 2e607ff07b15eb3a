"""Training and prediction in Keras."""

from functools import partial
from math import prod
from typing import Any

import numpy as np
from keras import device as on  # pyright: ignore[reportAttributeAccessIssue]
from keras import models, ops  # pyright: ignore[reportAttributeAccessIssue]

from mlpconv.arch.layers import BatchNorm2d
from mlpconv.arch.maps import until_class_maps
from mlpconv.arch.network import Network, Preprocess
from mlpconv.arch.shapes import layer_shapes, num_classes
from mlpconv.backends import keras_network, keras_step
from mlpconv.backends import numpy as reference
from mlpconv.backends.base import Floats, Images, Labels, Metrics, Optimizer, Precision, State, StepPlan, Weights
from mlpconv.backends.weights import check_weights, weight_shapes
from mlpconv.errors import RecipeError, RunError

CHUNK = 128
"""Images that prediction computes at once."""


class KerasModel:
    """A network in Keras: see ``mlpconv.backends.base.Model``.

    Batches are made on the host by the NumPy reference. Raises NetworkError for a network that is no classifier.
    """

    def __init__(
        self, network: Network, preprocess: Preprocess, optimizer: Optimizer | None, precision: Precision, device: str
    ) -> None:
        self._network, self._preprocess, self._optimizer, self._device = network, preprocess, optimizer, device
        self._policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
        self._shape = (network.input_channels, preprocess.size, preprocess.size)
        self._classes = num_classes(network)
        self._shapes = weight_shapes(network, self._shape)
        with on(device):
            self.native = keras_network.build(network, self._shape, policy=self._policy)
            names = {id(v): name for name, v in keras_network.variables(network, self.native).items()}
            self._names = [names[id(variable)] for variable in self.native.trainable_variables]
            self._optimizer_state = [keras_step.fresh(optimizer, v.shape) for v in self.native.trainable_variables]
            self._step = ops.zeros((), "int32")
        self._statistics = [names.get(id(variable)) for variable in self.native.non_trainable_variables]
        self._compiled: dict[int, Any] = {}
        self._mapped: dict[tuple[int, ...], Any] = {}
        self._reset()

    def weights(self) -> dict[str, Floats]:
        return keras_network.read(self._network, self.native)

    def load_weights(self, weights: Weights) -> None:
        check_weights(self._network, weights, "load_weights", self._shape)
        keras_network.load(self._network, self.native, weights)

    def attach(self, images: Images, labels: Labels) -> None:
        assert len(images) == len(labels)
        self._images, self._labels = images, labels

    def logits(self, images: Images) -> Floats:
        found = []
        with on(self._device):
            for start in range(0, len(images), CHUNK):
                x = reference.preprocess(images[start : start + CHUNK], self._preprocess)
                found.append(np.asarray(self.native.predict_on_batch(x.transpose(0, 2, 3, 1)), np.float32))
        return np.concatenate(found) if found else np.zeros((0, self._classes), np.float32)

    def class_maps(self, images: Images, size: tuple[int, int] | None = None) -> Floats:
        height, width = size or self._shape[1:]
        key = (height, width)
        if key not in self._mapped:
            network, shape = until_class_maps(self._network)[0], (self._shape[0], height, width)
            with on(self._device):
                self._mapped[key] = keras_network.build(network, shape, policy=self._policy, like=self.native)
        found = []
        with on(self._device):
            for start in range(0, len(images), CHUNK):
                x = reference.preprocess(images[start : start + CHUNK], self._preprocess, size)
                maps = self._mapped[key].predict_on_batch(x.transpose(0, 2, 3, 1))
                found.append(np.asarray(maps, np.float32).transpose(0, 3, 1, 2))
        assert found, "there is not one image"
        return np.ascontiguousarray(np.concatenate(found))

    def outputs(self, images: Images, layer: str) -> Floats:
        found = []
        with on(self._device):
            part = models.Model(self.native.inputs, self.native.get_layer(layer).output)
            for start in range(0, len(images), CHUNK):
                x = reference.preprocess(images[start : start + CHUNK], self._preprocess)
                found.append(np.asarray(part.predict_on_batch(x.transpose(0, 2, 3, 1)), np.float32))
        return np.concatenate(found).transpose(0, 3, 1, 2)

    def train_step(self, plan: StepPlan) -> None:
        step = self._compiled_step(plan.image_size)
        x, targets = reference.carry_out(plan, self._images, self._labels, self._preprocess, self._classes)
        batch = x.transpose(0, 2, 3, 1), targets, self._labels[plan.indices].astype(np.int32)
        with on(self._device):
            state = (
                [ops.copy(variable) for variable in self.native.trainable_variables],
                self._rest(plan.dropout_seed),
                self._optimizer_state,
                self._step,
                self._sums,
            )
            rate = ops.convert_to_tensor(plan.learning_rate, "float32")
            parameters, rest, self._optimizer_state, self._step, self._sums = step(
                state, [ops.convert_to_tensor(part) for part in batch], rate
            )
            for variable, value in zip(self.native.trainable_variables, parameters, strict=True):
                variable.assign(value)
            for variable, value in zip(self.native.non_trainable_variables, rest, strict=True):
                variable.assign(value)
        self._examples += len(x)

    def read_metrics(self, *, reset: bool = False) -> Metrics:
        loss, correct, skipped = (ops.convert_to_numpy(value).item() for value in self._sums)
        metrics = Metrics(loss, correct, self._examples, skipped)
        if reset:
            self._reset()
        return metrics

    def training_state(self) -> State:
        state: State = self.weights()
        for name, slots in zip(self._names, self._optimizer_state, strict=True):
            state |= {f"optimizer.{name}.{key}": np.array(value) for key, value in slots.items()}
        state["optimizer.step"] = np.array(self._step)
        metrics = self.read_metrics()
        return state | {f"metrics.{key}": np.array(value) for key, value in metrics._asdict().items()}

    def load_training_state(self, state: State) -> None:
        """Raises RunError for a state of another network, optimiser or back end."""
        own = self.training_state()
        shapes, given = ({key: value.shape for key, value in each.items()} for each in (own, state))
        if differing := sorted({key for key, _ in shapes.items() ^ given.items()}):
            raise RunError(
                f"this training state was made by another network, optimiser or back end: {differing[0]} differs"
                f" ({len(differing)} differences); resume with what made it, or start from its weights alone"
            )
        self.load_weights({name: state[name] for name in self._shapes})
        with on(self._device):
            self._optimizer_state = [
                {key: ops.convert_to_tensor(state[f"optimizer.{name}.{key}"]) for key in slots}
                for name, slots in zip(self._names, self._optimizer_state, strict=True)
            ]
            self._step = ops.convert_to_tensor(state["optimizer.step"])
        self._examples = int(state["metrics.examples"])
        self._sums = self._as_sums(*(state[f"metrics.{key}"] for key in ("loss", "correct", "skipped")))

    def _reset(self) -> None:
        self._examples = 0
        self._sums = self._as_sums(0, 0, 0)

    def _as_sums(self, loss: Any, correct: Any, skipped: Any) -> tuple[Any, Any, Any]:
        with on(self._device):
            return (
                ops.convert_to_tensor(loss, "float32"),
                ops.convert_to_tensor(correct, "int32"),
                ops.convert_to_tensor(skipped, "int32"),
            )

    def _rest(self, seed: int) -> list[Any]:
        """The values of the variables without gradient: statistics, and each dropout's seed, drawn from ``seed``."""
        values = []
        for index, variable in enumerate(self.native.non_trainable_variables):
            if self._statistics[index] is None:
                drawn = np.random.SeedSequence([seed, index]).generate_state(2) >> 1  # Fits an int32 as well.
                values.append(ops.convert_to_tensor(drawn, variable.dtype))
            else:
                values.append(ops.copy(variable))
        return values

    def _compiled_step(self, size: int) -> Any:
        assert self._optimizer is not None, "a model built without an optimizer does not train"
        if size not in self._compiled:
            shape = (self._shape[0], size, size)
            model = self.native
            if shape != self._shape:
                shapes = weight_shapes(self._network, shape)
                if differing := [name for name in shapes if shapes[name] != self._shapes[name]]:
                    raise RecipeError(
                        f"image size {size}: {differing[0]} would need the shape {shapes[differing[0]]}, it has "
                        f"{self._shapes[differing[0]]}; this network trains at {self._shape[1]} only"
                    )
                model = keras_network.build(self._network, shape, policy=self._policy, like=self.native)
            self._compiled[size] = keras_step.compiled(
                partial(keras_step.step, model, self._optimizer, self._names, self._corrections(shape))
            )
        return self._compiled[size]

    def _corrections(self, shape: tuple[int, ...]) -> list[keras_step.Correction | None]:
        """For each variable without gradient that is a running variance: its momentum, and the positions of its map."""
        rows = {row.name: row for row in layer_shapes(self._network, shape)}
        found: list[keras_step.Correction | None] = []
        for name in self._statistics:
            layer_name, _, part = (name or "").rpartition(".")
            if part == "running_var":
                row = rows[layer_name]
                assert isinstance(row.layer, BatchNorm2d)
                found.append((row.layer.momentum, prod(row.output_shape[1:])))
            else:
                found.append(None)
        return found
