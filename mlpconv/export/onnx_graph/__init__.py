"""The graph of an ONNX model, written node by node from the description of a network and its weights."""
