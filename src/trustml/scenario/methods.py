"""Explanation methods as data: one frozen value a method, with the field's names for its parameters.

``layer`` counts the layers of the architecture from 0; the layer's *output* is what is attributed to. ``patch``
joins the pixels of an image into square groups, and the steps of a sequence into windows, that a perturbation
method switches together; columns of a table are grouped by the data (the one-hot columns of one category are one
feature). What each method is, and who implements it, says :mod:`trustml.catalogue`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from trustml.ranges import BelowOne, NotNegative, Positive, Several, Sides
from trustml.scenario.baselines import Background, Baseline

CompletenessError: TypeAlias = Annotated[
    float, Meta(ge=0, lt=1, extra={"fix": "use 0 <= x < 1; 0 for exactly n_steps points"})
]


class MethodSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all methods share: the field ``kind`` names them in files.

    Parameters
    ----------
    name : str, optional
        For the same method twice with other settings; letters, digits, ``-`` and ``_``.
    """

    name: str | None = None

    @property
    def title(self) -> str:
        """Name in tables and files."""
        return self.name or type(self).__name__


class Saliency(MethodSpec, frozen=True, kw_only=True, tag="Saliency"):
    """Gradient of the target logit; its magnitude where `absolute` (Simonyan et al., arXiv 1312.6034)."""

    absolute: bool = True


class InputXGradient(MethodSpec, frozen=True, kw_only=True, tag="InputXGradient"):
    """Input times gradient (Shrikumar et al., arXiv 1605.01713)."""


class IntegratedGradients(MethodSpec, frozen=True, kw_only=True, tag="IntegratedGradients"):
    """Integrated gradients (Sundararajan et al., ICML 2017, arXiv 1703.01365).

    Parameters
    ----------
    n_steps : int
        Points on the path to the input, by each library's default rule; Gauss-Legendre in the common lane.
    baseline : Baseline
    max_completeness_error : float
        If above 0, the share of the logit's change that may be missed; `n_steps` is then the most points.
    """

    n_steps: Several = 50
    baseline: Baseline = 0.0
    max_completeness_error: Annotated[BelowOne, Meta(extra={"fix": "use 0 <= x < 1; 0 for exactly n_steps points"})] = (
        0.0
    )


class GuidedBackprop(MethodSpec, frozen=True, kw_only=True, tag="GuidedBackprop"):
    """Gradient that passes a ReLU only where it is positive (Springenberg et al., arXiv 1412.6806)."""


class Deconvolution(MethodSpec, frozen=True, kw_only=True, tag="Deconvolution"):
    """Gradient rectified at every ReLU whatever its input was (Zeiler and Fergus, arXiv 1311.2901)."""


class DeepLift(MethodSpec, frozen=True, kw_only=True, tag="DeepLift"):
    """DeepLIFT with the rescale rule (Shrikumar et al., arXiv 1704.02685)."""

    baseline: Baseline = 0.0


class DeepLiftShap(MethodSpec, frozen=True, kw_only=True, tag="DeepLiftShap"):
    """DeepLIFT averaged over many baselines (Lundberg and Lee, arXiv 1705.07874)."""

    background: Background = Background()


class LRP(MethodSpec, frozen=True, kw_only=True, tag="LRP"):
    """Layer-wise relevance propagation, epsilon rule (Bach et al., PLOS ONE 2015, 0130140)."""

    epsilon: Positive = 1e-9


class TransformerLRP(MethodSpec, frozen=True, kw_only=True, tag="TransformerLRP"):
    """LRP through attention and norms, by conservative propagation (Ali et al., ICML 2022, arXiv 2202.07304).

    Attention passes relevance through its values alone, its shares held as they are (their AH-rule); a norm is a sum
    over what it normalises, its spread held (their LN-rule). Sums share out by the epsilon rule, activations pass
    relevance on, and factors of a product get equal parts. What is added to all inputs alike (biases, positions, a
    class token) keeps its share: relevance of the input and these parts sum to the target's logit.
    """

    epsilon: Positive = 1e-9


class AttentionRollout(MethodSpec, frozen=True, kw_only=True, tag="AttentionRollout"):
    """Shares of attention multiplied up over all layers (Abnar and Zuidema, ACL 2020, arXiv 2005.00928).

    The same for every target, as attention is.
    """


GradientMethod: TypeAlias = (
    Saliency | InputXGradient | IntegratedGradients | GuidedBackprop | Deconvolution | DeepLift | LRP
)


