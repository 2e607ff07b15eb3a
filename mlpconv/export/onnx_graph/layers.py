"""The layers of a network as nodes of an ONNX graph, with the names that they have in the network."""

from collections.abc import Mapping
from typing import Any, assert_never

from mlpconv.arch.class_maps import until_class_maps
from mlpconv.arch.layers import (
    AnyLayer,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    ReLU6,
    Shape,
    Sigmoid,
)
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import layer_shapes
from mlpconv.backends.base import Weights
from mlpconv.backends.reference.layers import margins
from mlpconv.errors import NetworkError
from mlpconv.export.onnx_graph.graph import Graph


def add_network(graph: Graph, x: str, network: Network, weights: Weights) -> tuple[str, str | None]:
    """Add the layers of a network.

    Args:
        graph: The graph.
        x: The name of the network's input: float32 (N, C, H, W).
        network: The network.
        weights: The canonical weights, which keep their names.

    Returns:
        The names of the network's output, and of its class maps before a last ReLU; None if it has none.
    """
    last = _class_map_layer(network)
    maps = None
    for row in layer_shapes(network):
        values = [*row.layer.parameter_shapes(row.input_shape), *row.layer.statistic_shapes(row.input_shape)]
        named = {
            value: graph.constant(f"{row.name}.{value}", weights[f"{row.name}.{value}"], "float32") for value in values
        }
        x = _add(graph, row.name, row.layer, named, x, row.input_shape, row.output_shape)
        maps = x if row.name == last else maps
    return x, maps


def _class_map_layer(network: Network) -> str | None:
    """The full name of the layer whose output are the class maps; None if the network has none."""
    try:
        *_, (name, _) = until_class_maps(network)[0].walk()
    except NetworkError:
        return None
    return name


def _add(
    graph: Graph, name: str, layer: AnyLayer, weights: Mapping[str, str], x: str, before: Shape, after: Shape
) -> str:
    match layer:
        case Conv2d():
            settings = _windows(layer, before, after)
            if layer.depthwise:
                settings["group"] = before[0]
            return graph.add("Conv", x, *weights.values(), name=name, **settings)
        case BatchNorm2d():
            return graph.add("BatchNormalization", x, *weights.values(), name=name, epsilon=layer.eps)
        case ReLU():
            return graph.add("Relu", x, name=name)
        case ReLU6():
            bounds = (graph.constant(f"float32.{bound}", bound, "float32") for bound in (0, 6))
            return graph.add("Clip", x, *bounds, name=name)
        case Sigmoid():
            return graph.add("Sigmoid", x, name=name)
        case MaxPool2d():
            return graph.add("MaxPool", x, name=name, **_windows(layer, before, after))
        case AvgPool2d():
            return _add_average_pool(graph, name, layer, x, before, after)
        case Dropout():
            return x
        case GlobalAvgPool2d():
            return graph.add("GlobalAveragePool", x, name=name)
        case Flatten():
            return graph.add("Flatten", x, name=name, axis=1)
        case Linear():
            return graph.add("Gemm", x, *weights.values(), name=name, transB=1)
        case _:
            assert_never(layer)


def _windows(layer: Conv2d | MaxPool2d | AvgPool2d, before: Shape, after: Shape) -> dict[str, Any]:
    """Kernel, strides and padding. What a last window of ``ceil_mode`` needs is padded, because runtimes differ in how
    they round up."""
    window = layer.window
    sides = [margins(window, before[1 + axis], after[1 + axis], axis) for axis in (0, 1)]
    pads = [first for first, _ in sides] + [last for _, last in sides]
    return {"kernel_shape": window.kernel, "strides": window.stride, "pads": pads}


def _add_average_pool(graph: Graph, name: str, layer: AvgPool2d, x: str, before: Shape, after: Shape) -> str:
    """Padding counts if the layer says so; what a last window of ``ceil_mode`` needs beyond it never does."""
    settings = _windows(layer, before, after)
    padding = (*layer.window.padding, *layer.window.padding)
    if layer.count_include_pad and any(padding):
        x = graph.add("Pad", x, graph.integers(0, 0, *padding[:2], 0, 0, *padding[2:]), name=f"{name}.padding")
        settings["pads"] = [
            0,
            0,
            *(max(0, both - own) for both, own in zip(settings["pads"][2:], padding[2:], strict=True)),
        ]
    return graph.add("AveragePool", x, name=name, count_include_pad=0, **settings)
