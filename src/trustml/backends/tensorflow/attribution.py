"""Attributions by tf-explain 0.3.1, and by Xplique 1.5.2 for what it lacks: raw arrays, never pictures.

``native`` is what the library returns. ``completed`` follows the definition, where that can be had from the
library's own functions; how the two relate says :mod:`trustml.catalogue.methods`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import tensorflow as tf

from trustml.backends.contract import Attributions, ExplainRequest, Model
from trustml.backends.tensorflow.network import build_keras, load_weights
from trustml.catalogue.available import implementation
from trustml.catalogue.methods import METHODS
from trustml.frameworks.implementation import Implementation, resolve
from trustml.models.layers import Architecture
from trustml.scenario import methods as m


def explain(request: ExplainRequest) -> Attributions:
    """See :class:`trustml.backends.contract.Backend`.

    Raises
    ------
    NotImplementedError
        If neither library has the method with these settings.
    """
    found = implementation("tensorflow", request.method)
    function = resolve(found)
    model = _keras_model(request.model.architecture, request.model.input_shape)
    load_weights(model, request.model.weights)
    with _seeded(request.seed, in_tensorflow=_draws_in_graph(found, request.method)):
        attributions: Attributions = function(model, request, request.method)
        return attributions


@lru_cache(maxsize=4)
def _keras_model(architecture: Architecture, input_shape: tuple[int, ...]) -> tf.keras.Model:
    """Build a model to load weights into: the libraries compile once a model, and it is asked for again and again."""
    return build_keras(Model(architecture=architecture, input_shape=input_shape, weights={}))


def _draws_in_graph(found: Implementation, method: m.Method) -> bool:
    return found.library == "xplique" and METHODS[type(method)].sampled


@contextmanager
def _seeded(seed: int, *, in_tensorflow: bool) -> Iterator[None]:
    """Seed numpy's global generator, from which tf-explain draws, and, where Xplique draws, TensorFlow's.

    Xplique draws inside compiled functions, which keep the seed that was set when they were first called: a
    second seed would be ignored. Not compiled, they draw from the seed of this request. Others are left compiled and
    TensorFlow's seed alone: setting it forgets what was compiled.
    """
    before = np.random.get_state()
    np.random.seed(seed % 2**32)
    if in_tensorflow:
        tf.random.set_seed(seed)
        tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)
        np.random.set_state(before)
