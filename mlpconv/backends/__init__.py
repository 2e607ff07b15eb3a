"""Back ends: networks in PyTorch, TensorFlow, JAX and MXNet, and step plans executed there.

Frameworks load on demand.
"""