class SmoothGrad(MethodSpec, frozen=True, kw_only=True, tag="SmoothGrad"):
    """Average of another method over noisy copies of the input (Smilkov et al., arXiv 1706.03825).

    Parameters
    ----------
    of : GradientMethod
        Signed gradients unless another method is named.
    statistic : {"mean", "mean_of_squares", "variance"}
        SmoothGrad, SmoothGrad-Squared (Hooker et al., arXiv 1806.10758) or VarGrad (Adebayo et al., arXiv
        1810.03307), which divides by `n_samples`.
    n_samples : int
    stdev : float
        Standard deviation of the noise, in units of the input.
    relative : bool
        Whether `stdev` is a share of the range of each input, from its smallest to its largest value, as in the paper.
    """

    of: GradientMethod = Saliency(absolute=False)
    statistic: Literal["mean", "mean_of_squares", "variance"] = "mean"
    n_samples: Several = 25
    stdev: Positive = 0.15
    relative: bool = False


class GradientShap(MethodSpec, frozen=True, kw_only=True, tag="GradientShap"):
    """Expected gradients: random baselines and random points on the path (Erion et al., arXiv 1906.10670).

    Parameters
    ----------
    n_samples : int
    stdev : float
        Noise on the input before each path is drawn.
    background : Background
    """

    n_samples: Several = 32
    stdev: NotNegative = 0.0
    background: Background = Background()


class FeatureAblation(MethodSpec, frozen=True, kw_only=True, tag="FeatureAblation"):
    """Fall of the target logit when a feature is replaced by the baseline."""

    baseline: Baseline = 0.0
    patch: int = 1


class Occlusion(MethodSpec, frozen=True, kw_only=True, tag="Occlusion"):
    """Fall of the target logit under a sliding window, shared by its pixels (Zeiler and Fergus, 1311.2901).

    For images; `window` and `stride` are (rows, columns).
    """

    window: Sides = (3, 3)
    stride: Sides = (1, 1)
    baseline: Baseline = 0.0


class FeaturePermutation(MethodSpec, frozen=True, kw_only=True, tag="FeaturePermutation"):
    """Fall of the target logit when a feature is shuffled among the explained examples (Fisher et al., 1801.01489)."""

    patch: int = 1


class ShapleyValueSampling(MethodSpec, frozen=True, kw_only=True, tag="ShapleyValueSampling"):
    """Shapley values by random orders of the features (Castro et al., 2009; Strumbelj and Kononenko, 2010)."""

    n_samples: Several = 25
    baseline: Baseline = 0.0
    patch: int = 1


class KernelShap(MethodSpec, frozen=True, kw_only=True, tag="KernelShap"):
    """Shapley values by weighted least squares over random coalitions (Lundberg and Lee, arXiv 1705.07874).

    Parameters
    ----------
    n_samples : int, optional
        Coalitions; from the number of features where it is left out (:func:`samples_of`).
    baseline : Baseline
    patch : int
    """

    n_samples: Several | None = None
    baseline: Baseline = 0.0
    patch: int = 1


class Lime(MethodSpec, frozen=True, kw_only=True, tag="Lime"):
    """Coefficients of a local sparse linear model over random coalitions (Ribeiro et al., arXiv 1602.04938).

    Parameters
    ----------
    n_samples : int, optional
        Coalitions; from the number of features where it is left out (:func:`samples_of`).
    kernel_width : float
        Of the exponential kernel on the cosine distance between coalition and the full input.
    alpha : float
        Strength of the lasso.
    """

    n_samples: Several | None = None
    kernel_width: Positive = 1.0
    alpha: NotNegative = 0.01
    baseline: Baseline = 0.0
    patch: int = 1


class GradCam(MethodSpec, frozen=True, kw_only=True, tag="GradCam"):
    """Grad-CAM at a convolution, the last one unless `layer` says another (Selvaraju et al., arXiv 1610.02391).

    Of a network that looks at patches of images, tokens are laid out as rows and columns without the class token, by
    default where the last attention looks at them: later ones have no gradient but at what is read out. In a residual
    network the last convolution is one way of two; the sum behind it is named by its `layer`. `relu` keeps the positive
    part, as the paper does.
    """

    layer: int | None = None
    relu: bool = True


