"""Perturbation methods: tf-explain's occlusion, and Xplique's for what tf-explain lacks.

Xplique's take one reference value a channel and one map of features an image. Here the model is handed over as a
function of the flat difference from an example's own baseline, so that any baseline and any grouping of values
will do: the reference is then zero.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from tf_explain.core.occlusion_sensitivity import OcclusionSensitivity

from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.tensorflow.class_batches import rows_at_once
from trustml.backends.tensorflow.gradient_methods import one_hot
from trustml.data.dataset import Floats
from trustml.scenario import methods as m

_FILL = 127.5  # what tf-explain occludes with, whatever the range of the data
_ROWS_IN_CACHE = 400


def occlusion(model: tf.keras.Model, request: ExplainRequest, method: m.Occlusion) -> Attributions:
    """tf-explain's occlusion, and the same completed to the fall of the logit from the baseline asked for.

    tf-explain returns ``1 - logit`` of each patch, filled with 127.5 and enlarged to the size of the image by
    bilinear interpolation. Completed, it is called with ``input - baseline + 127.5`` on a model that takes 127.5
    and the baseline back, so that its fill is the baseline; the enlargement is solved for its patches.

    Raises
    ------
    ValueError
        If the images are not square: tf-explain takes rows for columns.
    """
    rows, columns, channels = request.inputs.shape[1:]
    if rows != columns:
        raise ValueError(f"tf-explain takes rows for columns, and the images are {rows} x {columns}: use square ones")
    side = method.window[0]
    small = -(-rows // side)
    shrink = np.linalg.pinv(cv2.resize(np.eye(small), (small, rows)))
    native, completed = np.zeros((2, *request.inputs.shape[:3]), np.float64)
    whole = _target_logits(model, request, request.inputs).astype(np.float64)
    at_once = max(1, min(_ROWS_IN_CACHE // small**2, rows_at_once(request)))
    for start in range(0, len(whole), at_once):
        block = slice(start, start + at_once)
        examples, baselines = request.inputs[block].astype(np.float64), request.baseline[block].astype(np.float64)
        targets = request.targets[block].astype(np.int32)
        maps = partial(_sensitivity_maps, model, targets=targets, side=side, rows=rows_at_once(request))
        native[block] = maps(examples, np.zeros_like(examples))
        shift = baselines - _FILL
        shifted = maps(examples - shift, shift)
        falls = shrink @ shifted @ shrink.T - 1 + whole[block, None, None]
        completed[block] = np.kron(falls, np.ones((1, side, side)))[:, :rows, :columns]
    return {
        name: np.repeat(found[..., None], channels, axis=-1).astype(np.float32)
        for name, found in (("native", native), ("completed", completed))
    }


def feature_ablation(model: tf.keras.Model, request: ExplainRequest, method: m.FeatureAblation) -> Attributions:
    """Xplique's occlusion of one feature at a time."""
    from xplique.attributions import Occlusion

    network = _OfCoalition(model, request)
    explainer = Occlusion(network, batch_size=rows_at_once(request), patch_size=1, patch_stride=1, occlusion_value=0.0)
    return {"native": _row_by_row(explainer, network, request, seed=None)}


def kernel_shap(model: tf.keras.Model, request: ExplainRequest, method: m.KernelShap) -> Attributions:
    """Xplique's KernelSHAP; completed so that it adds up to the change of the logit.

    Xplique leaves out the two coalitions of infinite weight, all features and none, which force the sum. Its
    samples treat all features alike, so what is missing from the sum belongs to all of them in equal parts.
    """
    from xplique.attributions import KernelShap

    network = _FromBaseline(model, request)
    explainer = KernelShap(
        network,
        batch_size=rows_at_once(request),
        map_to_interpret_space=network.features_of,
        nb_samples=_samples(request, method),
        ref_value=np.zeros(1, np.float32),
    )
    native = _row_by_row(explainer, network, request, seed=request.seed)
    first_values = np.unique(request.features, return_index=True)[1]
    sums = native.reshape(len(native), -1)[:, first_values].sum(axis=1)
    change = _target_logits(model, request, request.inputs) - _target_logits(model, request, request.baseline)
    missing = ((change - sums) / len(first_values)).reshape(-1, *[1] * (native.ndim - 1))
    return {"native": native, "completed": native + missing}


