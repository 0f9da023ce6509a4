"""Captum as its documentation drives it, on logits, with tensors that are there already."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import captum.attr
import torch
from torch import Tensor

from trustml_bench.engine import Work
from trustml_bench.engines.torch_network import batch, like_input, start
from trustml_bench.workloads import (
    IG_STEPS,
    OCCLUSION_PATCH,
    SMOOTH_GRAD_SAMPLES,
    SMOOTH_GRAD_STDEV,
    Workload,
    patch_count,
)


def integrated_gradients(workload: Workload) -> Work:
    """The default: Gauss-Legendre, all images and steps in one batch."""
    return _integrated_gradients(workload, None)


def integrated_gradients_256(workload: Workload) -> Work:
    """With ``internal_batch_size=256``."""
    return _integrated_gradients(workload, 256)


def integrated_gradients_8(workload: Workload) -> Work:
    """With ``internal_batch_size=8``, for large images."""
    return _integrated_gradients(workload, 8)


def smooth_grad(workload: Workload) -> Work:
    """NoiseTunnel over signed gradients, the default: all images and samples in one batch."""
    return _smooth_grad(workload, None)


def smooth_grad_5(workload: Workload) -> Work:
    """With ``nt_samples_batch_size=5``."""
    return _smooth_grad(workload, 5)


def occlusion(workload: Workload) -> Work:
    """The default: one patch a call of the network."""
    return _occlusion(workload, 1)


def occlusion_7(workload: Workload) -> Work:
    """With ``perturbations_per_eval=7``."""
    return _occlusion(workload, 7)


def _integrated_gradients(workload: Workload, rows: int | None) -> Work:
    method, (inputs, labels) = captum.attr.IntegratedGradients(start(workload).eval()), batch(workload)
    return _work(lambda: method.attribute(inputs, target=labels, n_steps=IG_STEPS, internal_batch_size=rows))


def _smooth_grad(workload: Workload, samples: int | None) -> Work:
    saliency, (inputs, labels) = captum.attr.Saliency(start(workload).eval()), batch(workload)
    method = captum.attr.NoiseTunnel(saliency)
    torch.manual_seed(0)
    return _work(
        lambda: method.attribute(
            inputs,
            nt_type="smoothgrad",
            nt_samples=SMOOTH_GRAD_SAMPLES,
            nt_samples_batch_size=samples,
            stdevs=SMOOTH_GRAD_STDEV,
            target=labels,
            abs=False,
        )
    )


def _occlusion(workload: Workload, patches: int) -> Work:
    patch_count(workload)  # refuses what is no image
    method, (inputs, labels) = captum.attr.Occlusion(start(workload).eval()), batch(workload)
    window = (inputs.shape[1], OCCLUSION_PATCH, OCCLUSION_PATCH)
    return _work(
        lambda: method.attribute(
            inputs, sliding_window_shapes=window, strides=window, target=labels, perturbations_per_eval=patches
        )
    )


def _work(attribute: Callable[[], Tensor]) -> Work:
    found: list[Tensor] = []

    def unit() -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"Input Tensor \d+ did not already require gradients")
            found[:] = [attribute()]

    return Work(unit=unit, outcome=lambda: {"attributions": like_input(found[0].float())})
