"""Writing an ONNX graph: nodes and constants with names that say what they are for."""

from collections.abc import Callable, Iterable
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnx  # pyright: ignore[reportMissingImports]
from onnx import TensorProto, helper, numpy_helper  # pyright: ignore[reportMissingImports]

Dims = tuple[int | str | None, ...]
"""The dimensions of a value: numbers, names, or None where unknown."""
TYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
    "string": TensorProto.STRING,
}
"""The types of ONNX by their names in NumPy."""


class Graph:
    """An ONNX graph that grows node by node.

    The names of nodes are the names of what they compute. A name that is used again gets a number.

    Args:
        outer: The graph that contains this one as a branch.
    """

    def __init__(self, outer: Self | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = outer._constants if outer else {}
        self._used: dict[str, int] = outer._used if outer else {}

    def add(self, op: str, *inputs: str, name: str, unused: tuple[str, ...] = (), **attributes: Any) -> str:
        """Add a node, and return the name of its first output, which is also the node's.

        Args:
            op: The ONNX operator.
            inputs: The names of its inputs.
            name: The name of the node and its first output.
            unused: The names of further outputs.
            attributes: The attributes of the operator.
        """
        name = self._unused(name)
        outputs = [name, *(f"{name}.{other}" for other in unused)]
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return name

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Add a constant, once under each name, and return its name."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.array(value, dtype, order="C"), name)
        return name

    def integers(self, *values: int) -> str:
        """Add a constant of integers, int64 (N,), named after them."""
        return self.constant("int64." + "_".join(map(str, values)), values, np.int64)

    def cast(self, value: str, dtype: str, name: str) -> str:
        """Convert a value to another type."""
        return self.add("Cast", value, name=name, to=TYPES[dtype])

    def dimension(self, value: str, axis: int, name: str) -> str:
        """The size of an axis: int64 (1,)."""
        return self.add("Shape", value, name=name, start=axis, end=axis + 1)

    def choose(
        self,
        condition: str,
        then: Callable[["Graph"], str],
        otherwise: Callable[["Graph"], str],
        *,
        name: str,
        dtype: str,
        dims: Dims,
    ) -> str:
        """Compute one of two branches.

        Args:
            condition: The name of a bool (1,).
            then: Adds the nodes of the first branch and returns its result.
            otherwise: The same for the second branch.
            name: The name of the node and its output.
            dtype: The type of the result.
            dims: The dimensions of the result.
        """
        name = self._unused(name)
        branches = {}
        for key, make in (("then", then), ("else", otherwise)):
            inner = Graph(self)
            result = inner.add("Identity", make(inner), name=f"{name}.{key}")
            outputs = [helper.make_tensor_value_info(result, TYPES[dtype], dims)]
            branches[f"{key}_branch"] = helper.make_graph(inner.nodes, f"{name}.{key}", [], outputs)
        self.nodes.append(helper.make_node("If", [condition], [name], name=name, **branches))
        return name

    def finish(
        self, name: str, inputs: Iterable[tuple[str, str, Dims]], outputs: Iterable[tuple[str, str, Dims]]
    ) -> "onnx.GraphProto":
        """The graph, of inputs and outputs given as (name, type, dimensions)."""
        described = [
            [helper.make_tensor_value_info(each, TYPES[dtype], dims) for each, dtype, dims in values]
            for values in (inputs, outputs)
        ]
        return helper.make_graph(self.nodes, name, *described, initializer=list(self._constants.values()))

    def _unused(self, name: str) -> str:
        count = self._used[name] = self._used.get(name, 0) + 1
        return name if count == 1 else f"{name}.{count}"
