"""What a notebook shows: networks, costs, runs and predictions as tables and pictures, and curves that grow.

    from mlpconv.notebook import compare, show_images

Nothing here needs IPython but the live curves, which are only drawn where a kernel runs. Loaded when it is first used.
"""

from mlpconv.notebook.networks import compare
from mlpconv.notebook.page import Html
from mlpconv.notebook.pictures import show_images

__all__ = ["Html", "compare", "show_images"]
