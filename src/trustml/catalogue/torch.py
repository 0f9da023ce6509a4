"""Who implements each explanation method for ``torch``: Captum 0.9.0, all of them.

Models return logits and Captum is asked for the target's. Its defaults stay as they are unless a method has a
parameter for them: paths are integrated at Gauss-Legendre points, features that are perturbed follow the data.
"""

from __future__ import annotations

from trustml.catalogue.implementation import Availability, Implementation
from trustml.scenario import methods as m

_DEEP_LIFT = (
    "GELU passes its plain gradient; where windows of a MaxPool overlap, contributions are lost; and of a ReLU and a "
    "MaxPool side by side, the later one passes plain gradients. Completed, where the model has any of these, is "
    "Captum's with rules for both and a copy between layers"
)


def _captum(function: str, differs: str = "") -> Implementation:
    return Implementation(library="captum", function=f"captum.attr.{function}", differs=differs)


IMPLEMENTATIONS: dict[type[m.MethodSpec], Availability] = {
    m.Saliency: _captum("Saliency"),
    m.InputXGradient: _captum("InputXGradient"),
    m.IntegratedGradients: _captum("IntegratedGradients"),
    m.GuidedBackprop: _captum("GuidedBackprop"),
    m.Deconvolution: _captum("Deconvolution"),
    m.DeepLift: _captum("DeepLift", _DEEP_LIFT),
    m.DeepLiftShap: _captum("DeepLiftShap", _DEEP_LIFT),
    m.LRP: _captum("LRP"),
    m.SmoothGrad: _captum(
        "NoiseTunnel",
        "the variance is the difference of two means in float32, so that small ones are rounding, some below zero",
    ),
    m.GradientShap: _captum("GradientShap"),
    m.FeatureAblation: _captum("FeatureAblation"),
    m.Occlusion: _captum("Occlusion"),
    m.FeaturePermutation: _captum("FeaturePermutation"),
    m.ShapleyValueSampling: _captum("ShapleyValueSampling"),
    m.KernelShap: _captum(
        "KernelShap",
        "all features and none weigh a million, not infinitely much: the sum misses the change of the logit slightly",
    ),
    m.Lime: _captum("Lime(SkLearnLasso, get_exp_kernel_similarity_function)"),
    m.GradCam: _captum("LayerGradCam"),
    m.GuidedGradCam: _captum(
        "GuidedGradCam", "enlarges Grad-CAM by repeating its values; completed interpolates bilinearly, as the paper"
    ),
    m.LayerActivation: _captum("LayerActivation"),
    m.LayerGradientXActivation: _captum("LayerGradientXActivation"),
    m.LayerIntegratedGradients: _captum("LayerIntegratedGradients"),
    m.LayerConductance: _captum(
        "LayerConductance",
        "each step takes the gradient at its start, and the path stops short of both ends (by 0.05 % at 50 steps): "
        "the error falls as 1/n_steps, where that of the other path methods falls faster on smooth models",
    ),
    m.LayerDeepLift: _captum("LayerDeepLift", _DEEP_LIFT),
    m.InternalInfluence: _captum("InternalInfluence"),
    m.NeuronIntegratedGradients: _captum("NeuronIntegratedGradients"),
}
