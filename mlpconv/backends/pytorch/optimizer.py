"""Optimizers in PyTorch: updates that change nothing where the loss or a gradient is not finite."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from typing import assert_never, cast

import numpy as np
import torch
from torch import Tensor, nn

from mlpconv.backends.base import Precision, State
from mlpconv.backends.pytorch import private_api
from mlpconv.backends.training_state import SLASHED
from mlpconv.errors import WeightsError
from mlpconv.optimizers import ArrayFunctions, Optimizer, Step, has_weight_decay

Parameters = Mapping[str, nn.Parameter]


def create_update(module: nn.Module, optimizer: Optimizer, precision: Precision = "float32") -> "ParameterUpdate":
    """The update of a module's parameters: PyTorch's own fused optimizer where it computes the same formula.

    Args:
        module: The module.
        optimizer: The optimizer.
        precision: That of the matrix products in a formula, if it has some.
    """
    parameters = dict(module.named_parameters())
    match optimizer.name:
        case "sgd":
            options = {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov}
            fused = torch.optim.SGD(_groups(parameters, optimizer), lr=0.0, fused=True, **options)
            return FusedUpdate(parameters, fused, ("momentum_buffer",) if optimizer.momentum else (), counts=False)
        case "adam" | "adamw":
            # Adam is AdamW without weight decay.
            betas = (optimizer.beta1, optimizer.beta2)
            fused = torch.optim.AdamW(
                _groups(parameters, optimizer), lr=0.0, betas=betas, eps=optimizer.eps, fused=True
            )
            return FusedUpdate(parameters, fused, ("exp_avg", "exp_avg_sq"), counts=True)
        case "muon":  # torch.optim.Muon refuses kernels, which have four axes
            kernels = {f"{name}.weight" for name, part in module.named_modules() if getattr(part, "groups", 1) > 1}
            return FormulaUpdate(parameters, optimizer, precision, kernels)
        case _:
            assert_never(optimizer.name)


def _groups(parameters: Parameters, optimizer: Optimizer) -> list[dict[str, object]]:
    """PyTorch's parameter groups: with weight decay, and without."""
    decayed = [p for p in parameters.values() if has_weight_decay(tuple(p.shape))]
    others = [p for p in parameters.values() if not has_weight_decay(tuple(p.shape))]
    groups = [{"params": decayed, "weight_decay": optimizer.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


class ParameterUpdate(ABC):
    """Updates all parameters by their gradients, in place."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def update(self, loss: Tensor, learning_rate: float) -> Tensor:
        """Update the parameters and drop the gradients.

        Returns:
            A boolean tensor: whether the loss and all gradients were finite. Where not, nothing was updated.
        """
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        finite = torch.isfinite(loss) & torch.isfinite(nn.utils.get_total_norm(gradients))
        self._step(finite, learning_rate)
        for parameter in self._parameters.values():
            parameter.grad = None
        return finite

    @abstractmethod
    def _step(self, finite: Tensor, learning_rate: float) -> None:
        """Update parameters and state in place where ``finite``, without waiting for the device."""

    @abstractmethod
    def _arrays(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor that the optimizer keeps, by its name in training states."""

    def state(self) -> State:
        """Copies of all arrays that the optimizer keeps: "optimizer/block1.conv.weight/momentum_buffer"."""
        return {name: value.cpu().contiguous().numpy().copy() for name, value in self._arrays()}

    def load(self, state: State) -> None:
        """Continue from ``state()``. Raises WeightsError where another optimizer or network made it."""
        arrays = dict(self._arrays())
        for name in {**arrays, **state}:
            if name not in arrays or name not in state or tuple(arrays[name].shape) != state[name].shape:
                raise WeightsError(f"load_training_state: {name} differs: another optimizer or network made this state")
        for name, value in arrays.items():
            value.copy_(torch.from_numpy(np.array(state[name])))


class FusedUpdate(ParameterUpdate):
    """The update by one of PyTorch's fused optimizers.

    Args:
        parameters: By canonical name.
        optimizer: PyTorch's optimizer of these parameters.
        parts: The names of the arrays that it keeps for each parameter.
        counts: Whether it also counts steps for each parameter.
    """

    def __init__(
        self, parameters: Parameters, optimizer: torch.optim.Optimizer, parts: tuple[str, ...], *, counts: bool
    ) -> None:
        super().__init__(parameters)
        self._optimizer = optimizer
        # Without this, a momentum starts from uninitialized memory if the first step is masked.
        for parameter in parameters.values():
            state = {part: torch.zeros_like(parameter) for part in parts}
            if counts:
                state["step"] = torch.zeros((), device=parameter.device)
            if state:
                optimizer.state[parameter] = state

    def _step(self, finite: Tensor, learning_rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        private_api.step_where(self._optimizer, finite)

    def _arrays(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._parameters.items():
            for part, value in self._optimizer.state[parameter].items():
                if isinstance(value, Tensor):
                    yield SLASHED.optimizer(part, name), value


class FormulaUpdate(ParameterUpdate):
    """The update by the formula in ``mlpconv.optimizers``, for rules that PyTorch does not have, or not fused.

    Args:
        parameters: By canonical name.
        optimizer: The optimizer.
        precision: That of the matrix products.
        depthwise: The names of kernels of depthwise convolutions.
    """

    def __init__(
        self,
        parameters: Parameters,
        optimizer: Optimizer,
        precision: Precision = "float32",
        depthwise: Collection[str] = (),
    ) -> None:
        super().__init__(parameters)
        self._optimizer, self._depthwise = optimizer, depthwise
        self._reduced = Tensor.bfloat16 if precision == "bfloat16" else Tensor.float
        self._state = {
            name: {part: torch.zeros_like(p) for part in optimizer.state_names} for name, p in parameters.items()
        }
        self._count = torch.zeros((), device=next(iter(parameters.values())).device)

    @torch.no_grad()
    def _step(self, finite: Tensor, learning_rate: float) -> None:
        rule = self._optimizer.rule
        functions = cast(ArrayFunctions, torch)
        shared = rule.shared(self._optimizer, self._count + 1, functions)
        step = Step(learning_rate, shared, reduced=self._reduced)
        for name, p in self._parameters.items():
            assert p.grad is not None
            each = step._replace(one_row=name in self._depthwise)
            new, state = rule.update(self._optimizer, p, p.grad, self._state[name], each, functions)
            p.copy_(torch.where(finite, new, p))
            for part, value in self._state[name].items():
                value.copy_(torch.where(finite, state[part], value))
        self._count += finite

    def _arrays(self) -> Iterator[tuple[str, Tensor]]:
        yield SLASHED.optimizer("step"), self._count
        for name, arrays in self._state.items():
            for part, value in arrays.items():
                yield SLASHED.optimizer(part, name), value
