"""Gradient methods: tf-explain's static functions, and Xplique's explainers for what tf-explain lacks.

Each function takes the Keras model, which returns logits, and a request; it gives arrays of shape (n, *x).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf
from tf_explain.core.gradients_inputs import GradientsInputs
from tf_explain.core.integrated_gradients import IntegratedGradients
from tf_explain.core.smoothgrad import SmoothGrad
from tf_explain.core.vanilla_gradients import VanillaGradients

from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.tensorflow.class_batches import ROWS_AT_ONCE, class_by_class
from trustml.data.dataset import Floats
from trustml.scenario import methods as m


def saliency(model: tf.keras.Model, request: ExplainRequest, method: m.Saliency) -> Attributions:
    """tf-explain's vanilla gradients, which keep their sign."""
    # A tensor for the class, not a Python number: else one graph would be compiled for each class.
    native = class_by_class(
        request, lambda inputs, target: VanillaGradients.compute_gradients(inputs, model, tf.constant(target))
    )
    return {"native": native, "completed": np.abs(native)} if method.absolute else {"native": native}


def input_x_gradient(model: tf.keras.Model, request: ExplainRequest) -> Attributions:
    """tf-explain's gradients times inputs."""
    return {
        "native": class_by_class(
            request, lambda inputs, target: GradientsInputs.compute_gradients(inputs, model, tf.constant(target))
        )
    }


def integrated_gradients(model: tf.keras.Model, request: ExplainRequest, method: m.IntegratedGradients) -> Attributions:
    """tf-explain's mean gradient on the path from zeros; completed by the factor (input - 0)."""

    def mean_gradient(inputs: Floats, target: int) -> tf.Tensor:
        path = IntegratedGradients.generate_interpolations(inputs, method.n_steps)
        return IntegratedGradients.get_integrated_gradients(path, model, tf.constant(target), method.n_steps)

    native = class_by_class(request, mean_gradient, rows_per_example=method.n_steps)
    return {"native": native, "completed": native * request.inputs}


def smooth_grad(model: tf.keras.Model, request: ExplainRequest, method: m.SmoothGrad) -> Attributions:
    """tf-explain's mean gradient of the cross-entropy; completed to that of the logit.

    With one more class whose logit is always 0, the gradient of the cross-entropy is ``sum_k p_k dz_k`` for that
    class and ``sum_k p_k dz_k - dz_t`` for the target: on the same noise they differ by the gradient of the logit.
    """
    classes = model.output.shape[-1]

    def both(inputs: Floats, target: int) -> Floats:
        noisy = SmoothGrad.generate_noisy_images(inputs, method.n_samples, method.stdev)

        def averaged(constant_logit: bool, target: int) -> Floats:
            network = _with_softmax(model, constant_logit)
            return SmoothGrad.get_averaged_gradients(noisy, network, target, method.n_samples).numpy()

        completed = averaged(True, classes) - averaged(True, target)
        return np.stack([averaged(False, target), completed], axis=1)

    found = class_by_class(request, both, rows_per_example=method.n_samples)
    return {"native": found[:, 0], "completed": found[:, 1]}


def noise_statistic(model: tf.keras.Model, request: ExplainRequest, method: m.SmoothGrad) -> Attributions:
    """Xplique's SquareGrad or VarGrad; the latter divides by one less than the samples."""
    from xplique.attributions import SquareGrad, VarGrad

    kind = SquareGrad if method.statistic == "mean_of_squares" else VarGrad
    explainer = kind(
        model, batch_size=ROWS_AT_ONCE, reducer=None, nb_samples=method.n_samples, noise=float(method.stdev)
    )
    native = explainer.explain(request.inputs, one_hot(model, request)).numpy()
    if method.statistic == "mean_of_squares":
        return {"native": native}
    return {"native": native, "completed": native * np.float32((method.n_samples - 1) / method.n_samples)}


def guided_backprop(model: tf.keras.Model, request: ExplainRequest) -> Attributions:
    """Xplique's guided backpropagation."""
    from xplique.attributions import GuidedBackprop

    return {"native": _overridden(GuidedBackprop, model, request)}


def deconvolution(model: tf.keras.Model, request: ExplainRequest) -> Attributions:
    """Xplique's DeconvNet."""
    from xplique.attributions import DeconvNet

    return {"native": _overridden(DeconvNet, model, request)}


def one_hot(model: tf.keras.Model, request: ExplainRequest) -> Floats:
    """Targets as Xplique takes them, shape (n, c)."""
    return np.eye(model.output.shape[-1], dtype=np.float32)[request.targets]


def _overridden(kind: Any, model: tf.keras.Model, request: ExplainRequest) -> Floats:
    explainer = _explainer(kind, model)
    explainer.model.set_weights(model.get_weights())  # it holds a copy of the model, with other ReLUs
    return explainer.explain(request.inputs, one_hot(model, request)).numpy()


@lru_cache(maxsize=4)
def _explainer(kind: Any, model: tf.keras.Model) -> Any:
    return kind(model, batch_size=ROWS_AT_ONCE, reducer=None)


@lru_cache(maxsize=4)
def _with_softmax(model: tf.keras.Model, constant_logit: bool) -> tf.keras.Model:
    """Model that ends in a softmax, as tf-explain's SmoothGrad needs it, with a last logit of 0 if asked for."""
    logits = tf.pad(model.output, [[0, 0], [0, 1]]) if constant_logit else model.output
    return tf.keras.Model(model.inputs, tf.keras.layers.Activation("softmax")(logits))
