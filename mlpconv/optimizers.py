"""The optimizers: each rule is defined once, with its formula, its state, its settings and its help text.

The formulas are written for any array type. The NumPy reference, Keras and MXNet compute them as they stand here;
PyTorch uses its own fused optimizers where they compute the same.

To add an optimizer:

1. add its name to ``OptimizerName``;
2. write its formula and its ``Rule`` below, and return the rule from ``Optimizer.rule``;
3. add a case to ``mlpconv.backends.pytorch.optimizer.create_update``.

The type checker reports each step that is missing, and so does the first use of the optimizer.
"""

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import log, prod, sqrt
from typing import Any, Literal, NamedTuple, Protocol, assert_never, cast, get_args

import msgspec

from mlpconv.errors import RecipeError

OptimizerName = Literal["sgd", "adam", "adamw", "muon"]
MAX_NS_STEPS = 100
"""The most steps of the Newton-Schulz iteration; five are usual, and each takes time."""
OPTIMIZER_NAMES: tuple[OptimizerName, ...] = get_args(OptimizerName)


class Optimizer(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An optimizer and its settings: how a gradient g changes a parameter p at the learning rate lr.

    - sgd: v ← momentum·v + g, p ← p − lr·v. With Nesterov momentum: p ← p − lr·(g + momentum·v). Weight decay adds
      weight_decay·p to g.
    - adam (Kingma, Ba 2014): m ← β₁m + (1−β₁)g, s ← β₂s + (1−β₂)g², p ← p − lr·m̂/(√ŝ + eps), where m̂ = m/(1−β₁ᵗ)
      and ŝ = s/(1−β₂ᵗ) in step t.
    - adamw (Loshchilov, Hutter 2017): first p ← p − lr·weight_decay·p, then adam.
    - muon (Jordan 2024): first p ← p − lr·weight_decay·p; v ← momentum·v + g, u = v, or g + momentum·v with Nesterov
      momentum; p ← p − lr·0.2·√max(m, n)·orthogonal(u). A kernel counts as a matrix m×n of outputs by inputs, a vector
      and a depthwise kernel, whose outputs share no input, as one row. The factor gives the update the size of one of
      AdamW (Liu et al. 2025, arXiv:2502.16982).

    Weight decay applies to kernels and matrices, not to biases and normalization.
    """

    name: OptimizerName = "sgd"
    """The rule."""
    momentum: float = 0.0
    """sgd and muon: the factor that keeps earlier gradients, at least 0 and below 1."""
    nesterov: bool = False
    """sgd and muon: use Nesterov momentum; needs a momentum above 0."""
    weight_decay: float = 0.0
    """sgd, adamw and muon: the strength of weight decay, at least 0."""
    beta1: float = 0.9
    """adam and adamw: the decay rate of the mean of the gradients, at least 0 and below 1."""
    beta2: float = 0.999
    """adam and adamw: the decay rate of the mean of the squared gradients, at least 0 and below 1."""
    eps: float = 1e-8
    """adam and adamw: added to the denominator, above 0."""
    ns_steps: int = 5
    """muon: steps of the Newton-Schulz iteration that makes the update orthogonal, at least 1."""

    def __post_init__(self) -> None:
        for setting in ("momentum", "beta1", "beta2"):
            if not 0 <= getattr(self, setting) < 1:
                raise RecipeError(f"optimizer.{setting} must be at least 0 and below 1, not {getattr(self, setting)}")
        if not (0 <= self.weight_decay < float("inf") and 0 < self.eps < float("inf")):
            raise RecipeError("optimizer: weight_decay must be at least 0 and eps above 0, both finite")
        if self.nesterov and not self.momentum:
            raise RecipeError("optimizer: nesterov needs a momentum above 0")
        if not 1 <= self.ns_steps <= MAX_NS_STEPS:
            least = "at least 1" if self.ns_steps < 1 else f"at most {MAX_NS_STEPS}"
            raise RecipeError(f"optimizer.ns_steps must be {least}, not {reprlib.repr(self.ns_steps)}")
        settings = self.rule.settings
        defaults = dict(zip(self.__struct_fields__, self.__struct_defaults__, strict=True))
        for setting in ("momentum", "nesterov", "weight_decay", "ns_steps"):
            if getattr(self, setting) != defaults[setting] and setting not in settings:
                owners = " or ".join(name for name in OPTIMIZER_NAMES if setting in _rule(name).settings)
                raise RecipeError(
                    f"optimizer: {self.name} has no {setting}, only {', '.join(settings)}; for {setting} use {owners}"
                )

    @property
    def rule(self) -> "Rule":
        """The rule's definition."""
        return _rule(self.name)

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of the arrays that the optimizer keeps for each parameter, each of the parameter's shape."""
        return self.rule.state_names(self)

    @property
    def variant(self) -> str:
        """The key of ``VARIANTS`` that has this optimizer's memory: "momentum" is sgd with momentum."""
        return "momentum" if self.name == "sgd" and self.momentum else self.name


class ArrayFunctions(Protocol):
    """The functions of an array library that the formulas call.

    The modules ``numpy``, ``torch`` and ``keras.ops`` have them; for MXNet, the back end puts them together. A rule
    that needs more (Lion: ``sign``) adds it here.
    """

    def sqrt(self, x: Any, /) -> Any: ...

    def expm1(self, x: Any, /) -> Any: ...

    def sum(self, x: Any, /) -> Any: ...

    def matmul(self, x: Any, y: Any, /) -> Any: ...

    def reshape(self, x: Any, shape: tuple[int, ...], /) -> Any: ...

    def swapaxes(self, x: Any, first: int, second: int, /) -> Any: ...


class Step(NamedTuple):
    """What one update of all parameters has in common."""

    learning_rate: Any
    """A number, or a scalar tensor."""
    shared: tuple[Any, ...]
    """What ``Rule.shared`` returned for this step; an array has one value, or broadcasts with the parameter."""
    output_axis: int = 0
    """The axis of a kernel that its outputs have: 0, or -1 in Keras."""
    one_row: bool = False
    """Whether a kernel is depthwise, so that it is no matrix of outputs by inputs and counts as one row."""
    reduced: Callable[[Any], Any] = lambda matrix: matrix
    """A matrix in the precision of a formula's matrix products; by default as it is."""


Update = Callable[["Optimizer", Any, Any, Mapping[str, Any], Step, ArrayFunctions], tuple[Any, dict[str, Any]]]
"""(optimizer, parameter, gradient, state, step, functions) → (new parameter, new state).

The parameter and its gradient are whole arrays in the framework's own layout, so that a rule may treat a matrix as a
matrix. The state has an array for each of the optimizer's ``state_names``, zeros before the first step. Nothing is
changed in place.
"""


def _nothing_shared(optimizer: "Optimizer", count: Any, functions: ArrayFunctions) -> tuple[Any, ...]:
    return ()


@dataclass(frozen=True)
class Rule:
    """The definition of an optimizer."""

    label: str
    """Its name in texts: "AdamW"."""
    help: str
    """One line for help texts."""
    settings: tuple[str, ...]
    """The fields of ``Optimizer`` that the rule reads."""
    state_names: Callable[["Optimizer"], tuple[str, ...]]
    """The names of the arrays that it keeps for each parameter; they are part of the checkpoint format."""
    update: Update
    """The formula."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """The settings, by field of ``Optimizer``, that the rule has where none are given, if they are not the fields'."""
    shared: Callable[["Optimizer", Any, ArrayFunctions], tuple[Any, ...]] = _nothing_shared
    """(optimizer, t, functions) → what all parameters share in step t, which is 1 in the first step.

    t is a number, or a float32 tensor.
    """


def has_weight_decay(shape: tuple[int, ...]) -> bool:
    """Whether weight decay applies to a parameter of this shape: to kernels and matrices, not to vectors."""
    return len(shape) > 1


def _decay(optimizer: Optimizer, parameter: Any) -> float:
    return optimizer.weight_decay if has_weight_decay(parameter.shape) else 0.0


def _with_momentum(optimizer: Optimizer, g: Any, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The direction of the step by the gradient and the earlier ones, and the new state."""
    if not optimizer.momentum:
        return g, {}
    velocity = state["velocity"] * optimizer.momentum + g
    return g + velocity * optimizer.momentum if optimizer.nesterov else velocity, {"velocity": velocity}


def _update_sgd(
    optimizer: Optimizer, p: Any, g: Any, state: Mapping[str, Any], step: Step, functions: ArrayFunctions
) -> tuple[Any, dict[str, Any]]:
    decay = _decay(optimizer, p)
    g = g + p * decay if decay else g
    direction, kept = _with_momentum(optimizer, g, state)
    return p - direction * step.learning_rate, kept


def _bias_corrections(optimizer: Optimizer, count: Any, functions: ArrayFunctions) -> tuple[Any, ...]:
    """1 − β₁ᵗ and 1 − β₂ᵗ. In float32 the plain formula loses four digits where β is 0.999."""
    return tuple(-functions.expm1(count * log(beta)) if beta else 1.0 for beta in (optimizer.beta1, optimizer.beta2))


def _update_adam(
    optimizer: Optimizer, p: Any, g: Any, state: Mapping[str, Any], step: Step, functions: ArrayFunctions
) -> tuple[Any, dict[str, Any]]:
    lr, decay = step.learning_rate, _decay(optimizer, p)
    p = p - p * (lr * decay) if decay else p
    mean = state["mean"] * optimizer.beta1 + g * (1 - optimizer.beta1)
    square = state["square"] * optimizer.beta2 + g * g * (1 - optimizer.beta2)
    mean_correction, square_correction = step.shared
    root = functions.sqrt(square / square_correction)
    return p - mean / mean_correction * lr / (root + optimizer.eps), {"mean": mean, "square": square}


NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""The coefficients a, b, c of Jordan's quintic iteration, which is steep at 0 and keeps singular values near 1."""
UPDATE_SIZE = 0.2
"""The root mean square of the values of an update with learning rate 1, about that of AdamW."""


def _orthogonal(matrix: Any, steps: int, reduced: Callable[[Any], Any], functions: ArrayFunctions) -> Any:
    """A matrix with about the same singular vectors whose singular values are nearer to 1.

    After 5 steps they are between about 0.7 and 1.2.
    """
    rows, columns = matrix.shape
    if rows > columns:
        return functions.swapaxes(_orthogonal(functions.swapaxes(matrix, 0, 1), steps, reduced, functions), 0, 1)
    # One value of as many axes as the matrix, since MXNet broadcasts no other.
    norm = functions.reshape(functions.sqrt(functions.sum(matrix * matrix)), (1, 1))
    x = matrix / (norm + 1e-7)
    if rows == 1:
        return x
    x = reduced(x)
    a, b, c = NEWTON_SCHULZ
    for _ in range(steps):
        gram = functions.matmul(x, functions.swapaxes(x, 0, 1))
        x = x * a + functions.matmul(gram * b + functions.matmul(gram, gram) * c, x)
    return x


def _update_muon(
    optimizer: Optimizer, p: Any, g: Any, state: Mapping[str, Any], step: Step, functions: ArrayFunctions
) -> tuple[Any, dict[str, Any]]:
    lr, decay = step.learning_rate, _decay(optimizer, p)
    p = p - p * (lr * decay) if decay else p
    direction, kept = _with_momentum(optimizer, g, state)
    outputs = p.shape[step.output_axis]
    inputs = prod(p.shape) // outputs
    if len(p.shape) == 1 or step.one_row:
        inputs, outputs = prod(p.shape), 1
    size = (outputs, inputs) if step.output_axis == 0 else (inputs, outputs)
    matrix = functions.reshape(direction, size)
    orthogonal = functions.reshape(_orthogonal(matrix, optimizer.ns_steps, step.reduced, functions), tuple(p.shape))
    scale = UPDATE_SIZE * sqrt(max(size))
    return p - orthogonal * (lr * scale), kept


def _momentum_state(optimizer: Optimizer) -> tuple[str, ...]:
    return ("velocity",) if optimizer.momentum else ()


def _adam_state(optimizer: Optimizer) -> tuple[str, ...]:
    return ("mean", "square")


SGD = Rule(
    label="SGD",
    help="stochastic gradient descent, with momentum if it is set",
    settings=("momentum", "nesterov", "weight_decay"),
    state_names=_momentum_state,
    update=_update_sgd,
)
ADAM = Rule(
    label="Adam",
    help="adaptive moments (Kingma, Ba 2014)",
    settings=("beta1", "beta2", "eps"),
    state_names=_adam_state,
    update=_update_adam,
    shared=_bias_corrections,
)
ADAMW = Rule(
    label="AdamW",
    help="Adam with decoupled weight decay (Loshchilov, Hutter 2017)",
    settings=("weight_decay", "beta1", "beta2", "eps"),
    state_names=_adam_state,
    update=_update_adam,
    shared=_bias_corrections,
)


MUON = Rule(
    label="Muon",
    help="orthogonalized momentum (Jordan 2024)",
    settings=("momentum", "nesterov", "weight_decay", "ns_steps"),
    state_names=_momentum_state,
    update=_update_muon,
    defaults={"momentum": 0.95, "nesterov": True},
)


def _rule(name: OptimizerName) -> Rule:
    match name:
        case "sgd":
            return SGD
        case "adam":
            return ADAM
        case "adamw":
            return ADAMW
        case "muon":
            return MUON
        case _:
            assert_never(name)


def default_settings(name: str) -> Mapping[str, Any]:
    """The settings of an optimizer that differ from the defaults of ``Optimizer``; none for an unknown name."""
    return _rule(cast(OptimizerName, name)).defaults if name in OPTIMIZER_NAMES else {}


VARIANTS: dict[str, Optimizer] = {
    "sgd": Optimizer(),
    "momentum": Optimizer(momentum=0.9),
    **{name: Optimizer(name, **default_settings(name)) for name in OPTIMIZER_NAMES if name != "sgd"},
}
"""The optimizers that differ in memory, by the names that cost functions and ``mlpconv summary --optimizer`` accept."""


def values_per_parameter(variant: str) -> int:
    """The number of values that an optimizer keeps for each parameter.

    Args:
        variant: A key of ``VARIANTS``.
    """
    return len(VARIANTS[variant].state_names)
