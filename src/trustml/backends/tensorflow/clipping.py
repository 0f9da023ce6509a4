"""Three ways to clipped gradients, two by TF Privacy with its noise left off.

*dp_model*: ``DPModel`` takes the gradient of each example by itself, vectorised, and clips it; any layer will do.
*fast_clipping*: norms from activations (``compute_gradient_norms``), then one weighted backward pass, by TF
Privacy's registry of layers, to which our rules for convolutions and norms are added.
*book_keeping*: the same rules, and TF Privacy's clip weights, after a single backward pass.

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
from trustml.backends.tensorflow.book_keeping import clipped_sum, per_example_gradients
from trustml.backends.tensorflow.layer_rules import rule_for
from trustml.backends.tensorflow.network import build_keras, variable
from trustml.models.layers import Dropout

MODES = ("dp_model", "fast_clipping", "book_keeping")
Clip: TypeAlias = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[list[tf.Tensor], tf.Tensor]]
"""Inputs (b, k, *x), labels (b,), clipping norm to the sum of clipped gradients and the number not clipped."""


class Clipper:
    """A Keras model and one way to clip its gradients.

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
        ways = {
            "dp_model": self._by_model,
            "fast_clipping": self._by_registry,
            "book_keeping": self._by_book_keeping,
        }
        self.clip: Clip = ways[mode](settings)
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

    def _by_registry(self, settings: PrivateSettings) -> Clip:
        keras_model, variables = self.model, list(self.variables.values())
        registry = make_registry()

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

    def _by_book_keeping(self, settings: PrivateSettings) -> Clip:
        keras_model, variables, copies = self.model, list(self.variables.values()), settings.multiplicity

        def clip(inputs: tf.Tensor, labels: tf.Tensor, clipping_norm: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
            flat = tf.reshape(inputs, (-1, *inputs.shape[2:]))
            gradients = per_example_gradients(keras_model, variables, flat, labels, copies=copies)
            return clipped_sum(gradients, clipping_norm, per_layer=settings.per_layer)

        return clip


def possible_modes(model: Model, settings: PrivateSettings) -> tuple[list[str], dict[str, str]]:
    """Modes that can do what is asked, and why the others cannot."""
    keras_model, refused = build_keras(model), {}
    if not gradient_clipping_utils.all_trainable_layers_are_registered(keras_model, make_registry()):
        refused["fast_clipping"] = "the registry lacks one of the layers"
    elif settings.per_layer:
        refused["fast_clipping"] = "clips flat only"
    elif settings.multiplicity > 1:
        refused["fast_clipping"] = "is driven for one copy of an example only"
    elif any(isinstance(layer, Dropout) for layer in model.architecture.layers):
        refused["fast_clipping"] = "takes the norms without dropout, and the gradients with it"
    if any(layer.trainable_weights and rule_for(layer) is None for layer in keras_model.layers):
        refused["book_keeping"] = "has no rule for one of the layers"
    return [mode for mode in MODES if mode not in refused], refused


def make_registry() -> layer_registry.LayerRegistry:
    """TF Privacy's registry, with our rules for the layers that it lacks."""
    registry = layer_registry.make_default_layer_registry()
    keras = tf.keras.layers
    for kind in (keras.Conv2D, keras.GroupNormalization, keras.LayerNormalization):
        registry.insert(kind, _registry_function)
    return registry


def _registry_function(
    layer: Any, arguments: Any, keywords: Any, tape: tf.GradientTape, num_microbatches: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Do what TF Privacy asks of a layer: what to take the gradient of, the output, and squared norms from there."""
    rule = rule_for(layer)
    if rule is None or keywords or num_microbatches is not None:
        raise NotImplementedError(f"{type(layer).__name__} is clipped by itself, one example at a time")
    outputs, backward = rule(layer, *arguments)
    tape.watch(outputs)

    def squared_norms(gradient: tf.Tensor) -> tf.Tensor:
        return tf.add_n([part.squared_norms for part in backward(gradient, 1)])

    return outputs, outputs, squared_norms


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
