"""Every explanation method of the catalogue, by every library that has it, on the same weights; and what each is worth.

A random control and all tests run beside them: faithfulness, robustness, and the sanity checks of randomised weights.
The second model learned permuted labels: explanations that look the same for it do not depend on what was learned.
"""

from trustml import (
    LRP,
    SGD,
    Background,
    Deconvolution,
    DeepLift,
    DeepLiftShap,
    Digits,
    Explanations,
    FeatureAblation,
    FeaturePermutation,
    GradCam,
    GradientShap,
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    InternalInfluence,
    KernelShap,
    LayerActivation,
    LayerConductance,
    LayerDeepLift,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    Lime,
    NeuronIntegratedGradients,
    Occlusion,
    Plain,
    Probes,
    Saliency,
    Scenario,
    ShapleyValueSampling,
    SmoothGrad,
)
from trustml.models.zoo import small_cnn

CONVOLUTION = 2  # the last one of small_cnn

gradients = Saliency(absolute=False, name="Gradient")
scenario = Scenario(
    name="all_methods",
    description="every explanation method by every library, judged on scikit-learn's digits",
    data=Digits(),
    model=small_cnn(),
    training=(
        Plain(epochs=10, batch_size=32, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        Plain(
            name="RandomLabels",
            epochs=40,
            batch_size=32,
            optimizer=SGD(learning_rate=0.05, momentum=0.9),
            random_labels=True,
        ),
    ),
    explanations=Explanations(
        examples=32,
        methods=(
            Saliency(),
            gradients,
            InputXGradient(),
            IntegratedGradients(),
            GuidedBackprop(),
            Deconvolution(),
            DeepLift(),
            DeepLiftShap(),
            LRP(),
            SmoothGrad(),
            SmoothGrad(name="SmoothGradSquared", statistic="mean_of_squares"),
            SmoothGrad(name="VarGrad", statistic="variance"),
            SmoothGrad(name="SmoothIntegratedGradients", of=IntegratedGradients(n_steps=20), n_samples=10),
            GradientShap(background=Background(count=16)),
            FeatureAblation(),
            Occlusion(window=(2, 2), stride=(2, 2)),
            FeaturePermutation(),
            ShapleyValueSampling(n_samples=10),
            KernelShap(n_samples=200, patch=2),
            Lime(n_samples=200, patch=2),
            GradCam(),
            GuidedGradCam(),
            LayerActivation(layer=CONVOLUTION),
            LayerGradientXActivation(layer=CONVOLUTION),
            LayerIntegratedGradients(layer=CONVOLUTION),
            LayerConductance(layer=CONVOLUTION),
            LayerDeepLift(layer=CONVOLUTION),
            InternalInfluence(layer=CONVOLUTION),
            NeuronIntegratedGradients(layer=6, neuron=(0,)),
        ),
        probes=Probes(robustness=True, randomisation=True, examples=8),
    ),
)
