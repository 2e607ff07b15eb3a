"""The browser engine: JavaScript modules that compute a trained network, and the page that shows its answers.

``engine/`` reads a classifier file and computes it; ``page/`` is the interface. They are plain ES modules, which
`page.assemble` joins into one HTML file. ``npm run check`` checks their types.
"""

LAYERS = frozenset(
    (
        "conv2d",
        "batch_norm2d",
        "relu",
        "relu6",
        "sigmoid",
        "max_pool2d",
        "avg_pool2d",
        "dropout",
        "global_avg_pool2d",
        "flatten",
        "linear",
    )
)
"""The kinds of layers that the engine computes, as ``KINDS`` in engine/network.js lists them."""
