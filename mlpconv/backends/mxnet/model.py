"""Training and prediction in MXNet: one hybridized graph from pixels to logits, computed asynchronously."""

from functools import wraps
from math import prod
from types import FunctionType, SimpleNamespace
from typing import Any, cast

import numpy as np
from mxnet import autograd, context, gluon, nd, random, util  # pyright: ignore[reportAttributeAccessIssue]

from mlpconv.arch.layers import BatchNorm2d, Dropout
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.arch.shapes import layer_shapes, num_classes
from mlpconv.backends.base import Floats, Images, Labels, Metrics, State, StepPlan, Weights
from mlpconv.backends.common import compiled
from mlpconv.backends.mxnet import network as mxnet_network
from mlpconv.backends.training_state import DOTTED
from mlpconv.backends.weights import check_weights, depthwise_kernels, is_statistic, weight_shapes
from mlpconv.optimizers import ArrayFunctions, Optimizer, Step

FUNCTIONS = cast(
    ArrayFunctions,
    SimpleNamespace(sqrt=nd.sqrt, expm1=nd.expm1, sum=nd.sum, matmul=nd.dot, reshape=nd.reshape, swapaxes=nd.swapaxes),
)
"""The functions of arrays that the formulas of optimizers call."""


def _with_nd(model_type: type) -> type:
    """Let the methods of a class use arrays of ``nd`` also after ``npx.set_np()``, with which one edition starts."""
    for name, member in list(vars(model_type).items()):
        if isinstance(member, FunctionType):

            def method(*args: Any, _member: FunctionType = member, **kwargs: Any) -> Any:
                with util.np_array(False), util.np_shape(False):
                    return _member(*args, **kwargs)

            setattr(model_type, name, wraps(member)(method))
    return model_type


