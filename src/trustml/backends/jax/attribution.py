"""Attributions in JAX: the definitions themselves, compiled once for each architecture, method and shape."""

from __future__ import annotations

import jax
import numpy as np

from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.jax.gradient_methods import deep_lift_shap, gradient_method, gradient_shap, smooth_grad
from trustml.backends.jax.layer_methods import layer_method
from trustml.backends.jax.network import to_params
from trustml.backends.jax.perturbation_methods import (
    feature_ablation,
    feature_permutation,
    kernel_shap,
    lime,
    occlusion,
    shapley_value_sampling,
)
from trustml.data.dataset import Floats
from trustml.scenario import methods as m


def explain(request: ExplainRequest) -> Attributions:
    """Attributions by one method; what JAX returns is the definition."""
    return {"native": np.asarray(_explain(request), np.float32)}


def _explain(request: ExplainRequest) -> Floats:
    architecture, method = request.model.architecture, request.method
    match method:
        case m.FeatureAblation():
            return feature_ablation(request)
        case m.Occlusion():
            return occlusion(request, method)
        case m.FeaturePermutation():
            return feature_permutation(request)
        case m.ShapleyValueSampling():
            return shapley_value_sampling(request, method)
        case m.KernelShap():
            return kernel_shap(request, method)
        case m.Lime():
            return lime(request, method)
        case m.RandomControl():
            raise NotImplementedError("the random control is drawn by the core")
    params, key = to_params(request.model.weights), jax.random.key(request.seed)
    inputs, targets = request.inputs, request.targets
    baseline, background = request.baseline, request.background
    match method:
        case m.SmoothGrad():
            return smooth_grad(architecture, method, params, inputs, targets, baseline, key)
        case m.GradientShap():
            return gradient_shap(architecture, method, params, inputs, targets, background, key)
        case m.DeepLiftShap():
            return deep_lift_shap(architecture, params, inputs, targets, background)
        case (
            m.Saliency()
            | m.InputXGradient()
            | m.IntegratedGradients()
            | m.GuidedBackprop()
            | m.Deconvolution()
            | m.DeepLift()
            | m.LRP()
        ):
            return gradient_method(architecture, method, params, inputs, targets, baseline)
        case _:
            return layer_method(architecture, method, request.layer, params, inputs, targets, baseline)