def lime(model: tf.keras.Model, request: ExplainRequest, method: m.Lime) -> Attributions:
    """Xplique's LIME with its own ridge and kernel; completed with the lasso and the cosine kernel, on the same draws.

    Xplique's own cosine kernel is not used: it takes ``1 + cosine`` for the distance, and so gives the samples
    that are *least* like the input the largest weight.
    """
    from sklearn.linear_model import Lasso
    from xplique.attributions import Lime

    network = _FromBaseline(model, request)
    size = int(np.prod(request.inputs.shape[1:]))

    def cosine_kernel(difference: tf.Tensor, coalitions: tf.Tensor, perturbed: tf.Tensor) -> tf.Tensor:
        whole = tf.reshape(difference, (1, size)) + network.baseline
        parts = tf.reshape(perturbed, (-1, size)) + network.baseline
        distance = 1 - tf.reduce_sum(tf.nn.l2_normalize(whole, 1) * tf.nn.l2_normalize(parts, 1), axis=1)
        return tf.exp(-(distance**2) / (2 * method.kernel_width**2))

    common: dict[str, Any] = {
        "batch_size": rows_at_once(request),
        "map_to_interpret_space": network.features_of,
        "ref_value": np.zeros(1, np.float32),
        "nb_samples": _samples(request, method),
    }
    native = Lime(network, **common)
    completed = Lime(network, interpretable_model=Lasso(alpha=method.alpha), similarity_kernel=cosine_kernel, **common)
    return {
        name: _row_by_row(explainer, network, request, seed=request.seed)
        for name, explainer in (("native", native), ("completed", completed))
    }


class _Recorder:
    """Stands in for the model that tf-explain's occlusion asks: keeps what it asks, and answers 0."""

    def __init__(self) -> None:
        self.patched = np.zeros(0)

    def predict(self, patched: np.ndarray, batch_size: int | None = None) -> np.ndarray:
        """Remember the images; zeros of shape (k, 1)."""
        self.patched = patched
        return np.zeros((len(patched), 1))


class _Answers:
    """Stands in for the model that tf-explain's occlusion asks: has the answers, of shape (k, 1), already."""

    def __init__(self, answers: np.ndarray) -> None:
        self._answers = answers

    def predict(self, patched: np.ndarray, batch_size: int | None = None) -> np.ndarray:
        """Give the answers."""
        return self._answers