@_with_nd
class MxnetModel(compiled.Predictions):
    """A network in MXNet: see ``mlpconv.backends.base.Model``.

    Raises:
        NetworkError: The network is not a classifier.
    """

    def __init__(self, network: Network, preprocess: Preprocess, optimizer: Optimizer | None, device: str) -> None:
        self.network, self.preprocess, self._optimizer = network, preprocess, optimizer
        self._shape = (network.input_channels, preprocess.size, preprocess.size)
        self.classes = num_classes(network)
        self._shapes = weight_shapes(network, self._shape)
        self._depthwise = depthwise_kernels(network)
        kind, _, index = device.partition(":")
        self._context = context.Context(kind, int(index or 0))
        self._drops = any(isinstance(layer, Dropout) for _, layer in network.walk())
        self.native = mxnet_network.build(network, self._shape)
        self.native.initialize(ctx=self._context)
        self._parameters = {
            name: each
            for name, each in mxnet_network.parameters(network, self.native).items()
            if not is_statistic(name)
        }
        self._statistics = {
            name: each for name, each in mxnet_network.parameters(network, self.native).items() if is_statistic(name)
        }
        self._slots = {
            name: {
                part: nd.zeros(self._data(parameter).shape, ctx=self._context)
                for part in (optimizer.state_names if optimizer else ())
            }
            for name, parameter in self._parameters.items()
        }
        self._step = nd.zeros(1, ctx=self._context)
        self._sums = nd.zeros(4, ctx=self._context, dtype="float64")  # loss, correct, examples, skipped
        self._compiled: dict[Any, Any] = {}

    def weights(self) -> dict[str, Floats]:
        return mxnet_network.read(self.network, self.native)

    def load_weights(self, weights: Weights) -> None:
        check_weights(self.network, weights, "load_weights", self._shape)
        mxnet_network.load(self.network, self.native, weights)

    def attach(self, images: Images, labels: Labels) -> None:
        assert len(images) == len(labels)
        self._images, self._labels = images, labels

    def _predict(self, size: tuple[int, int], output: str | None, pixels: Images) -> Floats:
        block = self._block((pixels.shape[1], pixels.shape[2]), size, output, "predict")
        return block(self._sent(_first(pixels))).asnumpy()

    def train_step(self, plan: StepPlan) -> None:
        assert self._optimizer is not None, "a model built without an optimizer does not train"
        pixels, targets, labels = compiled.batch(plan, self._images, self._labels, self.preprocess, self.classes)
        block = self._block((pixels.shape[1], pixels.shape[2]), (plan.image_size, plan.image_size), None, "train")
        before = {name: self._data(each).copy() for name, each in self._statistics.items()}
        if self._drops:
            random.seed(int(np.random.SeedSequence(plan.dropout_seed).generate_state(1)[0] >> 1))
        with autograd.record():
            logits = block(self._sent(_first(pixels)))
            loss = -(nd.log_softmax(logits, axis=1) * self._sent(targets)).sum(axis=1).mean()
        loss.backward()
        gradients = {name: each.grad(self._context) for name, each in self._parameters.items()}
        # x·0 is NaN where x is not finite. nd.multi_all_finite takes longer than the whole update.
        flat = [each.reshape(-1) for each in (loss, *gradients.values())]
        finite = nd.add_n(*(nd.dot(each, each * 0) for each in flat)) == 0
        self._update(gradients, finite, plan.learning_rate)
        self._correct(before, finite, plan.image_size, len(labels))
        hits = (logits.argmax(axis=1) == self._sent(labels.astype(np.float32))).sum()
        # A NaN would stay NaN in a product with 0.
        loss = nd.where(finite, loss.reshape(1), nd.zeros_like(finite))
        count = nd.full(1, len(labels), ctx=self._context)
        sums = nd.concat(loss * len(labels), hits.reshape(1) * finite, count * finite, 1 - finite, dim=0)
        self._sums += sums.astype("float64")

    def _update(self, gradients: dict[str, Any], finite: Any, learning_rate: float) -> None:
        optimizer = self._optimizer
        assert optimizer is not None
        self._step += finite
        rule = optimizer.rule
        shared = rule.shared(optimizer, self._step, FUNCTIONS)
        for name, parameter in self._parameters.items():
            p, slots = self._data(parameter), self._slots[name]
            ones = (1,) * p.ndim
            # MXNet broadcasts only arrays of the same number of axes.
            step = Step(learning_rate, tuple(v.reshape(ones) if isinstance(v, nd.NDArray) else v for v in shared))
            step = step._replace(one_row=name in self._depthwise)
            new, state = rule.update(optimizer, p, gradients[name], slots, step, FUNCTIONS)
            kept = finite.reshape(ones).broadcast_to(p.shape)
            for part, old in slots.items():
                nd.where(kept, state[part], old, out=old)
            nd.where(kept, new, p, out=p)

    def _correct(self, before: dict[str, Any], finite: Any, size: int, batch: int) -> None:
        """Correct the running statistics.

        Running variances average the unbiased variances of the batches, as in PyTorch, where MXNet averages biased
        ones. Where the update is masked, all statistics stay as they were before.
        """
        if not before:
            return
        rows = {row.name: row for row in layer_shapes(self.network, (self._shape[0], size, size))}
        for name, each in self._statistics.items():
            layer_name, _, part = name.rpartition(".")
            row, old, new = rows[layer_name], before[name], self._data(each)
            value = new
            if part == "running_var":
                assert isinstance(row.layer, BatchNorm2d)
                count = batch * prod(row.output_shape[1:])
                kept = old * (1 - row.layer.momentum)
                value = kept + (new - kept) * (count / max(1, count - 1))
            each.set_data(nd.where(finite.broadcast_to(old.shape), value, old))

    def read_metrics(self, *, reset: bool = False) -> Metrics:
        loss, correct, examples, skipped = self._sums.asnumpy().tolist()
        if reset:
            self._sums[:] = 0
        return Metrics(loss, int(correct), int(examples), int(skipped))

    def training_state(self) -> State:
        """Copies of everything that a step changes: weights, optimizer state and metric sums."""
        state: State = dict(self.weights())
        for name, slots in self._slots.items():
            state |= {DOTTED.optimizer(part, name): value.asnumpy() for part, value in slots.items()}
        return state | {DOTTED.optimizer("step"): self._step.asnumpy(), DOTTED.metrics(): self._sums.asnumpy()}

    def load_training_state(self, state: State) -> None:
        """Continue from ``training_state()``. Raises WeightsError where something else made the state."""
        compiled.check_state(self.training_state(), state)
        self.load_weights({name: state[name] for name in self._shapes})
        for name, slots in self._slots.items():
            for part, value in slots.items():
                value[:] = self._sent(state[DOTTED.optimizer(part, name)])
        self._step[:] = self._sent(state[DOTTED.optimizer("step")])
        self._sums[:] = self._sent(state[DOTTED.metrics()])

    def _data(self, parameter: Any) -> Any:
        return parameter.data(self._context)

    def _sent(self, value: np.ndarray) -> Any:
        return nd.array(value, ctx=self._context, dtype=value.dtype)

    def _block(self, source: tuple[int, int], size: tuple[int, int], output: str | None, use: str) -> Any:
        """The hybridized block for pixels of one size, cached."""
        key = (source, size, output, use)
        if key not in self._compiled:
            if use == "train":
                compiled.check_size(self.network, self._shape, size[0])
            stage = compiled.input_stage(self.network, self.preprocess, source, size, output)
            folded = stage.fold.name if stage.fold else None
            shape = (self._shape[0], *size)
            layers = mxnet_network.lean(self.network, self.native, shape, start_after=folded, output=output)
            whole = _Path(layers, stage, mxnet_network.child(self.native, folded) if folded else None)
            whole.hybridize(static_alloc=True, static_shape=True)
            # Gluon registers its constants for the whole process, so ours are inputs.
            constants = [self._sent(value) for value in _constants(self.preprocess, stage)]
            self._compiled[key] = lambda pixels: whole(pixels, *constants)
        return self._compiled[key]


