"""A training run from request to result."""
