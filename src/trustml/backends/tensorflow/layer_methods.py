"""Methods of a layer by tf-explain."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import tensorflow as tf
from tf_explain.core.activations import ExtractActivations
from tf_explain.core.grad_cam import GradCAM

from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.tensorflow.class_batches import class_by_class, rows_at_once
from trustml.backends.tensorflow.network import layer_name
from trustml.data.dataset import Floats
from trustml.models.graph import value_name
from trustml.models.token_path import patch_grid
from trustml.scenario import methods as m


def grad_cam(model: tf.keras.Model, request: ExplainRequest, method: m.GradCam) -> Attributions:
    """tf-explain's Grad-CAM with guided gradients, its default; completed without them, and rectified if asked for.

    Shape (n, rows, columns) of the layer; tf-explain enlarges nothing before it draws.
    """
    grid = patch_grid(request.model.architecture, request.model.input_shape, request.layer)

    def maps(guided: bool) -> Floats:
        def of_class(inputs: Floats, target: int) -> tf.Tensor:
            outputs, gradients = GradCAM.get_gradients_and_filters(model, inputs, _layer_name(request), target, guided)
            if grid is not None and len(outputs.shape) == 3:  # tokens of patches
                shape = (-1, grid.rows, grid.columns, outputs.shape[-1])
                outputs, gradients = (tf.reshape(part[:, grid.first :], shape) for part in (outputs, gradients))
            return tf.stack(GradCAM.generate_ponderated_output(outputs, gradients))

        return class_by_class(request, of_class)

    plain = maps(guided=False)
    return {"native": maps(guided=True), "completed": np.maximum(plain, 0) if method.relu else plain}


def activation(model: tf.keras.Model, request: ExplainRequest, method: m.LayerActivation) -> Attributions:
    """Output of a layer by tf-explain's sub-model; shape (n, *layer)."""
    layer_model = _up_to(model, _layer_name(request))
    return {"native": layer_model.predict(request.inputs, batch_size=rows_at_once(request), verbose=0)}


def _layer_name(request: ExplainRequest) -> str:
    return layer_name(value_name(request.model.architecture, request.layer))


@lru_cache(maxsize=8)
def _up_to(model: tf.keras.Model, name: str) -> tf.keras.Model:
    return ExtractActivations.generate_activations_graph(model, [name])
