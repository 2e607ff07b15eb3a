"""The optimisers in PyTorch."""

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
            if optimizer.momentum:  # PyTorch would begin with whatever the memory holds if the first step is masked
                for parameter in self._parameters.values():
                    self._torch.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        else:
            betas = (optimizer.beta1, optimizer.beta2)
            self._torch = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=optimizer.eps, fused=True)

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
        return {
            f"{name}/{key}": value.detach().cpu().contiguous().numpy().copy()
            for name, parameter in self._parameters.items()
            for key, value in self._torch.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def load(self, state: State) -> None:
        """Take ``state()`` back."""
        self._torch.state.clear()
        for key, value in state.items():
            name, _, part = key.rpartition("/")
            parameter = self._parameters.get(name)
            if parameter is None or (value.ndim and tuple(value.shape) != tuple(parameter.shape)):
                raise WeightsError(f"load_training_state: {key} does not belong to this network")
            tensor = torch.from_numpy(np.array(value))
            if value.ndim:
                tensor = tensor.to(parameter.device)
                tensor = torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(tensor)
            elif parameter.device.type != "cpu":
                tensor = tensor.to(parameter.device)
            self._torch.state[parameter][part] = tensor
