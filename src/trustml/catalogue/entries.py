"""What each explanation method is, whoever implements it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trustml.scenario import methods as m

Returns = Literal["input", "layer"]
Needs = Literal["gradients", "layers", "forward"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One method.

    Attributes
    ----------
    title : str
        For headings.
    paper : str
    returns : {"input", "layer"}
        Shape of an attribution: that of the input, or that of a layer's output.
    signed : bool
        Whether the sign says for or against the target.
    needs : {"gradients", "layers", "forward"}
        What it must have of the model: gradients of the input; activations and rules inside it; outputs alone.
    complete : bool
        Whether, by definition, an attribution adds up to the change of the logit from the baseline.
    contribution : bool
        Whether an attribution holds the factor (input - baseline), rather than being a slope.
    sampled : bool
        Whether it draws random numbers.
    """

    title: str
    paper: str
    returns: Returns = "input"
    signed: bool = True
    needs: Needs
    complete: bool = False
    contribution: bool = False
    sampled: bool = False


ENTRIES: dict[type[m.MethodSpec], Entry] = {
    m.Saliency: Entry(title="Saliency", paper="Simonyan et al., arXiv 1312.6034", signed=False, needs="gradients"),
    m.InputXGradient: Entry(
        title="Input x gradient", paper="Shrikumar et al., arXiv 1605.01713", contribution=True, needs="gradients"
    ),
    m.IntegratedGradients: Entry(
        title="Integrated gradients",
        paper="Sundararajan et al., arXiv 1703.01365",
        contribution=True,
        needs="gradients",
        complete=True,
    ),
    m.GuidedBackprop: Entry(
        title="Guided backpropagation", paper="Springenberg et al., arXiv 1412.6806", needs="layers"
    ),
    m.Deconvolution: Entry(title="Deconvolution", paper="Zeiler and Fergus, arXiv 1311.2901", needs="layers"),
    m.DeepLift: Entry(
        title="DeepLIFT (rescale)",
        paper="Shrikumar et al., arXiv 1704.02685",
        contribution=True,
        needs="layers",
        complete=True,
    ),
    m.DeepLiftShap: Entry(
        title="DeepLIFT SHAP",
        paper="Lundberg and Lee, arXiv 1705.07874",
        contribution=True,
        needs="layers",
        complete=True,
    ),
    m.LRP: Entry(title="LRP (epsilon rule)", paper="Bach et al., PLOS ONE 2015", contribution=True, needs="layers"),
    m.SmoothGrad: Entry(title="SmoothGrad", paper="Smilkov et al., arXiv 1706.03825", needs="gradients", sampled=True),
    m.GradientShap: Entry(
        title="Expected gradients (GradientShap)",
        paper="Erion et al., arXiv 1906.10670",
        contribution=True,
        needs="gradients",
        sampled=True,
    ),
    m.FeatureAblation: Entry(
        title="Feature ablation", paper="Zeiler and Fergus, arXiv 1311.2901", contribution=True, needs="forward"
    ),
    m.Occlusion: Entry(
        title="Occlusion", paper="Zeiler and Fergus, arXiv 1311.2901", contribution=True, needs="forward"
    ),
    m.FeaturePermutation: Entry(
        title="Feature permutation",
        paper="Fisher et al., arXiv 1801.01489",
        contribution=True,
        needs="forward",
        sampled=True,
    ),
    m.ShapleyValueSampling: Entry(
        title="Shapley value sampling",
        paper="Strumbelj and Kononenko, JMLR 2010",
        contribution=True,
        needs="forward",
        complete=True,
        sampled=True,
    ),
    m.KernelShap: Entry(
        title="KernelSHAP",
        paper="Lundberg and Lee, arXiv 1705.07874",
        contribution=True,
        needs="forward",
        complete=True,
        sampled=True,
    ),
    m.Lime: Entry(
        title="LIME", paper="Ribeiro et al., arXiv 1602.04938", contribution=True, needs="forward", sampled=True
    ),
    m.GradCam: Entry(title="Grad-CAM", paper="Selvaraju et al., arXiv 1610.02391", returns="layer", needs="layers"),
    m.GuidedGradCam: Entry(title="Guided Grad-CAM", paper="Selvaraju et al., arXiv 1610.02391", needs="layers"),
    m.LayerActivation: Entry(title="Layer activation", paper="-", returns="layer", needs="layers"),
    m.LayerGradientXActivation: Entry(
        title="Layer gradient x activation",
        paper="Draelos and Carin, arXiv 2011.08891",
        returns="layer",
        needs="layers",
    ),
    m.LayerIntegratedGradients: Entry(
        title="Layer integrated gradients",
        paper="Sundararajan et al., arXiv 1703.01365",
        returns="layer",
        needs="layers",
        complete=True,
    ),
    m.LayerConductance: Entry(
        title="Layer conductance",
        paper="Dhamdhere et al., arXiv 1805.12233",
        returns="layer",
        needs="layers",
        complete=True,
    ),
    m.LayerDeepLift: Entry(
        title="Layer DeepLIFT",
        paper="Shrikumar et al., arXiv 1704.02685",
        returns="layer",
        needs="layers",
        complete=True,
    ),
    m.InternalInfluence: Entry(
        title="Internal influence", paper="Leino et al., arXiv 1802.03788", returns="layer", needs="layers"
    ),
    m.NeuronIntegratedGradients: Entry(
        title="Neuron integrated gradients", paper="Sundararajan et al., arXiv 1703.01365", needs="layers"
    ),
    m.RandomControl: Entry(title="Random control", paper="-", needs="forward", sampled=True),
}
