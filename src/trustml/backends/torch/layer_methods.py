"""Methods that look at a layer, by Captum. Shape (n, *layer), channels last, unless they return to the input."""

from __future__ import annotations

from typing import TypeAlias

import captum.attr
from torch import Tensor, nn

from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.torch.captum_calls import Piece, piecewise
from trustml.backends.torch.deep_lift_rules import apart, deep_lift_variants, shares_input
from trustml.backends.torch.network import node_module
from trustml.backends.torch.own_layers import LaidOut, child_name
from trustml.data.dataset import Floats
from trustml.models.layers import ReLU
from trustml.models.shapes import layer_shapes
from trustml.models.token_path import patch_grid
from trustml.scenario import methods as m

LayerMethod: TypeAlias = (
    m.LayerActivation
    | m.LayerGradientXActivation
    | m.LayerIntegratedGradients
    | m.LayerConductance
    | m.LayerDeepLift
    | m.InternalInfluence
    | m.NeuronIntegratedGradients
)


def grad_cam(module: nn.Module, request: ExplainRequest, method: m.GradCam) -> Attributions:
    """Captum's LayerGradCam; shape (n, rows, columns) of the layer."""
    layer = _with_places(module, request)

    def attribute(piece: Piece) -> Tensor:
        library = captum.attr.LayerGradCam(module, layer)
        found = library.attribute(piece.inputs, target=piece.targets, relu_attributions=method.relu)
        return found.squeeze(1)

    return {"native": piecewise(request, attribute)}


def guided_grad_cam(module: nn.Module, request: ExplainRequest, method: m.GuidedGradCam) -> Attributions:
    """Captum's GuidedGradCam, shape (n, *x); completed by interpolation, where its default repeats values."""
    layer = _with_places(module, request)

    def enlarged(module: nn.Module, mode: str) -> Floats:
        library = captum.attr.GuidedGradCam(module, layer)
        return piecewise(
            request,
            lambda piece: library.attribute(piece.inputs, target=piece.targets, interpolate_mode=mode),
        )

    whole = apart(module) if shares_input(request.model.architecture, (ReLU,)) else module
    return {"native": enlarged(module, "nearest"), "completed": enlarged(whole, "bilinear")}


def layer_method(module: nn.Module, request: ExplainRequest, method: LayerMethod) -> Attributions:
    """Attributions to the output of a layer, or for one output of a layer to the input."""
    layer = node_module(module, request.layer)

    def run(module: nn.Module) -> Floats:
        # Conductance takes differences of neighbours on the path, so two points an example must fit.
        rows = max(2, request.rows)
        return piecewise(request, lambda piece: _attribute(module, layer, method, piece, rows), rows_per_example=2)

    return deep_lift_variants(module, request, run) if isinstance(method, m.LayerDeepLift) else {"native": run(module)}


def _attribute(module: nn.Module, layer: nn.Module, method: LayerMethod, piece: Piece, rows: int) -> Tensor:
    inputs, targets, baseline = piece.inputs, piece.targets, piece.baseline
    match method:
        case m.LayerActivation():
            return captum.attr.LayerActivation(module, layer).attribute(inputs)
        case m.LayerGradientXActivation():
            return captum.attr.LayerGradientXActivation(module, layer).attribute(inputs, target=targets)
        case m.LayerDeepLift():
            return captum.attr.LayerDeepLift(module, layer).attribute(inputs, baseline, target=targets)
        case m.NeuronIntegratedGradients():
            return captum.attr.NeuronIntegratedGradients(module, layer).attribute(
                inputs,
                _channels_first(method.neuron),
                baseline,
                n_steps=method.n_steps,
                internal_batch_size=rows,
            )
        case m.LayerIntegratedGradients() | m.LayerConductance() | m.InternalInfluence():
            library = getattr(captum.attr, type(method).__name__)(module, layer)
            return library.attribute(inputs, baseline, target=targets, n_steps=method.n_steps, internal_batch_size=rows)


def _with_places(module: nn.Module, request: ExplainRequest) -> nn.Module:
    """Give the module of a layer whose output is an image; of patches, one that lays them out as such on the way."""
    architecture, input_shape = request.model.architecture, request.model.input_shape
    shape = layer_shapes(architecture, input_shape)[request.layer + 1]
    grid = patch_grid(architecture, input_shape, request.layer)
    if len(shape) == 2 and grid is not None:
        name = child_name(architecture.nodes[request.layer].name)
        laid = LaidOut(node_module(module, request.layer), grid)
        module._modules[name] = laid
        return laid.places
    if len(shape) != 3:
        raise NotImplementedError(f"layer {request.layer} gives shape {shape}, which has no rows and columns")
    return node_module(module, request.layer)


def _channels_first(neuron: tuple[int, ...]) -> tuple[int, ...]:
    return (neuron[2], neuron[0], neuron[1]) if len(neuron) == 3 else neuron