def _sensitivity_maps(
    model: tf.keras.Model, examples: np.ndarray, shift: np.ndarray, *, targets: np.ndarray, side: int, rows: int
) -> np.ndarray:
    """tf-explain's maps of several examples (n, rows, columns, channels), each for its target; (n, rows, columns).

    tf-explain occludes a blank image with each patch, which shows where they are, and makes its map of each example
    from logits. The model takes what it shows plus `shift`, about `rows` of them at a time.
    """
    library, recorder = OcclusionSensitivity(), _Recorder()
    library.get_sensitivity_map(recorder, np.zeros((*examples.shape[1:3], 1), np.float32), 0, side)
    hidden, at_once, program = recorder.patched > 0, max(1, rows // len(examples)), _patched_logits(model)
    parts = [program(hidden[at : at + at_once], examples, shift, targets) for at in range(0, len(hidden), at_once)]
    logits = np.concatenate(parts).astype(np.float64)
    blank = np.zeros((*examples.shape[1:3], 0))  # what is occluded does not matter any more
    return np.stack([library.get_sensitivity_map(_Answers(of_one[:, None]), blank, 0, side) for of_one in logits.T])


@lru_cache(maxsize=4)
def _patched_logits(model: tf.keras.Model) -> tf.types.experimental.GenericFunction:
    """Logits (p, n) of the targets (n,) of images (n, rows, columns, channels) hidden p ways, plus a shift."""
    rows, columns, channels = model.input_shape[1:]
    images = tf.TensorSpec((None, rows, columns, channels), tf.float64)

    @tf.function(
        input_signature=(
            tf.TensorSpec((None, rows, columns, 1), tf.bool),
            images,
            images,
            tf.TensorSpec((None,), tf.int32),
        ),
        autograph=False,
    )
    def logits(hidden: tf.Tensor, examples: tf.Tensor, shift: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        shown = tf.where(hidden[:, None], tf.constant(_FILL, tf.float64), examples) + shift
        found = model(tf.cast(tf.reshape(shown, (-1, rows, columns, channels)), tf.float32), training=False)
        shaped = tf.reshape(found, (-1, tf.shape(targets)[0], found.shape[1]))
        return tf.gather(shaped, tf.tile(targets[None], (tf.shape(shaped)[0], 1)), axis=2, batch_dims=2)

    return logits


class _FromBaseline(tf.Module):
    """The model as a function of the flat difference from the baseline of the present example."""

    def __init__(self, model: tf.keras.Model, request: ExplainRequest) -> None:
        super().__init__()
        self._model, self._shape = model, request.inputs.shape[1:]
        self._features = tf.constant(request.features.ravel(), tf.int32)
        self.baseline = tf.Variable(tf.zeros(request.features.size))

    def start(self, example: Floats, baseline: Floats) -> Floats:
        """Go to another example; give what the explainer explains of it."""
        self.baseline.assign(baseline.ravel())
        return (example - baseline).ravel()

    def features_of(self, difference: tf.Tensor) -> tf.Tensor:
        """Feature of each value."""
        return self._features

    def in_values(self, explanation: Floats) -> Floats:
        """Shape an explanation like an input."""
        return explanation.reshape(self._shape)

    def __call__(self, differences: tf.Tensor) -> tf.Tensor:
        return self._model(tf.reshape(differences + self.baseline, (-1, *self._shape)), training=False)


class _OfCoalition(tf.Module):
    """The model as a function of which features of the present example are there (1) and which are not (0)."""

    def __init__(self, model: tf.keras.Model, request: ExplainRequest) -> None:
        super().__init__()
        self._model, self._shape = model, request.inputs.shape[1:]
        self._features = request.features
        self._count = int(request.features.max()) + 1
        self._example = tf.Variable(tf.zeros(self._shape))
        self._baseline = tf.Variable(tf.zeros(self._shape))

    def start(self, example: Floats, baseline: Floats) -> Floats:
        """Go to another example; give what the explainer explains of it."""
        self._example.assign(example)
        self._baseline.assign(baseline)
        return np.ones(self._count, np.float32)

    def in_values(self, explanation: Floats) -> Floats:
        """Give every value the attribution of its feature."""
        return explanation[self._features]

    def __call__(self, coalitions: tf.Tensor) -> tf.Tensor:
        there = tf.gather(coalitions, self._features, axis=1)
        return self._model(self._baseline + there * (self._example - self._baseline), training=False)


def _samples(request: ExplainRequest, method: m.KernelShap | m.Lime) -> int:
    return m.samples_of(method, features=int(request.features.max()) + 1)


def _row_by_row(
    explainer: Any, network: _FromBaseline | _OfCoalition, request: ExplainRequest, *, seed: int | None
) -> Floats:
    """Explain one example after the other, each with the same random numbers where there is a seed."""
    found = np.zeros_like(request.inputs)
    targets = one_hot(network._model, request)
    for index, target in enumerate(targets):
        if seed is not None:
            tf.random.set_seed(seed)
        start = network.start(request.inputs[index], request.baseline[index])
        found[index] = network.in_values(explainer.explain(start[None], target[None]).numpy()[0])
    return found


def _target_logits(model: tf.keras.Model, request: ExplainRequest, inputs: Floats) -> Floats:
    rows = rows_at_once(request)
    logits = np.concatenate(
        [model(inputs[at : at + rows], training=False).numpy() for at in range(0, len(inputs), rows)]
    )
    return logits[np.arange(len(inputs)), request.targets]
