"""Everything that mlpconv uses of PyTorch beyond its public API, in one module.

PyTorch may change these names in any version. ``SUPPORTED`` is the range that they were checked with; the tests check
the installed version, and ``missing`` names what it lacks. ``torch.ops.aten`` operators are public in the sense that
exported programs contain them, but their signatures are not documented.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, assert_never

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.fake_tensor import FakeTensorMode as FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
from torch.utils._pytree import tree_iter as tree_iter

SUPPORTED = ">=2.10,<3"
"""The versions of PyTorch that have these names, as in pyproject.toml; constraints.txt pins the tested one."""

Size = tuple[int, int]
Activation = Literal["none", "relu", "relu6"]

_NAMES = (
    "ops.mkldnn._is_mkldnn_bf16_supported",
    "ops.mkldnn._convolution_pointwise",
    "ops.aten.threshold_backward.default",
    "ops.aten.threshold_backward.grad_input",
    "ops.aten.hardtanh_backward.default",
    "ops.aten.hardtanh_backward.grad_input",
    "ops.aten.convolution_backward.default",
    "ops.aten.max_pool2d_with_indices_backward.grad_input",
    "ops.aten.add.Tensor._op_dk",
    "ops.aten.add.Tensor.is_view",
    "_C.DispatchKey.CompositeImplicitAutograd",
    "_C._dispatch_has_kernel_for_dispatch_key",
    "UntypedStorage._cdata",
)


def missing(root: Any = torch) -> list[str]:
    """The private names that the installed PyTorch does not have: "torch.ops.mkldnn._convolution_pointwise"."""
    return [f"torch.{name}" for name in _NAMES if not _has(root, name)]


def _has(value: Any, name: str) -> bool:
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except (AttributeError, RuntimeError):  # torch.ops raises RuntimeError for an operator that does not exist
            return False
    return True


# Convolutions with oneDNN, PyTorch's library for the CPU (also called mkldnn)


def has_bfloat16_convolutions() -> bool:
    """Whether oneDNN has convolutions in bfloat16 for this processor."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: Size,
    stride: Size,
    *,
    groups: int = 1,
    activation: Activation = "none",
) -> Tensor:
    """oneDNN's convolution of (B, C, H, W), which applies an activation while it writes its output."""
    if x.shape[1] == 1 and stride[1] > 1 and x.shape[3] + 2 * padding[1] - weight.shape[3] < stride[1]:
        # On AVX-512, oneDNN reads outside of a map of one channel, channels last, if the output is one column wide and
        # the stride is not 1 (PyTorch 2.13). With a second column it does not; that column is left out.
        wider = torch.nn.functional.pad(x, (0, stride[1]))
        return convolution(wider, weight, bias, padding, stride, groups=groups, activation=activation)[..., :1]
    name, bounds = ("hardtanh", [0, 6]) if activation == "relu6" else (activation, [])
    return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, padding, stride, (1, 1), groups, name, bounds, "")


def convolution_gradients(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Size,
    padding: Size,
    wanted: tuple[bool, bool, bool],
    groups: int = 1,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of a convolution's input, weight and bias, each None unless ``wanted``."""
    bias_sizes = [len(weight)] if wanted[2] else None
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, bias_sizes, stride, padding, (1, 1), False, (0, 0), groups, wanted
    )


# Gradients that are written into a given tensor


def activation_gradient(activation: Activation, gradient: Tensor, output: Tensor, into: Tensor | None = None) -> Tensor:
    """The gradient of an activation's input by its output. into: the tensor to write to, which may be ``gradient``."""
    keywords = {} if into is None else {"grad_input": into}
    match activation:
        case "none":
            return gradient
        case "relu":
            operator, bounds = torch.ops.aten.threshold_backward, (0,)
        case "relu6":
            operator, bounds = torch.ops.aten.hardtanh_backward, (0, 6)
        case _:
            assert_never(activation)
    return (operator if into is None else operator.grad_input)(gradient, output, *bounds, **keywords)


def max_pool_gradient(
    gradient: Tensor, x: Tensor, indices: Tensor, geometry: Sequence[Size], ceil_mode: bool, into: Tensor
) -> Tensor:
    """The gradient of a max pooling's input. geometry: kernel, stride, padding. Of x, only the shape matters."""
    return torch.ops.aten.max_pool2d_with_indices_backward.grad_input(
        gradient, x, *geometry, (1, 1), ceil_mode, indices, grad_input=into
    )


# Optimizers


def step_where(optimizer: torch.optim.Optimizer, finite: Tensor) -> None:
    """One step of a fused optimizer that changes nothing, neither parameters nor state, where ``finite`` is false.

    These are the attributes by which torch.amp.GradScaler controls a fused optimizer; the device reads them.
    """
    optimizer.found_inf = (~finite).float()  # pyright: ignore[reportAttributeAccessIssue]
    optimizer.grad_scale = None  # pyright: ignore[reportAttributeAccessIssue]
    optimizer.step()


# Operations as a dispatch mode sees them


def is_fake(x: Tensor) -> bool:
    """Whether a tensor has a shape but no values, as FakeTensorMode makes them."""
    return isinstance(x, FakeTensor)


def decomposes(operation: Any) -> bool:
    """Whether an operation consists of others, as max pooling in inference does."""
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return operation.namespace == "aten" and torch._C._dispatch_has_kernel_for_dispatch_key(operation.name(), key)


def decomposition(operation: Any) -> Callable[..., Any]:
    """The operation as a function that calls those that it consists of."""
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return lambda *args, **kwargs: operation._op_dk(key, *args, **kwargs)


def storage_identity(storage: torch.UntypedStorage) -> int:
    """A number that identifies a storage's memory for as long as it exists."""
    return storage._cdata
