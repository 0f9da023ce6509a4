"""Gradient methods by Captum, and those that average them over noise or over baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import captum.attr
from torch import Tensor, nn

from trustml.attribution.noise import noise_sizes
from trustml.attribution.passes import MOST_ROWS
from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.torch.captum_calls import (
    Piece,
    one_by_one,
    piecewise,
    seeded,
    summed_gradients,
)
from trustml.backends.torch.deep_lift_rules import apart, deep_lift_variants, shares_input
from trustml.backends.torch.network import from_input, to_input
from trustml.backends.torch.own_layers import GraphModule
from trustml.backends.torch.relevance_rules import set_epsilon_rules
from trustml.backends.torch.straight_paths import StraightIntegratedGradients
from trustml.data.dataset import Floats
from trustml.models.layers import ReLU
from trustml.scenario import methods as m

_NOISE_TYPES = {"mean": "smoothgrad", "mean_of_squares": "smoothgrad_sq", "variance": "vargrad"}


@dataclass(frozen=True, kw_only=True)
class _Call:
    """An object of Captum, and what its ``attribute`` takes beside inputs and targets."""

    attribution: Any
    settings: dict[str, Any] = field(default_factory=dict)

    def attribute(self, piece: Piece) -> Tensor:
        return self.attribution.attribute(piece.inputs, target=piece.targets, **self.settings)


def gradient_method(module: nn.Module, request: ExplainRequest, method: m.GradientMethod) -> Attributions:
    """Any method that NoiseTunnel can average."""

    def run(module: nn.Module) -> Floats:
        return piecewise(request, lambda piece: _call(module, request, method, piece).attribute(piece))

    return _variants(module, request, method, run)


def smooth_grad(module: nn.Module, request: ExplainRequest, method: m.SmoothGrad) -> Attributions:
    """Captum's NoiseTunnel over another method, all samples of one example at once."""

    def attribute(module: nn.Module, piece: Piece) -> Tensor:
        # All samples in one call: LRP takes the rules off its modules after each, and would go on with its own.
        inner = _call(module, request, method.of, piece)
        fewer = request.rows < method.n_samples and not isinstance(method.of, m.LRP)
        return captum.attr.NoiseTunnel(inner.attribution).attribute(
            piece.inputs,
            nt_type=_NOISE_TYPES[method.statistic],
            nt_samples=method.n_samples,
            nt_samples_batch_size=request.rows if fewer else None,
            stdevs=float(noise_sizes(from_input(piece.inputs), stdev=method.stdev, relative=method.relative)[0]),
            target=piece.targets,
            **inner.settings,
        )

    def run(module: nn.Module) -> Floats:
        return one_by_one(request, lambda piece: attribute(module, piece))

    return _variants(module, request, method.of, run)


def deep_lift_shap(module: nn.Module, request: ExplainRequest, method: m.DeepLiftShap) -> Attributions:
    """Captum's DeepLiftShap: every example against every baseline."""
    if len(request.background) < 2:
        raise NotImplementedError(
            "Captum's DeepLiftShap needs a background of 2 examples or more; use DeepLift for one"
        )
    background = to_input(request.background)

    def run(module: nn.Module) -> Floats:
        library = captum.attr.DeepLiftShap(module)
        return piecewise(
            request,
            lambda piece: library.attribute(piece.inputs, background, target=piece.targets),
            rows_per_example=2 * len(background),
        )

    return deep_lift_variants(module, request, run)


def gradient_shap(module: nn.Module, request: ExplainRequest, method: m.GradientShap) -> Attributions:
    """Captum's GradientShap, which draws baselines, points of the path and noise."""
    background = to_input(request.background)

    def attribute(piece: Piece) -> Tensor:
        return _summed(captum.attr.GradientShap(module)).attribute(
            piece.inputs,
            baselines=background,
            n_samples=method.n_samples,
            stdevs=float(method.stdev),
            target=piece.targets,
        )

    return {"native": one_by_one(request, attribute)}


def _variants(
    module: nn.Module, request: ExplainRequest, method: m.GradientMethod, run: Callable[[nn.Module], Floats]
) -> Attributions:
    if isinstance(method, m.DeepLift):
        return deep_lift_variants(module, request, run)
    if isinstance(method, m.LRP) and isinstance(module, GraphModule):
        return {"native": run(apart(module))}  # with our rule for sums, which needs each of them to have its inputs
    found = {"native": run(module)}
    if isinstance(method, m.GuidedBackprop | m.Deconvolution) and shares_input(request.model.architecture, (ReLU,)):
        with seeded(request.seed):
            found["completed"] = run(apart(module))
    return found


def _call(module: nn.Module, request: ExplainRequest, method: m.GradientMethod, piece: Piece) -> _Call:
    match method:
        case m.Saliency():
            return _Call(attribution=_summed(captum.attr.Saliency(module)), settings={"abs": method.absolute})
        case m.InputXGradient():
            return _Call(attribution=_summed(captum.attr.InputXGradient(module)))
        case m.IntegratedGradients():
            wide = piece.inputs.ndim != 4 and request.rows == MOST_ROWS  # vectors leave smaller activations
            rows = (4 if wide else 1) * request.rows
            settings = {"baselines": piece.baseline, "n_steps": method.n_steps, "internal_batch_size": rows}
            straight = StraightIntegratedGradients(module, request.model.architecture)
            return _Call(attribution=straight, settings=settings)
        case m.GuidedBackprop():
            return _Call(attribution=_summed(captum.attr.GuidedBackprop(module)))
        case m.Deconvolution():
            return _Call(attribution=_summed(captum.attr.Deconvolution(module)))
        case m.DeepLift():
            return _Call(attribution=captum.attr.DeepLift(module), settings={"baselines": piece.baseline})
        case m.LRP():
            set_epsilon_rules(module, method.epsilon)
            return _Call(attribution=captum.attr.LRP(module))


def _summed(attribution: captum.attr.GradientAttribution) -> captum.attr.GradientAttribution:
    attribution.gradient_func = summed_gradients
    return attribution
