"""TF Privacy's two ways to clipped gradients, its noise left off.

*dp_model*: ``DPModel`` takes the gradient of each example by itself, vectorised, and clips it; any layer will do.
*fast_clipping*: norms from activations (``compute_gradient_norms``), then one weighted backward pass; for models
whose layers are all in TF Privacy's registry, which has dense layers and no convolution.

Neither its optimizers nor ``num_microbatches`` is used: the optimizers take the whole Jacobian, 31 to 545 times a
plain step, and ``num_microbatches`` clips the mean of a group of examples, which is another mechanism.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import tensorflow as tf
from tensorflow_privacy.privacy.fast_gradient_clipping import clip_grads, gradient_clipping_utils, layer_registry
from tensorflow_privacy.privacy.keras_models.dp_keras_model import DPModel

from trustml.backends.contract import Model
from trustml.backends.settings import PrivateSettings
from trustml.backends.tensorflow.network import build_keras, variable

Clip: TypeAlias = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[list[tf.Tensor], tf.Tensor]]
"""Inputs (b, k, *x), labels (b,), clipping norm to the sum of clipped gradients and the number not clipped."""


class Clipper:
    """A Keras model and one of TF Privacy's ways to clip its gradients.

    Attributes
    ----------
    model : tf.keras.Model
    variables : dict of str to tf.Variable
        By canonical name.
    clip : Clip
        Gradients in the order of `variables`.
    """

    def __init__(self, mode: str, model: Model, settings: PrivateSettings) -> None:
        self.model = build_keras(model, _ClippingModel if mode == "dp_model" else tf.keras.Model)
        self.variables = {name: variable(self.model, name) for name in model.weights}
        self.clip: Clip = self._by_model(settings) if mode == "dp_model" else self._by_registry()
        self._per_layer = settings.per_layer

    def clip_rows(self, rows: list[tf.Tensor], clipping_norm: tf.Tensor) -> list[tf.Tensor]:
        """Sum of gradients that are given along a leading axis, in the order of `variables`, each clipped."""
        norms = [tf.norm(tf.reshape(part, (len(part), -1)), axis=1) for part in rows]
        if self._per_layer:
            each = clipping_norm / math.sqrt(len(rows))
            weights = [clip_grads.compute_clip_weights(each, norm) for norm in norms]
        else:
            whole = tf.norm(tf.stack(norms, axis=1), axis=1)
            weights = [clip_grads.compute_clip_weights(clipping_norm, whole)] * len(rows)
        return [tf.tensordot(weight, part, axes=1) for weight, part in zip(weights, rows, strict=True)]

    def _by_model(self, settings: PrivateSettings) -> Clip:
        keras_model, variables = self.model, list(self.variables.values())

        def of_one(piece: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
            copies, label, clipping_norm = piece
            labels = tf.fill([tf.shape(copies)[0]], label)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(_losses(labels, keras_model(copies, training=True)))
            gradients = tape.gradient(loss, variables)
            unclipped = tf.cast(_norm(gradients) <= clipping_norm, tf.int32)
            if settings.per_layer:
                each = clipping_norm / math.sqrt(len(variables))
                return [keras_model.clip([gradient], each)[0] for gradient in gradients], unclipped
            return keras_model.clip(gradients, clipping_norm), unclipped

        def clip(inputs: tf.Tensor, labels: tf.Tensor, clipping_norm: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
            norms = tf.fill([tf.shape(labels)[0]], clipping_norm)
            clipped, unclipped = tf.vectorized_map(of_one, (inputs, labels, norms))
            return [tf.reduce_sum(part, axis=0) for part in clipped], tf.reduce_sum(unclipped)

        return clip

    def _by_registry(self) -> Clip:
        keras_model, variables = self.model, list(self.variables.values())
        registry = layer_registry.make_default_layer_registry()

        def clip(inputs: tf.Tensor, labels: tf.Tensor, clipping_norm: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
            inputs = inputs[:, 0]
            norms = clip_grads.compute_gradient_norms(
                keras_model,
                registry,
                inputs,
                labels,
                per_example_loss_fn=lambda y, logits, _: _losses(y, logits),
            )
            weights = clip_grads.compute_clip_weights(clipping_norm, norms)
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(weights * _losses(labels, keras_model(inputs, training=True)))
            return tape.gradient(total, variables), tf.reduce_sum(tf.cast(norms <= clipping_norm, tf.int32))

        return clip


def possible_modes(model: Model, settings: PrivateSettings) -> tuple[list[str], dict[str, str]]:
    """Modes that can do what is asked, and why the others cannot."""
    registry = layer_registry.make_default_layer_registry()
    refused = {}
    if not gradient_clipping_utils.all_trainable_layers_are_registered(build_keras(model), registry):
        refused["fast_clipping"] = "the registry lacks one of the layers"
    elif settings.per_layer:
        refused["fast_clipping"] = "clips flat only"
    elif settings.multiplicity > 1:
        refused["fast_clipping"] = "is driven for one copy of an example only"
    return [mode for mode in ("dp_model", "fast_clipping") if mode not in refused], refused


class _ClippingModel(DPModel):
    """TF Privacy's model, of which only the clipping is used."""

    def __init__(self, inputs: Any, outputs: Any) -> None:
        super().__init__(l2_norm_clip=1.0, noise_multiplier=0.0, use_xla=False, inputs=inputs, outputs=outputs)

    def clip(self, gradients: list[tf.Tensor], clipping_norm: tf.Tensor) -> list[tf.Tensor]:
        """Clip one example's gradients together."""
        self._l2_norm_clip = clipping_norm
        return self._process_per_example_grads(gradients)


def _losses(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def _norm(gradients: list[tf.Tensor]) -> tf.Tensor:
    # not tf.linalg.global_norm, whose L2Loss cannot be vectorised
    return tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(part)) for part in gradients]))
