"""The optimisers of the PyTorch back end: an update that leaves everything as it was where something is not finite."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from mlpconv.backends.base import Optimizer, State
from mlpconv.backends.weights import decays
from mlpconv.errors import WeightsError


class Steps:
    """Our optimiser formulas, carried out by PyTorch's own optimisers, which compute the same."""

    def __init__(self, module: nn.Module, optimizer: Optimizer) -> None:
        self._parameters = dict(module.named_parameters())
        decayed = [p for name, p in self._parameters.items() if decays(name, tuple(p.shape))]
        others = [p for name, p in self._parameters.items() if not decays(name, tuple(p.shape))]
        groups = [{"params": decayed, "weight_decay": optimizer.weight_decay}, {"params": others, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
        if optimizer.name == "sgd":
            self._torch: torch.optim.Optimizer = torch.optim.SGD(
                groups, lr=0.0, momentum=optimizer.momentum, nesterov=optimizer.nesterov, fused=True
            )
            moments = ("momentum_buffer",) if optimizer.momentum else ()
        else:
            betas = (optimizer.beta1, optimizer.beta2)
            self._torch = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=optimizer.eps, fused=True)
            moments = ("exp_avg", "exp_avg_sq")
        # PyTorch would begin a momentum with whatever the memory holds if the first step is masked.
        for parameter in self._parameters.values():
            state = {part: torch.zeros_like(parameter) for part in moments}
            if optimizer.name != "sgd":
                state["step"] = torch.zeros((), device=parameter.device)
            if state:
                self._torch.state[parameter] = state

    def update(self, loss: Tensor, learning_rate: float) -> Tensor:
        """Update by the gradients in place and drop them; a boolean tensor: whether all was finite and it counted."""
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        finite = torch.isfinite(loss) & torch.isfinite(nn.utils.get_total_norm(gradients))
        for group in self._torch.param_groups:
            group["lr"] = learning_rate
        # What GradScaler tells a fused optimiser: it then leaves parameters and state as they are, on the device.
        self._torch.found_inf = (~finite).float()  # pyright: ignore[reportAttributeAccessIssue]
        self._torch.grad_scale = None  # pyright: ignore[reportAttributeAccessIssue]
        self._torch.step()
        self._torch.zero_grad(set_to_none=True)
        return finite

    def state(self) -> State:
        """Every tensor that the optimiser keeps: "block1.conv.weight/momentum_buffer"."""
        return {name: value.cpu().contiguous().numpy().copy() for name, value in self._kept()}

    def load(self, state: State) -> None:
        """Take ``state()`` back. Raises WeightsError where another optimiser or network made it."""
        own = dict(self._kept())
        for name in {**own, **state}:
            if name not in own or name not in state or tuple(own[name].shape) != state[name].shape:
                raise WeightsError(f"load_training_state: {name} differs: another optimiser or network made this state")
        for name, value in own.items():
            value.copy_(torch.from_numpy(np.array(state[name])))

    def _kept(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._parameters.items():
            for part, value in self._torch.state[parameter].items():
                if isinstance(value, Tensor):
                    yield f"{name}/{part}", value
