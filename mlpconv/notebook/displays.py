"""The HTML that a notebook shows for the objects of mlpconv, registered with IPython by the names of their classes."""

import sys
from typing import Any

DISPLAYED = (
    ("mlpconv.arch.network", "Network"),
    ("mlpconv.arch.cost", "Costs"),
    ("mlpconv.arch.cost", "Memory"),
    ("mlpconv.data.dataset", "ImageDataset"),
    ("mlpconv.data.dataset", "Splits"),
    ("mlpconv.inference.classifier", "Predictions"),
    ("mlpconv.runs.run", "Run"),
)
"""Module and name of each class that has a display. By name, so that registering imports nothing."""


def register_displays(shell: Any = None) -> None:
    """Let IPython show the objects of mlpconv as HTML.

    Args:
        shell: The IPython shell; by default the running one. Without one, nothing happens.
    """
    ipython = sys.modules.get("IPython")
    shell = shell or (ipython.get_ipython() if ipython else None)
    if shell is None:
        return
    formatter = shell.display_formatter.formatters["text/html"]
    for module, name in DISPLAYED:
        formatter.for_type_by_name(module, name, to_html)


def to_html(value: Any) -> str:
    """The HTML that a notebook shows for a network, its costs or memory, a data set, predictions or a run.

    Raises:
        TypeError: There is no display for an object of this type.
    """
    from mlpconv.arch.cost import Costs, Memory
    from mlpconv.arch.network import Network
    from mlpconv.notebook.networks import costs_html, memory_html, network_html

    match value:
        case Network():
            return network_html(value)
        case Costs():
            return costs_html(value)
        case Memory():
            return memory_html(value)
        case _:
            pass

    # Imported only now, because networks can be shown without NumPy.
    from mlpconv.data.dataset import ImageDataset, Splits
    from mlpconv.inference.classifier import Predictions
    from mlpconv.notebook.pictures import dataset_html, predictions_html, splits_html
    from mlpconv.notebook.runs import run_html
    from mlpconv.runs.run import Run

    match value:
        case ImageDataset():
            return dataset_html(value)
        case Splits():
            return splits_html(value)
        case Predictions():
            return predictions_html(value)
        case Run():
            return run_html(value)
        case _:
            raise TypeError(f"to_html: no display for {type(value).__name__}")
