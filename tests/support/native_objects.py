"""How the networks that ``Backend.native`` returns are called."""

from typing import Any

import numpy as np


def call_native(native: Any, backend: str, x: np.ndarray) -> np.ndarray:
    """The output in evaluation of a network that a back end returns as its framework's own object.

    Args:
        native: The network.
        backend: The name of the back end. One without a case is called with a NumPy array.
        x: The input, float32 (B, C, H, W).
    """
    match backend:
        case "torch":
            import torch

            # A copy has the strides of NCHW, also along axes of one element. With those of channels last, oneDNN
            # computes some convolutions of one channel wrongly on AVX-512: see private_api.convolution.
            return native.eval()(torch.from_numpy(x.copy())).detach().numpy()
        case "mxnet":
            import mxnet

            return native(mxnet.nd.array(x)).asnumpy()
        case "tensorflow" | "jax":  # the maps of Keras are (H, W, C)
            return np.asarray(native(x.transpose(0, 2, 3, 1), training=False))
        case _:
            return np.asarray(native(x))
