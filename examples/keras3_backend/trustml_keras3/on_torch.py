"""Keras 3 on torch: which it is must be said before Keras is imported."""

import os

os.environ["KERAS_BACKEND"] = "torch"

from trustml_keras3.backend import BACKEND as BACKEND
