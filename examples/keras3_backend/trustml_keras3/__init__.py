"""Keras 3 as a backend of trustml, on JAX or on PyTorch: nothing here imports TensorFlow."""
