"""PyTorch's gradients, with which the conformance tests compare every back end.

``python -m support.torch_gradients FILE`` writes them, so that a back end's process needs no PyTorch.

Its network is PyTorch's plain module, its batch the NumPy reference's, its update the NumPy reference's formula.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F

from mlpconv.backends import reference
from mlpconv.backends.weights import depthwise_kernels
from mlpconv.optimizers import Optimizer
from support import conformance_cases


def gradients(module, x, targets):
    """The loss, the hits and the gradients of one batch in training mode."""
    module.zero_grad()
    logits = module.train()(torch.from_numpy(x))
    loss = F.cross_entropy(logits, torch.from_numpy(targets))
    loss.backward()
    return loss.item(), logits.detach().numpy().argmax(1), {n: p.grad.numpy() for n, p in module.named_parameters()}


def trajectory(network, weights, optimizer, plans, images, labels, preprocess):
    """The weights after some steps, and each step's loss and hits."""
    module = network.build("torch", weights=weights)
    state, losses, hits = reference.OptimizerState(), [], []
    for plan in plans:
        x, targets = reference.carry_out(plan, images, labels, preprocess, len(set(labels.tolist())))
        loss, best, g = gradients(module, x, targets)
        losses.append(loss)
        hits.append(int((best == labels[plan.indices]).sum()))
        parameters = {name: p.detach().numpy() for name, p in module.named_parameters()}
        kernels = depthwise_kernels(network)
        parameters, state = reference.update(optimizer, parameters, g, state, plan.learning_rate, kernels)
        for name, p in module.named_parameters():
            p.data = torch.from_numpy(parameters[name].astype(np.float32))
    end = {n: v.numpy() for n, v in module.state_dict().items() if not n.endswith("tracked")}
    return end, np.array(losses), np.array(hits)


def main(path: str) -> None:
    torch.manual_seed(0)
    found = {}
    for name in conformance_cases.GRADIENTS:
        network, images, labels, plan = conformance_cases.gradient_case(name)
        x, targets = reference.carry_out(plan, images, labels, conformance_cases.preprocess(network), 7)
        module = network.build("torch", weights=conformance_cases.initial_weights(network))
        loss, _, own = gradients(module, x, targets)
        found |= {f"gradient/{name}/{key}": value for key, value in own.items()} | {f"loss/{name}": loss}
    for name, optimizer in conformance_cases.OPTIMIZERS.items():
        small = conformance_cases.SMALL
        end, losses, hits = trajectory(
            small,
            conformance_cases.initial_weights(small),
            optimizer,
            conformance_cases.small_plans(),
            conformance_cases.SMALL_IMAGES,
            conformance_cases.SMALL_LABELS,
            conformance_cases.preprocess(small),
        )
        found |= {f"small/{name}/{key}": value for key, value in end.items()}
        found |= {f"small/{name}/losses": losses, f"small/{name}/hits": hits}
    for name in conformance_cases.DEPTHWISE_OPTIMIZERS:
        end, losses, _ = trajectory(
            conformance_cases.DEPTHWISE,
            conformance_cases.depthwise_weights(),
            conformance_cases.OPTIMIZERS[name],
            conformance_cases.small_plans(),
            conformance_cases.SMALL_IMAGES,
            conformance_cases.SMALL_LABELS,
            conformance_cases.preprocess(conformance_cases.DEPTHWISE),
        )
        found |= {f"depthwise/{name}/{key}": value for key, value in end.items()}
        found |= {f"depthwise/{name}/losses": losses}
    net = conformance_cases.FIFTY_STEPS_NETWORK
    optimizer = conformance_cases.FIFTY_STEPS.optimizer
    assert isinstance(optimizer, Optimizer)
    _, losses, _ = trajectory(
        net,
        conformance_cases.initial_weights(net),
        optimizer,
        conformance_cases.fifty_step_plans(),
        conformance_cases.FIFTY_STEPS_IMAGES,
        conformance_cases.FIFTY_STEPS_LABELS,
        conformance_cases.preprocess(net),
    )
    found["fifty"] = losses
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])
