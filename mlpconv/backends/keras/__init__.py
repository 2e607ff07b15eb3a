"""The Keras back end, for TensorFlow and JAX."""
