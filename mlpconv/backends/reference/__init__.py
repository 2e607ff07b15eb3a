"""The NumPy reference: what every back end must compute, written as plainly as possible, for tests and small jobs."""

from mlpconv.backends.reference.images import augment as augment
from mlpconv.backends.reference.images import preprocess as preprocess
from mlpconv.backends.reference.images import resize as resize
from mlpconv.backends.reference.images import resize_matrix as resize_matrix
from mlpconv.backends.reference.images import squared as squared
from mlpconv.backends.reference.layers import activations as activations
from mlpconv.backends.reference.layers import class_maps as class_maps
from mlpconv.backends.reference.layers import forward as forward
from mlpconv.backends.reference.layers import margins as margins
from mlpconv.backends.reference.layers import pool_counts as pool_counts
from mlpconv.backends.reference.training import OptimizerState as OptimizerState
from mlpconv.backends.reference.training import carry_out as carry_out
from mlpconv.backends.reference.training import loss as loss
from mlpconv.backends.reference.training import targets as targets
from mlpconv.backends.reference.training import update as update