class GuidedGradCam(MethodSpec, frozen=True, kw_only=True, tag="GuidedGradCam"):
    """Guided backpropagation times upsampled Grad-CAM (Selvaraju et al., arXiv 1610.02391)."""

    layer: int | None = None


class LayerActivation(MethodSpec, frozen=True, kw_only=True, tag="LayerActivation"):
    """Output of a layer."""

    layer: int


class LayerGradientXActivation(MethodSpec, frozen=True, kw_only=True, tag="LayerGradientXActivation"):
    """Output of a layer times its gradient; summed over channels this is HiResCAM (Draelos, arXiv 2011.08891)."""

    layer: int


class LayerIntegratedGradients(MethodSpec, frozen=True, kw_only=True, tag="LayerIntegratedGradients"):
    """Integrated gradients on the straight path between a layer's outputs at baseline and input."""

    layer: int
    n_steps: Several = 50
    baseline: Baseline = 0.0


class LayerConductance(MethodSpec, frozen=True, kw_only=True, tag="LayerConductance"):
    """Flow of integrated gradients through a layer (Dhamdhere et al., arXiv 1805.12233)."""

    layer: int
    n_steps: Several = 50
    baseline: Baseline = 0.0


class LayerDeepLift(MethodSpec, frozen=True, kw_only=True, tag="LayerDeepLift"):
    """DeepLIFT (rescale) of a layer's output."""

    layer: int
    baseline: Baseline = 0.0


class InternalInfluence(MethodSpec, frozen=True, kw_only=True, tag="InternalInfluence"):
    """Mean gradient at a layer along the path of inputs (Leino et al., arXiv 1802.03788)."""

    layer: int
    n_steps: Several = 50
    baseline: Baseline = 0.0


class NeuronIntegratedGradients(MethodSpec, frozen=True, kw_only=True, tag="NeuronIntegratedGradients"):
    """Integrated gradients of one output of a layer, named by its index (channels last), to the input."""

    layer: int
    neuron: tuple[int, ...]
    n_steps: Several = 50
    baseline: Baseline = 0.0


class RandomControl(MethodSpec, frozen=True, kw_only=True, tag="RandomControl"):
    """Standard normal numbers: what a measure says of an explanation that knows nothing."""


Method: TypeAlias = (
    GradientMethod
    | SmoothGrad
    | TransformerLRP
    | AttentionRollout
    | DeepLiftShap
    | GradientShap
    | FeatureAblation
    | Occlusion
    | FeaturePermutation
    | ShapleyValueSampling
    | KernelShap
    | Lime
    | GradCam
    | GuidedGradCam
    | LayerActivation
    | LayerGradientXActivation
    | LayerIntegratedGradients
    | LayerConductance
    | LayerDeepLift
    | InternalInfluence
    | NeuronIntegratedGradients
    | RandomControl
)


def draws(method: Method) -> bool:
    """Whether attributions rest on random numbers that the method draws, so that another seed gives others."""
    return hasattr(method, "n_samples") or isinstance(method, FeaturePermutation)


def samples_of(method: CoalitionMethod, *, features: int) -> int:
    """Coalitions that a surrogate is fitted to: those asked for, or 4 a feature and at least 200.

    A fit to fewer than there are features leaves most of them open; to four times as many, it doubles the sampling
    variance by a third at most (least squares: n / (n - features)).
    """
    return max(200, 4 * features) if method.n_samples is None else method.n_samples


OutputsMethod: TypeAlias = FeatureAblation | Occlusion | FeaturePermutation | ShapleyValueSampling | KernelShap | Lime
"""Methods that ask for outputs alone."""

CoalitionMethod: TypeAlias = KernelShap | Lime
"""Methods that fit a model of random coalitions of features, which takes more coalitions than there are features."""


def baseline_of(method: Method) -> Baseline | None:
    """Give the baseline of a method, or of the one that it averages; None where it has none."""
    inner = method.of if isinstance(method, SmoothGrad) else method
    baseline: Baseline | None = getattr(inner, "baseline", None)
    return baseline


def background_of(method: Method) -> Background | None:
    """Give the background of a method; None where it has none."""
    background: Background | None = getattr(method, "background", None)
    return background


def same_method(title: str, wanted: str) -> bool:
    """Whether `wanted` names the method, written as ``GradCam``, ``gradcam`` or ``grad_cam``."""
    return title.replace("_", "").replace("-", "").lower() == wanted.replace("_", "").replace("-", "").lower()
