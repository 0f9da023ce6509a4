"""tf-explain's own functions for arrays, without the pictures that ``explain`` makes of them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tf_explain.core.integrated_gradients import IntegratedGradients
from tf_explain.core.occlusion_sensitivity import OcclusionSensitivity
from tf_explain.core.smoothgrad import SmoothGrad

from trustml.data.dataset import Floats
from trustml_bench.engine import Work
from trustml_bench.engines.keras_network import build
from trustml_bench.workloads import (
    IG_STEPS,
    OCCLUSION_PATCH,
    SMOOTH_GRAD_SAMPLES,
    SMOOTH_GRAD_STDEV,
    Workload,
    make_batch,
    make_model,
    patch_count,
)


def image_by_image(workload: Workload) -> Work:
    """Integrated gradients, one call an image: its class is one number for a whole call."""
    return _integrated_gradients(workload, [np.array([row]) for row in range(workload.size)])


def class_by_class(workload: Workload) -> Work:
    """Integrated gradients, one call for all images of a class."""
    labels = make_batch(workload)[1]
    return _integrated_gradients(workload, [np.flatnonzero(labels == label) for label in np.unique(labels)])


def smooth_grad(workload: Workload) -> Work:
    """SmoothGrad class by class: of the cross-entropy, not of the logit, on a network that ends in a softmax.

    ``attributions`` are its gradients turned around: down in the loss is up in the logit.
    """
    plain = build(make_model(workload))
    network = tf.keras.Model(plain.inputs, tf.keras.layers.Activation("softmax")(plain.output))
    inputs, labels = make_batch(workload)
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    found = np.zeros_like(inputs)

    def unit() -> None:
        for rows in groups:
            noisy = SmoothGrad.generate_noisy_images(inputs[rows], SMOOTH_GRAD_SAMPLES, SMOOTH_GRAD_STDEV)
            target = int(labels[rows[0]])
            found[rows] = -SmoothGrad.get_averaged_gradients(noisy, network, target, SMOOTH_GRAD_SAMPLES).numpy()

    return Work(unit=unit, outcome=lambda: {"attributions": found})


def occlusion(workload: Workload) -> Work:
    """Occlusion image by image, as its own loop has it; what it gives is ``1 - logit`` under a grey of 127.5."""
    patch_count(workload)  # refuses what is no image
    network, (inputs, labels) = build(make_model(workload)), make_batch(workload)
    library = OcclusionSensitivity(batch_size=None)
    found: list[Floats] = []

    def unit() -> None:
        found[:] = [
            library.get_sensitivity_map(network, image, int(label), OCCLUSION_PATCH)
            for image, label in zip(inputs, labels, strict=True)
        ]

    return Work(unit=unit, outcome=lambda: {"sensitivity": np.stack(found)})


def _integrated_gradients(workload: Workload, groups: list[np.ndarray]) -> Work:
    network, (inputs, labels) = build(make_model(workload)), make_batch(workload)
    found = np.zeros_like(inputs)

    def unit() -> None:
        for rows in groups:
            path = IntegratedGradients.generate_interpolations(inputs[rows], IG_STEPS)
            target = int(labels[rows[0]])
            found[rows] = IntegratedGradients.get_integrated_gradients(path, network, target, IG_STEPS).numpy()

    return Work(unit=unit, outcome=lambda: {"attributions": inputs * found})
