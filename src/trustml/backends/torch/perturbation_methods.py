"""Perturbation methods by Captum: they ask the network for logits alone. Shape (n, *x), one value a feature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import captum.attr
import torch
from captum._utils.models.linear_model import SkLearnLasso
from captum.attr._core.lime import get_exp_kernel_similarity_function
from torch import Tensor, nn

from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.torch.captum_calls import Piece, fast_layout, one_by_one, piecewise
from trustml.backends.torch.device import current_device
from trustml.backends.torch.network import from_input, to_input, to_labels
from trustml.scenario import methods as m


def feature_ablation(module: nn.Module, request: ExplainRequest, method: m.FeatureAblation) -> Attributions:
    """Captum's FeatureAblation."""

    def attribute(piece: Piece) -> Tensor:
        return captum.attr.FeatureAblation(_forward(module)).attribute(
            piece.inputs,
            baselines=piece.baseline,
            target=piece.targets,
            feature_mask=_mask(request),
            perturbations_per_eval=_at_once(request, _count(request), len(piece.inputs)),
        )

    return {"native": piecewise(request, attribute)}


def occlusion(module: nn.Module, request: ExplainRequest, method: m.Occlusion) -> Attributions:
    """Captum's Occlusion, all channels of a window together; each pixel has the mean over the windows it is in."""
    if any(step > side for step, side in zip(method.stride, method.window, strict=True)):
        raise NotImplementedError(f"Captum's Occlusion needs a stride within the window, not {method.stride}")
    channels = request.inputs.shape[-1]

    def attribute(piece: Piece) -> Tensor:
        return captum.attr.Occlusion(_forward(module)).attribute(
            piece.inputs,
            sliding_window_shapes=(channels, *method.window),
            strides=(channels, *method.stride),
            baselines=piece.baseline,
            target=piece.targets,
            perturbations_per_eval=_at_once(request, _windows(request, method), len(piece.inputs)),
        )

    return {"native": piecewise(request, attribute)}


def feature_permutation(module: nn.Module, request: ExplainRequest, method: m.FeaturePermutation) -> Attributions:
    """Captum's FeaturePermutation, among all examples of the request."""
    if len(request.inputs) < 2:
        raise NotImplementedError("FeaturePermutation shuffles features among examples, and there is only one")
    inputs = to_input(request.inputs)
    found = captum.attr.FeaturePermutation(_forward(module)).attribute(
        inputs,
        target=to_labels(request.targets),
        feature_mask=_mask(request),
        perturbations_per_eval=_at_once(request, _count(request), len(inputs)),
    )
    return {"native": from_input(found.float())}


def shapley_value_sampling(module: nn.Module, request: ExplainRequest, method: m.ShapleyValueSampling) -> Attributions:
    """Captum's ShapleyValueSampling; the examples share their random orders."""

    def attribute(piece: Piece) -> Tensor:
        return captum.attr.ShapleyValueSampling(_forward(module)).attribute(
            piece.inputs,
            baselines=piece.baseline,
            target=piece.targets,
            feature_mask=_mask(request),
            n_samples=method.n_samples,
            perturbations_per_eval=_at_once(request, _count(request), len(piece.inputs)),
        )

    return {"native": piecewise(request, attribute)}


def kernel_shap(module: nn.Module, request: ExplainRequest, method: m.KernelShap) -> Attributions:
    """Captum's KernelShap, one linear model an example."""
    if _count(request) < 2:
        raise NotImplementedError("Captum's KernelShap needs 2 features or more")
    return _surrogates(
        captum.attr.KernelShap(_forward(module)), request, m.samples_of(method, features=_count(request))
    )


def lime(module: nn.Module, request: ExplainRequest, method: m.Lime) -> Attributions:
    """Captum's Lime, one lasso an example."""
    library = captum.attr.Lime(
        _forward(module),
        interpretable_model=SkLearnLasso(alpha=method.alpha),
        similarity_func=get_exp_kernel_similarity_function("cosine", kernel_width=method.kernel_width),
    )
    return _surrogates(library, request, m.samples_of(method, features=_count(request)))


def _surrogates(library: Any, request: ExplainRequest, n_samples: int) -> Attributions:
    mask = _mask(request)

    def attribute(piece: Piece) -> Tensor:
        return library.attribute(
            piece.inputs,
            baselines=piece.baseline,
            target=piece.targets,
            feature_mask=mask,
            n_samples=n_samples,
            perturbations_per_eval=_at_once(request, n_samples, 1),
        )

    # Captum would go one by one too, with a warning that it does, and with other coalitions for each.
    return {"native": one_by_one(request, attribute)}


def _forward(module: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda rows: module(fast_layout(rows))


def _mask(request: ExplainRequest) -> Tensor:
    """Feature of each value, shape (1, *x), channels first."""
    mask = torch.from_numpy(request.features[None]).to(current_device())
    return mask.permute(0, 3, 1, 2).contiguous() if mask.ndim == 4 else mask


def _count(request: ExplainRequest) -> int:
    return int(request.features.max()) + 1


def _windows(request: ExplainRequest, method: m.Occlusion) -> int:
    rows, columns = (
        -(-(whole - side) // step) + 1
        for whole, side, step in zip(request.inputs.shape[1:3], method.window, method.stride, strict=True)
    )
    return rows * columns


def _at_once(request: ExplainRequest, evaluations: int, examples: int) -> int:
    return max(1, min(evaluations, request.rows // examples))
