"""Training and prediction in Keras."""

from functools import partial
from typing import Any

import numpy as np
from keras import device as on  # pyright: ignore[reportAttributeAccessIssue]
from keras import ops  # pyright: ignore[reportAttributeAccessIssue]

from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.arch.shapes import num_classes
from mlpconv.backends.base import Floats, Images, Labels, Metrics, Precision, State, StepPlan, Weights
from mlpconv.backends.common import compiled
from mlpconv.backends.common.channels_last import array_to_channels_first, array_to_channels_last
from mlpconv.backends.keras import network as keras_network
from mlpconv.backends.keras import step as keras_step
from mlpconv.backends.training_state import DOTTED
from mlpconv.backends.weights import check_weights, depthwise_kernels, is_statistic, weight_shapes
from mlpconv.optimizers import Optimizer

SUMS = (("loss", "float32"), ("correct", "int32"), ("examples", "int32"), ("skipped", "int32"))


class KerasModel(compiled.Predictions):
    """A network in Keras: see ``mlpconv.backends.base.Model``.

    The tensors that a step changes are separate from the variables of ``native``, since compiled code may overwrite
    them; reading ``native`` copies them into it.

    Raises:
        NetworkError: The network is not a classifier.
    """

    def __init__(
        self, network: Network, preprocess: Preprocess, optimizer: Optimizer | None, precision: Precision, device: str
    ) -> None:
        self.network, self.preprocess, self._optimizer, self._device = network, preprocess, optimizer, device
        self._policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
        self._shape = (network.input_channels, preprocess.size, preprocess.size)
        self.classes = num_classes(network)
        self._shapes = weight_shapes(network, self._shape)
        self._depthwise = depthwise_kernels(network)
        with on(device):
            self._native = keras_network.build(network, self._shape, policy=self._policy)
        variables = keras_network.variables(network, self._native)
        self._seeds = len(self._native.non_trainable_variables) - sum(map(is_statistic, variables))
        self._compiled: dict[Any, Any] = {}
        self._changed = False
        self._take(0, {name: {} for name in variables}, 0, 0, 0, 0)
        self._reset_optimizer()

    @property
    def native(self) -> Any:
        """The ``keras.Model`` with the current weights."""
        if self._changed:
            values = self._state.parameters | self._state.statistics
            for name, variable in keras_network.variables(self.network, self._native).items():
                # Copied because the next step may overwrite the tensor.
                variable.assign(ops.copy(values[name]))
            self._changed = False
        return self._native

    def weights(self) -> dict[str, Floats]:
        values = self._state.parameters | self._state.statistics
        return {name: self._canonical(name, values[name]) for name in self._shapes}

    def _canonical(self, name: str, value: Any) -> np.ndarray:
        """A copy of a tensor of a weight's shape in the canonical layout."""
        return np.array(array_to_channels_first(ops.convert_to_numpy(value), name in self._depthwise), order="C")

    def _native_layout(self, name: str, value: np.ndarray) -> np.ndarray:
        """An array of a weight's shape in Keras' layout."""
        return array_to_channels_last(value, name in self._depthwise)

    def load_weights(self, weights: Weights) -> None:
        check_weights(self.network, weights, "load_weights", self._shape)
        keras_network.load(self.network, self._native, weights)
        state = self._state
        self._take(state.step, state.slots, *state.sums)
        self._changed = False

    def attach(self, images: Images, labels: Labels) -> None:
        assert len(images) == len(labels)
        self._images, self._labels = images, labels

    def _predict(self, size: tuple[int, int], output: str | None, pixels: Images) -> Floats:
        source = (pixels.shape[1], pixels.shape[2])
        key = (source, size, output)
        if key not in self._compiled:
            path = self._path(source, size, output)

            def forward(parameters: Any, statistics: Any, seeds: Any, pixels: Any) -> Any:
                return path(parameters, statistics, seeds, pixels, training=False)[0]

            self._compiled[key] = keras_step.compiled(forward)
        forward = self._compiled[key]
        with on(self._device):
            values = self._state.parameters, self._state.statistics, self._drawn(0)
            found = np.array(ops.convert_to_numpy(forward(*values, ops.convert_to_tensor(pixels))))
        return np.ascontiguousarray(found.transpose(0, 3, 1, 2)) if found.ndim == 4 else found

    def train_step(self, plan: StepPlan) -> None:
        pixels, targets, labels = compiled.batch(plan, self._images, self._labels, self.preprocess, self.classes)
        source, size = (pixels.shape[1], pixels.shape[2]), plan.image_size
        key = (source, size)
        if key not in self._compiled:
            self._compiled[key] = self._compiled_step(source, size)
        step = self._compiled[key]
        with on(self._device):
            batch = compiled.Batch(*map(ops.convert_to_tensor, (pixels, targets, labels)))
            rate = ops.convert_to_tensor(plan.learning_rate, "float32")
            self._state = step(self._state, batch, self._drawn(plan.dropout_seed), rate)
        self._changed = True

    def read_metrics(self, *, reset: bool = False) -> Metrics:
        loss, correct, examples, skipped = (ops.convert_to_numpy(value).item() for value in self._state.sums)
        if reset:
            self._state = self._state._replace(sums=self._sums(0, 0, 0, 0))
        return Metrics(loss, correct, examples, skipped)

    def training_state(self) -> State:
        """Copies of everything that a step changes: weights, optimizer state and metric sums."""
        state: State = dict(self.weights())
        for name, slots in self._state.slots.items():
            state |= {DOTTED.optimizer(part, name): self._canonical(name, value) for part, value in slots.items()}
        state[DOTTED.optimizer("step")] = _copied(self._state.step)
        sums = zip(SUMS, self._state.sums, strict=True)
        return state | {DOTTED.metrics(part): _copied(value) for (part, _), value in sums}

    def load_training_state(self, state: State) -> None:
        """Continue from ``training_state()``. Raises WeightsError where something else made the state."""
        compiled.check_state(self.training_state(), state)
        self.load_weights({name: state[name] for name in self._shapes})
        slots = {
            name: {part: self._native_layout(name, state[DOTTED.optimizer(part, name)]) for part in kept}
            for name, kept in self._state.slots.items()
        }
        self._take(state[DOTTED.optimizer("step")], slots, *(state[DOTTED.metrics(part)] for part, _ in SUMS))

    def _take(self, step: Any, slots: dict[str, dict[str, Any]], *sums: Any) -> None:
        """Set the state from the native model's weights and the given values."""
        with on(self._device):
            values = {
                name: ops.copy(variable.value)
                for name, variable in keras_network.variables(self.network, self._native).items()
            }
            self._state = keras_step.State(
                {name: value for name, value in values.items() if not is_statistic(name)},
                {name: value for name, value in values.items() if is_statistic(name)},
                {
                    name: {key: ops.convert_to_tensor(value) for key, value in slots[name].items()}
                    for name in values
                    if not is_statistic(name)
                },
                ops.convert_to_tensor(step, "int32"),
                self._sums(*sums),
            )

    def _reset_optimizer(self) -> None:
        with on(self._device):
            parameters = self._state.parameters
            slots = {name: keras_step.initial_slots(self._optimizer, p.shape) for name, p in parameters.items()}
        self._state = self._state._replace(slots=slots)

    def _sums(self, *values: Any) -> Any:
        with on(self._device):
            return tuple(ops.convert_to_tensor(value, kind) for value, (_, kind) in zip(values, SUMS, strict=True))

    def _drawn(self, seed: int) -> Any:
        """Two random numbers for each dropout, drawn from ``seed``; they also fit into an int32."""
        drawn = [np.random.SeedSequence([seed, index]).generate_state(2) >> 1 for index in range(self._seeds)]
        return ops.convert_to_tensor(np.array(drawn, np.uint32).reshape(self._seeds, 2))

    def _path(self, source: tuple[int, int], size: tuple[int, int], output: str | None = None) -> keras_step.Path:
        return keras_step.Path(self.network, self._native, self.preprocess, source, size, self._policy, output)

    def _compiled_step(self, source: tuple[int, int], size: int) -> Any:
        assert self._optimizer is not None, "a model built without an optimizer does not train"
        compiled.check_size(self.network, self._shape, size)
        path = self._path(source, (size, size))
        return keras_step.compiled(partial(keras_step.step, path, self._optimizer), donated=0)


def _copied(tensor: Any) -> np.ndarray:
    return np.array(ops.convert_to_numpy(tensor))
