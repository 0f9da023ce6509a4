"""The table of explanation methods: what each is, and for each backend the function that does it.

Models return logits, so no library meets a softmax, except where ``differs`` says so. ``torch`` is Captum 0.9.0: it is
asked for the target's logit, and its defaults stay unless a method has a parameter for them, so that paths are
integrated at Gauss-Legendre points and features that are perturbed follow the data. ``jax`` is trustml, by the
definition. ``tensorflow`` is tf-explain 0.3.1, and Xplique 1.5.2 for what it lacks; tf-explain takes one class for a
whole batch and is called once for each target class.
"""

from __future__ import annotations

from trustml.attribution import perturbation as asking
from trustml.attribution.rollout import why_no_rollout
from trustml.catalogue.entry import MethodEntry
from trustml.catalogue.libraries import (
    AVERAGES,
    DEEP_LIFT,
    SHARED_RELU,
    captum,
    ours,
    ours_everywhere,
    tf_explain,
    tf_integrated_gradients,
    tf_occlusion,
    tf_smooth_grad,
    xplique,
)
from trustml.catalogue.no_rules import NO_CONSERVATION, NO_EPSILON, NO_HOOKS, NO_RESCALE
from trustml.frameworks.implementation import NotAvailable
from trustml.scenario import methods as m

_NEITHER = NotAvailable(reason="neither tf-explain nor Xplique has it")


