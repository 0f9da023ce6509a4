"""Two ways to clipped gradients, with TF Privacy's rule and its noise left off.

*dp_model*: ``DPModel`` clips the gradient of each example, one after another; any layer will do. Vectorised, as TF
Privacy does it, an example's gradient changes in its last digits with its place in the batch.
*book_keeping*: TF Privacy's clip weights on gradients that our rules of layers take from a single backward pass.

TF Privacy's fast clipping takes norms from one pass and sums up another one, of weighted losses: where a layer's
gradients cancel, rounding decides both, and an example moves the sum by up to 1.6 clipping norms. Neither its
optimizers nor ``num_microbatches`` is used: the optimizers take the whole Jacobian, 31 to 545 times a plain step, and
``num_microbatches`` clips the mean of a group of examples, which is another mechanism.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import tensorflow as tf
from tensorflow_privacy.privacy.fast_gradient_clipping import clip_grads
from tensorflow_privacy.privacy.keras_models.dp_keras_model import DPModel

from trustml.backends.contract import Model
from trustml.backends.settings import PrivateSettings, written_numbers
from trustml.backends.tensorflow.book_keeping import clipped_sum, per_example_gradients
from trustml.backends.tensorflow.layer_rules import rule_for
from trustml.backends.tensorflow.losses import copies_loss
from trustml.backends.tensorflow.network import build_keras, trained_variables

_MOST_WRITTEN = 2**27
"""Numbers of gradients that book-keeping writes out at once, 512 MiB of them."""
MODES = ("dp_model", "book_keeping")
Clip: TypeAlias = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tuple[list[tf.Tensor], tf.Tensor]]
"""Inputs (b, k, *x), labels (b, ...) or of users (b, k, ...), mask (b,), clipping norm to the sum of clipped gradients
and the number not clipped.

The mask is 1 for an example and 0 for what fills up.
"""


class Clipper:
    """A Keras model and one way to clip its gradients.

    Attributes
    ----------
    model : tf.keras.Model
    variables : dict of str to tf.Variable
        By canonical name.
    clip : Clip
        Gradients in the order of `variables`.
    most_examples : int, optional
        Examples that fit into memory at once, where that is known.
    """

    def __init__(self, mode: str, model: Model, settings: PrivateSettings) -> None:
        self._architecture = model.architecture
        self.model = build_keras(model, _ClippingModel if mode == "dp_model" else tf.keras.Model)
        self._task = model.task
        self.variables = trained_variables(self.model, model)
        self.clip: Clip = (self._by_model if mode == "dp_model" else self._by_book_keeping)(settings)
        written = written_numbers(
            model.architecture, model.input_shape, copies=settings.multiplicity, frozen=model.frozen
        )
        self.most_examples = max(1, _MOST_WRITTEN // written) if mode == "book_keeping" and written else None
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
        keras_model, variables, task = self.model, list(self.variables.values()), self._task

        def of_one(copies: tf.Tensor, label: tf.Tensor, clipping_norm: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = copies_loss(
                    task,
                    keras_model(copies, training=True),
                    label[None],
                    copies=settings.multiplicity,
                    own_labels=settings.rows_of_users,
                )
            # Of a table of tokens slices come back, whose norm would count a token that comes again as several.
            gradients = [tf.convert_to_tensor(one) for one in tape.gradient(loss, variables)]
            unclipped = tf.cast(tf.linalg.global_norm(gradients) <= clipping_norm, tf.int32)
            if settings.per_layer:
                each = clipping_norm / math.sqrt(len(variables))
                return [keras_model.clip([gradient], each)[0] for gradient in gradients], unclipped
            return keras_model.clip(gradients, clipping_norm), unclipped

        def clip(
            inputs: tf.Tensor, labels: tf.Tensor, mask: tf.Tensor, clipping_norm: tf.Tensor
        ) -> tuple[list[tf.Tensor], tf.Tensor]:
            def add(
                total: tuple[list[tf.Tensor], tf.Tensor], one: tuple[tf.Tensor, tf.Tensor, tf.Tensor]
            ) -> tuple[list[tf.Tensor], tf.Tensor]:
                copies, label, counts = one
                clipped, unclipped = of_one(copies, label, clipping_norm)
                sums = [part + counts * more for part, more in zip(total[0], clipped, strict=True)]
                return sums, total[1] + unclipped * tf.cast(counts, tf.int32)

            nothing = [tf.zeros(one.shape) for one in variables], tf.constant(0)
            found: tuple[list[tf.Tensor], tf.Tensor] = tf.foldl(
                add, (inputs, labels, mask), nothing, parallel_iterations=1
            )
            return found

        return clip

    def _by_book_keeping(self, settings: PrivateSettings) -> Clip:
        keras_model, architecture, task = self.model, self._architecture, self._task
        variables, copies = list(self.variables.values()), settings.multiplicity

        def clip(
            inputs: tf.Tensor, labels: tf.Tensor, mask: tf.Tensor, clipping_norm: tf.Tensor
        ) -> tuple[list[tf.Tensor], tf.Tensor]:
            flat = tf.reshape(inputs, (-1, *inputs.shape[2:]))
            gradients = per_example_gradients(
                keras_model,
                architecture,
                variables,
                flat,
                labels,
                copies=copies,
                own_labels=settings.rows_of_users,
                task=task,
            )
            return clipped_sum(gradients, mask, clipping_norm, per_layer=settings.per_layer)

        return clip


def possible_modes(model: Model) -> tuple[list[str], dict[str, str]]:
    """Modes that are right for a model, and why others are not."""
    refused = {"fast_clipping": "sums other gradients than it measures: one example moved a sum by 1.6 clipping norms"}
    if any(layer.trainable_weights and rule_for(layer) is None for layer in build_keras(model).layers):
        refused["book_keeping"] = "has no rule for one of the layers"
    return [mode for mode in MODES if mode not in refused], refused


class _ClippingModel(DPModel):
    """TF Privacy's model, of which only the clipping is used."""

    def __init__(self, inputs: Any, outputs: Any) -> None:
        super().__init__(l2_norm_clip=1.0, noise_multiplier=0.0, use_xla=False, inputs=inputs, outputs=outputs)

    def clip(self, gradients: list[tf.Tensor], clipping_norm: tf.Tensor) -> list[tf.Tensor]:
        """Clip one example's gradients together."""
        self._l2_norm_clip = clipping_norm
        return self._process_per_example_grads(gradients)
