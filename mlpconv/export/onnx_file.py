"""A classifier as an ONNX model: preprocessing, network and probabilities in one graph, with class names as metadata.

The graph is written from the description of the network and its weights; PyTorch is not needed. Importing this module
raises MissingDependency where onnx is not installed.
"""

from mlpconv.errors import MissingDependency

try:
    import onnx as _onnx  # noqa: F401  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError as error:
    raise MissingDependency(
        f'ONNX: the package {error.name!r} is not installed; pip install "mlpconv[export]"'
    ) from error

from mlpconv.export.onnx_graph.model import onnx_model as onnx_model
