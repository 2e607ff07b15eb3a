"""The update by our formulas, which serves rules that PyTorch does not have, against PyTorch's fused optimizers."""

import numpy as np

from mlpconv.backends.pytorch.optimizer import FormulaUpdate, create_update
from support.torch_training_steps import OPTIMIZERS, assert_equal_tensors, every_device, every_optimizer, torch

LOSS = {True: 1.0, False: float("nan")}


def a_module(device):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).to(device)


def updated(module, update, finite_steps):
    for step, finite in enumerate(finite_steps):
        draw = torch.Generator().manual_seed(step)
        for parameter in module.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=draw).to(parameter.device)
        counted = update.update(torch.tensor(LOSS[finite], device=parameter.device), 0.1 / (step + 1))
        assert bool(counted) == finite
        assert all(parameter.grad is None for parameter in module.parameters())
    return {name: parameter.detach().cpu().numpy().copy() for name, parameter in module.named_parameters()}


@every_device
@every_optimizer
def test_the_formulas_agree_with_the_fused_optimizers(optimizer, device):
    fused, ours = a_module(device), a_module(device)
    steps = [False, True, True, False, True]
    expected = updated(fused, create_update(fused, optimizer), steps)
    found = updated(ours, FormulaUpdate(dict(ours.named_parameters()), optimizer), steps)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@every_device
@every_optimizer
def test_an_update_that_is_not_finite_changes_nothing(optimizer, device):
    module = a_module(device)
    update = FormulaUpdate(dict(module.named_parameters()), optimizer)
    before, state = updated(module, update, [True, True]), update.state()
    assert_equal_tensors(updated(module, update, [False]), before)
    assert_equal_tensors(update.state(), state)


def test_the_state_of_an_update_is_restored():
    whole, other = a_module("cpu"), a_module("cpu")
    first = FormulaUpdate(dict(whole.named_parameters()), OPTIMIZERS["adamw"])
    other.load_state_dict({**other.state_dict(), **dict(whole.named_parameters())})
    updated(whole, first, [True, True])
    second = FormulaUpdate(dict(other.named_parameters()), OPTIMIZERS["adamw"])
    second.load(first.state())
    assert_equal_tensors(second.state(), first.state())
    assert "optimizer/step" in first.state()
    assert "optimizer/0.weight/mean" in first.state()
