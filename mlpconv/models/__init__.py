"""The registered networks, and how to create one."""

# The order of registration is the order in which `mlpconv models` lists them.
# isort: off
from mlpconv.models.nin import nin_block
from mlpconv.models import photo as photo
from mlpconv.models.classics import vgg_block
from mlpconv.models import family as family
from mlpconv.models.shipped import shipped_weights

# isort: on
from mlpconv.models.registry import create_model, list_models, model_entry, register_model

__all__ = ["create_model", "list_models", "model_entry", "nin_block", "register_model", "shipped_weights", "vgg_block"]
