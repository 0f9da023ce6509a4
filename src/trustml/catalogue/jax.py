"""Who implements each explanation method for ``jax``: trustml, by the definition."""

from __future__ import annotations

from trustml.catalogue.implementation import Availability, Implementation
from trustml.scenario import methods as m

_ROOM = "trustml.backends.jax"


def _by(function: str, differs: str = "") -> Implementation:
    return Implementation(library="trustml-jax", function=f"{_ROOM}.{function}", differs=differs)


IMPLEMENTATIONS: dict[type[m.MethodSpec], Availability] = {
    m.Saliency: _by("gradient_methods.gradient_method"),
    m.InputXGradient: _by("gradient_methods.gradient_method"),
    m.IntegratedGradients: _by("gradient_methods.gradient_method"),
    m.GuidedBackprop: _by("gradient_methods.gradient_method"),
    m.Deconvolution: _by("gradient_methods.gradient_method"),
    m.DeepLift: _by("gradient_methods.gradient_method"),
    m.DeepLiftShap: _by("gradient_methods.deep_lift_shap"),
    m.LRP: _by("gradient_methods.gradient_method"),
    m.SmoothGrad: _by("gradient_methods.smooth_grad"),
    m.GradientShap: _by("gradient_methods.gradient_shap"),
    m.FeatureAblation: _by("perturbation_methods.feature_ablation"),
    m.Occlusion: _by("perturbation_methods.occlusion"),
    m.FeaturePermutation: _by("perturbation_methods.feature_permutation"),
    m.ShapleyValueSampling: _by("perturbation_methods.shapley_value_sampling"),
    m.KernelShap: _by("perturbation_methods.kernel_shap"),
    m.Lime: _by("perturbation_methods.lime"),
    m.GradCam: _by("layer_methods.layer_method"),
    m.GuidedGradCam: _by("layer_methods.layer_method"),
    m.LayerActivation: _by("layer_methods.layer_method"),
    m.LayerGradientXActivation: _by("layer_methods.layer_method"),
    m.LayerIntegratedGradients: _by("layer_methods.layer_method"),
    m.LayerConductance: _by("layer_methods.layer_method"),
    m.LayerDeepLift: _by("layer_methods.layer_method"),
    m.InternalInfluence: _by("layer_methods.layer_method"),
    m.NeuronIntegratedGradients: _by("layer_methods.layer_method"),
}
