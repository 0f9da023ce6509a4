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

from trustml.attribution.noise import noise_sizes
from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.tensorflow.class_batches import rows_at_once
from trustml.backends.tensorflow.network import split_model
from trustml.backends.tensorflow.own_targets import (
    TargetColumn,
    TargetFirst,
    chunked_program,
    examples_at_once,
    mean_in_parts,
)
from trustml.data.dataset import Floats
from trustml.models.graph import straight_until
from trustml.models.layers import Architecture
from trustml.scenario import methods as m


def saliency(model: tf.keras.Model, request: ExplainRequest, method: m.Saliency) -> Attributions:
    """tf-explain's vanilla gradients, which keep their sign."""
    native = _explained(_gradients(model, VanillaGradients, rows_at_once(request)), request)
    return {"native": native, "completed": np.abs(native)} if method.absolute else {"native": native}


def input_x_gradient(model: tf.keras.Model, request: ExplainRequest, method: m.InputXGradient) -> Attributions:
    """tf-explain's gradients times inputs."""
    return {"native": _explained(_gradients(model, GradientsInputs, rows_at_once(request)), request)}


def integrated_gradients(model: tf.keras.Model, request: ExplainRequest, method: m.IntegratedGradients) -> Attributions:
    """tf-explain's mean gradient on the path from zeros; completed by the factor (input - 0)."""
    program = _mean_gradients(model, request.model.architecture, method.n_steps, rows_at_once(request))
    native = _explained(program, request)
    return {"native": native, "completed": native * request.inputs}


