"""Who implements each explanation method for ``tensorflow``: tf-explain 0.3.1, and Xplique 1.5.2 for what it lacks.

Models return logits, so no function of either library meets a softmax, except where ``differs`` says so. tf-explain
takes one class for a whole batch; it is called once for each target class.
"""

from __future__ import annotations

from trustml.catalogue.implementation import Availability, Implementation, NotAvailable
from trustml.scenario import methods as m

_TF_EXPLAIN = "tf-explain"
_XPLIQUE = "xplique"
_NEITHER = NotAvailable(reason="neither tf-explain nor Xplique has it")

IMPLEMENTATIONS: dict[type[m.MethodSpec], Availability] = {
    m.Saliency: Implementation(
        library=_TF_EXPLAIN,
        function="tf_explain.core.VanillaGradients.compute_gradients",
        differs="keeps the sign; completed is the magnitude",
    ),
    m.InputXGradient: Implementation(library=_TF_EXPLAIN, function="tf_explain.core.GradientsInputs.compute_gradients"),
    m.IntegratedGradients: Implementation(
        library=_TF_EXPLAIN,
        function="tf_explain.core.IntegratedGradients.get_integrated_gradients",
        differs=(
            "mean gradient on the path from zeros, both ends included with the weight of all other points: the factor "
            "(input - baseline) is missing, and completed has it; softmax, where a model has one, is not stripped"
        ),
    ),
    m.GuidedBackprop: Implementation(
        library=_XPLIQUE,
        function="xplique.attributions.GuidedBackprop(reducer=None)",
        differs="by default it averages over channels; called without that, it is the definition",
    ),
    m.Deconvolution: Implementation(
        library=_XPLIQUE,
        function="xplique.attributions.DeconvNet(reducer=None)",
        differs="by default it averages over channels; called without that, it is the definition",
    ),
    m.DeepLift: _NEITHER,
    m.DeepLiftShap: _NEITHER,
    m.LRP: _NEITHER,
    m.SmoothGrad: Implementation(
        library=_TF_EXPLAIN,
        function="tf_explain.core.SmoothGrad.get_averaged_gradients",
        differs=(
            "gradient of the cross-entropy instead of the logit, so of the opposite sign and mixed with the other "
            "classes; it needs probabilities, so the model gets a softmax. Completed is the mean gradient of the "
            "logit, as its integrated gradients take it, over the same noisy copies"
        ),
    ),
    m.GradientShap: _NEITHER,
    m.FeatureAblation: Implementation(
        library=_XPLIQUE,
        function="xplique.attributions.Occlusion(patch_size=1, patch_stride=1, occlusion_value=0)",
        differs="called on the vector of which features are there, so that a feature may have several values",
    ),
    m.Occlusion: Implementation(
        library=_TF_EXPLAIN,
        function="tf_explain.core.OcclusionSensitivity.get_sensitivity_map",
        differs=(
            "1 - logit instead of the fall of the logit, filled with 127.5 whatever the range of the data, enlarged "
            "bilinearly from one value a patch, and rows taken for columns unless images are square. Completed is the "
            "fall, patch by patch: its fill is moved to the baseline by a shift of the inputs, the enlargement undone"
        ),
    ),
    m.FeaturePermutation: _NEITHER,
    m.ShapleyValueSampling: _NEITHER,
    m.KernelShap: Implementation(
        library=_XPLIQUE,
        function="xplique.attributions.KernelShap",
        differs=(
            "leaves out the coalitions of all features and of none, so it does not add up to the change of the logit; "
            "completed spreads what is missing over all features equally"
        ),
    ),
    m.Lime: Implementation(
        library=_XPLIQUE,
        function="xplique.attributions.Lime",
        differs=(
            "ridge of strength 2 and a Euclidean kernel of width 45 by default; completed is its lasso of strength "
            "alpha under the cosine kernel of kernel_width. Its own cosine kernel is not used: it weights by "
            "1 + cosine as if that were a distance, the least similar samples most"
        ),
    ),
    m.GradCam: Implementation(
        library=_TF_EXPLAIN,
        function="tf_explain.core.GradCAM.get_gradients_and_filters, generate_ponderated_output",
        differs=(
            "keeps only positive gradients at positive activations by default (which is not Guided Grad-CAM) and has "
            "no ReLU; completed has plain gradients, and the ReLU if the method asks for it"
        ),
    ),
    m.GuidedGradCam: NotAvailable(
        reason="neither tf-explain nor Xplique has it: tf-explain's guided gradients are weights of Grad-CAM"
    ),
    m.LayerActivation: Implementation(
        library=_TF_EXPLAIN, function="tf_explain.core.ExtractActivations.generate_activations_graph"
    ),
    m.LayerGradientXActivation: _NEITHER,
    m.LayerIntegratedGradients: _NEITHER,
    m.LayerConductance: _NEITHER,
    m.LayerDeepLift: _NEITHER,
    m.InternalInfluence: _NEITHER,
    m.NeuronIntegratedGradients: _NEITHER,
}

_NOISE_STATISTICS = {
    "mean_of_squares": Implementation(
        library=_XPLIQUE,
        function="xplique.attributions.SquareGrad(reducer=None)",
        differs="by default it averages over channels; called without that, it is the definition",
    ),
    "variance": Implementation(
        library=_XPLIQUE,
        function="xplique.attributions.VarGrad(reducer=None)",
        differs="divides by one less than the samples; completed divides by the samples",
    ),
}


def implementation_for(method: m.Method, found: Implementation) -> Implementation:
    """Give who implements a method with these settings, where that depends on them; else what was `found`."""
    return _NOISE_STATISTICS.get(method.statistic, found) if isinstance(method, m.SmoothGrad) else found


def unavailable_for(method: m.Method) -> str:
    """Say which setting of a method the libraries cannot do; empty if they can do all."""
    match method:
        case m.IntegratedGradients(baseline=baseline) if baseline != 0.0:
            return "tf-explain has a zero baseline built in"
        case m.IntegratedGradients(n_steps=n_steps) if n_steps < 2:
            return f"tf-explain needs n_steps of 2 or more, for both ends of the path, not {n_steps}"
        case m.SmoothGrad(of=of) if not isinstance(of, m.Saliency) or of.absolute:
            return "tf-explain and Xplique average signed gradients alone; use of=Saliency(absolute=False)"
        case m.SmoothGrad(statistic="variance", n_samples=n_samples) if n_samples < 2:
            return f"Xplique needs n_samples of 2 or more for a variance, not {n_samples}"
        case m.Occlusion(window=window, stride=stride) if window[0] != window[1] or stride != window:
            return "tf-explain has a square window that moves by its own size; use a stride equal to the window"
    return ""