METHODS: dict[type[m.MethodSpec], MethodEntry] = {
    m.Saliency: MethodEntry(
        title="Saliency",
        paper="Simonyan et al., arXiv 1312.6034",
        needs="gradients",
        signed=False,
        by={
            "torch": captum("gradient_methods:gradient_method", "Saliency"),
            "jax": ours("gradient_methods:gradient_method"),
            "tensorflow": tf_explain(
                "gradient_methods:saliency",
                "VanillaGradients.compute_gradients",
                "keeps the sign; completed is the magnitude",
            ),
        },
    ),
    m.InputXGradient: MethodEntry(
        title="Input x gradient",
        paper="Shrikumar et al., arXiv 1605.01713",
        needs="gradients",
        contribution=True,
        by={
            "torch": captum("gradient_methods:gradient_method", "InputXGradient"),
            "jax": ours("gradient_methods:gradient_method"),
            "tensorflow": tf_explain("gradient_methods:input_x_gradient", "GradientsInputs.compute_gradients"),
        },
    ),
    m.IntegratedGradients: MethodEntry(
        title="Integrated gradients",
        paper="Sundararajan et al., arXiv 1703.01365",
        needs="gradients",
        contribution=True,
        complete=True,
        by={
            "torch": captum("gradient_methods:gradient_method", "IntegratedGradients"),
            "jax": ours("gradient_methods:gradient_method"),
            "tensorflow": tf_integrated_gradients,
        },
    ),
    m.GuidedBackprop: MethodEntry(
        title="Guided backpropagation",
        paper="Springenberg et al., arXiv 1412.6806",
        needs="layers",
        no_rule_for=NO_HOOKS,
        by={
            "torch": captum("gradient_methods:gradient_method", "GuidedBackprop", SHARED_RELU),
            "jax": ours("gradient_methods:gradient_method"),
            "tensorflow": xplique("gradient_methods:guided_backprop", "GuidedBackprop(reducer=None)", AVERAGES),
        },
    ),
    m.Deconvolution: MethodEntry(
        title="Deconvolution",
        paper="Zeiler and Fergus, arXiv 1311.2901",
        needs="layers",
        no_rule_for=NO_HOOKS,
        by={
            "torch": captum("gradient_methods:gradient_method", "Deconvolution", SHARED_RELU),
            "jax": ours("gradient_methods:gradient_method"),
            "tensorflow": xplique("gradient_methods:deconvolution", "DeconvNet(reducer=None)", AVERAGES),
        },
    ),
    m.DeepLift: MethodEntry(
        title="DeepLIFT (rescale)",
        paper="Shrikumar et al., arXiv 1704.02685",
        needs="layers",
        contribution=True,
        complete=True,
        no_rule_for=NO_RESCALE,
        by={
            "torch": captum("gradient_methods:gradient_method", "DeepLift", DEEP_LIFT),
            "jax": ours("gradient_methods:gradient_method"),
            "tensorflow": _NEITHER,
        },
    ),
    m.DeepLiftShap: MethodEntry(
        title="DeepLIFT SHAP",
        paper="Lundberg and Lee, arXiv 1705.07874",
        needs="layers",
        contribution=True,
        complete=True,
        no_rule_for=NO_RESCALE,
        by={
            "torch": captum("gradient_methods:deep_lift_shap", "DeepLiftShap", DEEP_LIFT),
            "jax": ours("gradient_methods:deep_lift_shap"),
            "tensorflow": _NEITHER,
        },
    ),
    m.LRP: MethodEntry(
        title="LRP (epsilon rule)",
        paper="Bach et al., PLOS ONE 2015",
        needs="layers",
        contribution=True,
        no_rule_for=NO_EPSILON,
        by={
            "torch": captum("gradient_methods:gradient_method", "LRP"),
            "jax": ours("gradient_methods:gradient_method"),
            "tensorflow": _NEITHER,
        },
    ),
    m.TransformerLRP: MethodEntry(
        title="LRP for transformers (conservative propagation)",
        paper="Ali et al., arXiv 2202.07304",
        needs="layers",
        contribution=True,
        no_rule_for=NO_CONSERVATION,
        by=ours_everywhere("attention_methods:transformer_lrp"),
    ),
    m.AttentionRollout: MethodEntry(
        title="Attention rollout",
        paper="Abnar and Zuidema, arXiv 2005.00928",
        needs="layers",
        signed=False,
        unfit=why_no_rollout,
        by=ours_everywhere("attention_methods:attention_rollout"),
    ),
    m.SmoothGrad: MethodEntry(
        title="SmoothGrad",
        paper="Smilkov et al., arXiv 1706.03825",
        needs="gradients",
        sampled=True,
        by={
            "torch": captum(
                "gradient_methods:smooth_grad",
                "NoiseTunnel",
                "the variance is the difference of two means in float32, so that small ones are rounding, some below "
                "zero",
            ),
            "jax": ours("gradient_methods:smooth_grad"),
            "tensorflow": tf_smooth_grad,
        },
    ),
    m.GradientShap: MethodEntry(
        title="Expected gradients (GradientShap)",
        paper="Erion et al., arXiv 1906.10670",
        needs="gradients",
        contribution=True,
        sampled=True,
        by={
            "torch": captum("gradient_methods:gradient_shap", "GradientShap"),
            "jax": ours("gradient_methods:gradient_shap"),
            "tensorflow": _NEITHER,
        },
    ),
    m.FeatureAblation: MethodEntry(
        title="Feature ablation",
        paper="Zeiler and Fergus, arXiv 1311.2901",
        needs="forward",
        by_asking=asking.feature_ablation,
        contribution=True,
        by={
            "torch": captum("perturbation_methods:feature_ablation", "FeatureAblation"),
            "jax": ours("perturbation_methods:by_outputs"),
            "tensorflow": xplique(
                "perturbation_methods:feature_ablation",
                "Occlusion(patch_size=1, patch_stride=1, occlusion_value=0)",
                "called on the vector of which features are there, so that a feature may have several values",
            ),
        },
    ),
    m.Occlusion: MethodEntry(
        title="Occlusion",
        paper="Zeiler and Fergus, arXiv 1311.2901",
        needs="forward",
        by_asking=asking.occlusion,
        contribution=True,
        images=True,
        by={
            "torch": captum("perturbation_methods:occlusion", "Occlusion"),
            "jax": ours("perturbation_methods:by_outputs"),
            "tensorflow": tf_occlusion,
        },
    ),
    m.FeaturePermutation: MethodEntry(
        title="Feature permutation",
        paper="Fisher et al., arXiv 1801.01489",
        needs="forward",
        by_asking=asking.feature_permutation,
        contribution=True,
        sampled=True,
        by={
            "torch": captum("perturbation_methods:feature_permutation", "FeaturePermutation"),
            "jax": ours("perturbation_methods:by_outputs"),
            "tensorflow": _NEITHER,
        },
    ),
    m.ShapleyValueSampling: MethodEntry(
        title="Shapley value sampling",
        paper="Strumbelj and Kononenko, JMLR 2010",
        needs="forward",
        by_asking=asking.shapley_value_sampling,
        contribution=True,
        complete=True,
        sampled=True,
        by={
            "torch": captum("perturbation_methods:shapley_value_sampling", "ShapleyValueSampling"),
            "jax": ours("perturbation_methods:by_outputs"),
            "tensorflow": _NEITHER,
        },
    ),
    m.KernelShap: MethodEntry(
        title="KernelSHAP",
        paper="Lundberg and Lee, arXiv 1705.07874",
        needs="forward",
        by_asking=asking.kernel_shap,
        contribution=True,
        complete=True,
        sampled=True,
        by={
            "torch": captum(
                "perturbation_methods:kernel_shap",
                "KernelShap",
                "all features and none weigh a million, not infinitely much: the sum misses the change of the logit "
                "slightly",
            ),
            "jax": ours("perturbation_methods:by_outputs"),
            "tensorflow": xplique(
                "perturbation_methods:kernel_shap",
                "KernelShap",
                "leaves out the coalitions of all features and of none, so it does not add up to the change of the "
                "logit; "
                "completed spreads what is missing over all features equally",
            ),
        },
    ),
    m.Lime: MethodEntry(
        title="LIME",
        paper="Ribeiro et al., arXiv 1602.04938",
        needs="forward",
        by_asking=asking.lime,
        contribution=True,
        sampled=True,
        by={
            "torch": captum("perturbation_methods:lime", "Lime(SkLearnLasso, get_exp_kernel_similarity_function)"),
            "jax": ours("perturbation_methods:by_outputs"),
            "tensorflow": xplique(
                "perturbation_methods:lime",
                "Lime",
                "ridge of strength 2 and a Euclidean kernel of width 45 by default; completed is its lasso of strength "
                "alpha under the cosine kernel of kernel_width. Its own cosine kernel is not used: it weights by "
                "1 + cosine as if that were a distance, the least similar samples most",
            ),
        },
    ),
    m.GradCam: MethodEntry(
        title="Grad-CAM",
        paper="Selvaraju et al., arXiv 1610.02391",
        needs="layers",
        returns="map",
        at_convolution=True,
        by={
            "torch": captum("layer_methods:grad_cam", "LayerGradCam"),
            "jax": ours("layer_methods:layer_method"),
            "tensorflow": tf_explain(
                "layer_methods:grad_cam",
                "GradCAM.get_gradients_and_filters, generate_ponderated_output",
                "keeps only positive gradients at positive activations by default (which is not Guided Grad-CAM) and "
                "has "
                "no ReLU; completed has plain gradients, and the ReLU if the method asks for it",
            ),
        },
    ),
    m.GuidedGradCam: MethodEntry(
        title="Guided Grad-CAM",
        paper="Selvaraju et al., arXiv 1610.02391",
        needs="layers",
        at_convolution=True,
        by={
            "torch": captum(
                "layer_methods:guided_grad_cam",
                "GuidedGradCam",
                "enlarges Grad-CAM by repeating its values; completed interpolates bilinearly, as the paper",
            ),
            "jax": ours("layer_methods:layer_method"),
            "tensorflow": NotAvailable(
                reason="neither tf-explain nor Xplique has it: tf-explain's guided gradients are weights of Grad-CAM"
            ),
        },
    ),
    m.LayerActivation: MethodEntry(
        title="Layer activation",
        paper="-",
        needs="layers",
        returns="layer",
        by={
            "torch": captum("layer_methods:layer_method", "LayerActivation"),
            "jax": ours("layer_methods:layer_method"),
            "tensorflow": tf_explain("layer_methods:activation", "ExtractActivations.generate_activations_graph"),
        },
    ),
    m.LayerGradientXActivation: MethodEntry(
        title="Layer gradient x activation",
        paper="Draelos and Carin, arXiv 2011.08891",
        needs="layers",
        returns="layer",
        by={
            "torch": captum("layer_methods:layer_method", "LayerGradientXActivation"),
            "jax": ours("layer_methods:layer_method"),
            "tensorflow": _NEITHER,
        },
    ),
    m.LayerIntegratedGradients: MethodEntry(
        title="Layer integrated gradients",
        paper="Sundararajan et al., arXiv 1703.01365",
        needs="layers",
        returns="layer",
        complete=True,
        by={
            "torch": captum("layer_methods:layer_method", "LayerIntegratedGradients"),
            "jax": ours("layer_methods:layer_method"),
            "tensorflow": _NEITHER,
        },
    ),
    m.LayerConductance: MethodEntry(
        title="Layer conductance",
        paper="Dhamdhere et al., arXiv 1805.12233",
        needs="layers",
        returns="layer",
        complete=True,
        by={
            "torch": captum(
                "layer_methods:layer_method",
                "LayerConductance",
                "each step takes the gradient at its start, and the path stops short of both ends (by 0.05 % at 50 "
                "steps): "
                "the error falls as 1/n_steps, where that of the other path methods falls faster on smooth models",
            ),
            "jax": ours("layer_methods:layer_method"),
            "tensorflow": _NEITHER,
        },
    ),
    m.LayerDeepLift: MethodEntry(
        title="Layer DeepLIFT",
        paper="Shrikumar et al., arXiv 1704.02685",
        needs="layers",
        returns="layer",
        complete=True,
        no_rule_for=NO_RESCALE,
        by={
            "torch": captum("layer_methods:layer_method", "LayerDeepLift", DEEP_LIFT),
            "jax": ours("layer_methods:layer_method"),
            "tensorflow": _NEITHER,
        },
    ),
    m.InternalInfluence: MethodEntry(
        title="Internal influence",
        paper="Leino et al., arXiv 1802.03788",
        needs="layers",
        returns="layer",
        by={
            "torch": captum("layer_methods:layer_method", "InternalInfluence"),
            "jax": ours("layer_methods:layer_method"),
            "tensorflow": _NEITHER,
        },
    ),
    m.NeuronIntegratedGradients: MethodEntry(
        title="Neuron integrated gradients",
        paper="Sundararajan et al., arXiv 1703.01365",
        needs="layers",
        by={
            "torch": captum("layer_methods:layer_method", "NeuronIntegratedGradients"),
            "jax": ours("layer_methods:layer_method"),
            "tensorflow": _NEITHER,
        },
    ),
    m.RandomControl: MethodEntry(title="Random control", paper="-", needs="forward", sampled=True, by={}),
}