def smooth_grad(model: tf.keras.Model, request: ExplainRequest, method: m.SmoothGrad) -> Attributions:
    """tf-explain's mean gradient of the cross-entropy; completed to that of the logit, on the same noise.

    The latter is the mean that tf-explain's integrated gradients take, of noisy copies instead of a path.
    """
    samples, count = method.n_samples, len(request.inputs)
    most = rows_at_once(request)
    chunks = -(-count // examples_at_once(request.inputs.shape[1:], samples, most=most))
    at_once = -(-count // chunks)
    program = _noisy_gradients(model, samples, at_once, most)
    targets = request.targets.astype(np.int32)
    block = at_once * max(1, most // (at_once * samples))
    found = []
    for start in range(0, count, block):
        rows = slice(start, start + block)
        noisy = np.concatenate([_noisy(one, request.seed, method) for one in request.inputs[rows]])
        missing = -len(targets[rows]) % at_once  # tf-explain needs to know how many rows there are
        noisy = np.concatenate([noisy, np.zeros((missing * samples, *noisy.shape[1:]), noisy.dtype)])
        found.append(program(noisy, np.pad(targets[rows], (0, missing))).numpy()[: len(targets[rows])])
    both = np.concatenate(found)
    return {"native": both[:, 0], "completed": both[:, 1]}


def _noisy(example: Floats, seed: int, method: m.SmoothGrad) -> Floats:
    """Noisy copies of one example, from numpy's global generator; every example has the same noise."""
    np.random.seed(seed % 2**32)
    (size,) = noise_sizes(example[None], stdev=method.stdev, relative=method.relative)
    noisy: Floats = SmoothGrad.generate_noisy_images(example[None], method.n_samples, size)
    return noisy


def noise_statistic(model: tf.keras.Model, request: ExplainRequest, method: m.SmoothGrad) -> Attributions:
    """Xplique's SquareGrad or VarGrad; the latter divides by one less than the samples."""
    from xplique.attributions import SquareGrad, VarGrad

    kind = SquareGrad if method.statistic == "mean_of_squares" else VarGrad
    explainer = kind(model, batch_size=rows_at_once(request), reducer=None, nb_samples=method.n_samples)
    sizes = noise_sizes(request.inputs, stdev=method.stdev, relative=method.relative)
    native = np.zeros_like(request.inputs)
    for index, target in enumerate(one_hot(model, request)):  # the numbers of one do not depend on the others
        tf.random.set_seed(request.seed)
        explainer.noise = float(sizes[index])
        native[index] = explainer.explain(request.inputs[index : index + 1], target[None]).numpy()[0]
    if method.statistic == "mean_of_squares":
        return {"native": native}
    return {"native": native, "completed": native * np.float32((method.n_samples - 1) / method.n_samples)}


def guided_backprop(model: tf.keras.Model, request: ExplainRequest, method: m.GuidedBackprop) -> Attributions:
    """Xplique's guided backpropagation."""
    from xplique.attributions import GuidedBackprop

    return {"native": _overridden(GuidedBackprop, model, request)}


def deconvolution(model: tf.keras.Model, request: ExplainRequest, method: m.Deconvolution) -> Attributions:
    """Xplique's DeconvNet."""
    from xplique.attributions import DeconvNet

    return {"native": _overridden(DeconvNet, model, request)}


def one_hot(model: tf.keras.Model, request: ExplainRequest) -> Floats:
    """Targets as Xplique takes them, shape (n, c)."""
    return np.eye(model.output.shape[-1], dtype=np.float32)[request.targets]


def _overridden(kind: Any, model: tf.keras.Model, request: ExplainRequest) -> Floats:
    explainer = _explainer(kind, model, rows_at_once(request))
    explainer.model.set_weights(model.get_weights())  # it holds a copy of the model, with other ReLUs
    return explainer.explain(request.inputs, one_hot(model, request)).numpy()


@lru_cache(maxsize=4)
def _explainer(kind: Any, model: tf.keras.Model, rows: int) -> Any:
    return kind(model, batch_size=rows, reducer=None)


def _explained(program: tf.types.experimental.GenericFunction, request: ExplainRequest) -> Floats:
    return program(request.inputs, request.targets.astype(np.int32)).numpy()


@lru_cache(maxsize=8)
def _gradients(model: tf.keras.Model, kind: type[VanillaGradients], most: int) -> tf.types.experimental.GenericFunction:
    def of_chunk(inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        return kind.compute_gradients(inputs, TargetColumn(model, targets), 0)

    shape = model.input_shape[1:]
    return chunked_program(of_chunk, shape, at_once=examples_at_once(shape, 1, most=most))


@lru_cache(maxsize=8)
def _mean_gradients(
    model: tf.keras.Model, architecture: Architecture, n_steps: int, most: int
) -> tf.types.experimental.GenericFunction:
    """tf-explain's integrated gradients; the points of the path are those of ``generate_interpolations``.

    Layers before the bend are affine and keep the path straight: what they make of its two ends is enough, and they
    carry the mean gradient back once.
    """
    shape = model.input_shape[1:]
    bend = straight_until(architecture) % len(architecture.nodes)  # tf-explain needs a network behind the bend
    front, behind = split_model(model, architecture, bend)

    def of_chunk(inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            end = front(inputs)
        begin, final = (tf.cast(part, tf.float64)[:, None] for part in (front(tf.zeros_like(inputs[:1])), end))
        inner = end.shape[1:]

        def of_points(first: tf.Tensor, points: int) -> tf.Tensor:
            numbers = tf.cast(first, tf.float64) + tf.range(points, dtype=tf.float64)
            share = tf.reshape(numbers, (1, points, *[1] * len(inner))) / (n_steps - 1)  # in double precision, as there
            rows = tf.cast(tf.reshape(begin + (final - begin) * share, (-1, *inner)), tf.float32)
            network = TargetColumn(behind, tf.repeat(targets, points))
            return IntegratedGradients.get_integrated_gradients(rows, network, 0, points)

        mean = mean_in_parts(of_points, n_steps, most=most)
        return tape.gradient(end, inputs, output_gradients=mean)

    return chunked_program(of_chunk, shape, at_once=examples_at_once(shape, n_steps, most=most))


@lru_cache(maxsize=8)
def _noisy_gradients(
    model: tf.keras.Model, samples: int, at_once: int, most: int
) -> tf.types.experimental.GenericFunction:
    """Mean gradients of noisy copies: of the cross-entropy, and of the logit; shape (n, 2, *x)."""
    softmax = tf.keras.Model(model.inputs, tf.keras.layers.Activation("softmax")(model.output))
    shape = model.input_shape[1:]

    def of_chunk(noisy: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        apart = tf.reshape(noisy, (-1, samples, *shape))

        def of_copies(first: tf.Tensor, copies: int) -> tf.Tensor:
            rows, own = noisy, tf.repeat(targets, copies)
            if copies < samples:
                rows = tf.ensure_shape(tf.reshape(apart[:, first : first + copies], (-1, *shape)), (copies, *shape))
            native = SmoothGrad.get_averaged_gradients(rows, TargetFirst(softmax, own), 0, copies)
            completed = IntegratedGradients.get_integrated_gradients(rows, TargetColumn(model, own), 0, copies)
            return tf.stack([native, completed], axis=1)

        return mean_in_parts(of_copies, samples, most=most)

    return chunked_program(of_chunk, shape, rows_per_example=samples, at_once=at_once, padded=True)
