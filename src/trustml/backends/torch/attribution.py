"""Attributions by Captum, called as its users call it; channels last and in numpy.

``native`` is what Captum returns. ``completed`` follows the definition, where Captum does not and its own functions
can be made to; how the two relate says :mod:`trustml.catalogue.torch`.
"""

from __future__ import annotations

from typing import get_args

from torch import nn

from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.torch import gradient_methods, layer_methods, perturbation_methods
from trustml.backends.torch.captum_calls import seeded, without_reminders
from trustml.backends.torch.network import build_module
from trustml.scenario import methods as m


def explain(request: ExplainRequest) -> Attributions:
    """See :class:`trustml.backends.contract.Backend`.

    Raises
    ------
    NotImplementedError
        If Captum cannot do what is asked for.
    """
    with seeded(request.seed):  # modules draw weights before they are given theirs
        module = build_module(request.model).eval()
    with seeded(request.seed), without_reminders():
        return _dispatch(module, request)


def _dispatch(module: nn.Sequential, request: ExplainRequest) -> Attributions:
    match request.method:
        case method if isinstance(method, get_args(m.GradientMethod)):
            return gradient_methods.gradient_method(module, request, method)
        case m.SmoothGrad() as method:
            return gradient_methods.smooth_grad(module, request, method)
        case m.DeepLiftShap():
            return gradient_methods.deep_lift_shap(module, request)
        case m.GradientShap() as method:
            return gradient_methods.gradient_shap(module, request, method)
        case m.GuidedGradCam():
            return layer_methods.guided_grad_cam(module, request)
        case m.FeatureAblation():
            return perturbation_methods.feature_ablation(module, request)
        case m.Occlusion() as method:
            return perturbation_methods.occlusion(module, request, method)
        case m.FeaturePermutation():
            return perturbation_methods.feature_permutation(module, request)
        case m.ShapleyValueSampling() as method:
            return perturbation_methods.shapley_value_sampling(module, request, method)
        case m.KernelShap() as method:
            return perturbation_methods.kernel_shap(module, request, method)
        case m.Lime() as method:
            return perturbation_methods.lime(module, request, method)
        case m.GradCam() as method:
            return layer_methods.grad_cam(module, request, method)
        case method if isinstance(method, get_args(layer_methods.LayerMethod)):
            return layer_methods.layer_method(module, request, method)
        case method:
            raise NotImplementedError(f"{type(method).__name__} is not done by Captum")