def _first(pixels: np.ndarray) -> np.ndarray:
    """(B, H, W, C) as (B, C, H, W)."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _constants(preprocess: Preprocess, stage: compiled.InputStage) -> list[np.ndarray]:
    """The inputs of ``_Path`` besides pixels and weights: scale and offset of the channels, and matrices."""
    mean, std = (np.array(each, np.float32).reshape(1, -1, 1, 1) for each in (preprocess.mean, preprocess.std))
    matrices = [*(stage.resize or ()), *([stage.fold.matrix] if stage.fold else [])]
    return [1 / (255 * std), mean / std, *(np.ascontiguousarray(each.T) for each in matrices)]


class _Path(gluon.HybridBlock):
    """From pixels (B, C, H, W) to the network's output: the input stage, then the layers.

    Args:
        layers: The layers after the input stage.
        stage: The input stage.
        first: The layer that it includes, if any.
    """

    def __init__(self, layers: Any, stage: compiled.InputStage, first: Any = None) -> None:
        super().__init__(prefix="path_")
        self.layers, self.input_stage = layers, stage
        if first is not None:
            self.params.update(first.params)
            self.weight, self.bias = first.weight, first.bias

    def hybrid_forward(
        self, F: Any, x: Any, scale: Any, offset: Any, *matrices: Any, weight: Any = None, bias: Any = None
    ) -> Any:
        x = F.cast(x, "float32")
        if self.input_stage.fold is None:
            x = F.broadcast_sub(F.broadcast_mul(x, scale), offset)
        if self.input_stage.resize is not None:
            # The axes are exchanged while the image is small.
            x = F.dot(F.dot(x.swapaxes(2, 3), matrices[0]).swapaxes(2, 3), matrices[1])
        if self.input_stage.fold is not None:
            x = self._folded(F, x, scale, offset, matrices[-1], weight, bias)
        return self.layers(x)

    def _folded(self, F: Any, knots: Any, scale: Any, offset: Any, matrix: Any, weight: Any, bias: Any) -> Any:
        """The first layer's output, with the normalization, from knots of values 0..255."""
        fold = self.input_stage.fold
        assert fold is not None
        channels = self.input_stage.shape[0]
        kernel = F.dot(weight.reshape((0, 0, -1)), matrix).reshape((0, 0, *fold.kernel))
        shift = -F.broadcast_mul(weight, offset).sum(axis=(1, 2, 3))
        return F.Convolution(
            knots,
            F.broadcast_mul(kernel, scale),
            shift if bias is None else shift + bias,
            kernel=fold.kernel,
            stride=(fold.stride, fold.stride),
            num_filter=channels,
        )
