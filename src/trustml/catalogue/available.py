"""Whether a method can be had: from a backend's libraries, and for an architecture."""

from __future__ import annotations

from trustml.attribution.sharing import Combine
from trustml.catalogue.methods import METHODS
from trustml.frameworks.implementation import CONTROL_LIBRARY, Availability, Implementation, NotAvailable
from trustml.frameworks.table import entry_of
from trustml.models.layers import Architecture, Conv2D
from trustml.models.outcome import Outcome
from trustml.models.shapes import layer_shapes
from trustml.models.token_path import last_attended, patch_grid
from trustml.models.token_space import has_mask, table_of_tokens, why_no_vectors
from trustml.scenario import methods as m
from trustml.scenario.baselines import Blur, Mean, Median
from trustml.scenario.spec import BackendName

_CONTROL = Implementation(
    library=CONTROL_LIBRARY, call="", library_function="standard normal numbers, drawn by the core"
)


def availability(backend: BackendName, method: m.Method) -> Availability:
    """Tell which library of `backend` implements the method, with these settings; or why none does."""
    if isinstance(method, m.RandomControl):
        return _CONTROL
    cell = METHODS[type(method)].by.get(backend)
    if cell is None:
        nobody = NotAvailable(reason=f"is not implemented for {backend}")
        cell = entry_of(backend).methods.get(type(method).__name__, nobody)
    return cell if isinstance(cell, Implementation | NotAvailable) else cell(method)


def implementation(backend: BackendName, method: m.Method) -> Implementation:
    """Give who does the method, where somebody does.

    Raises
    ------
    NotImplementedError
        With the reason, where nobody does, and for the random control, which the core draws.
    """
    found = availability(backend, method)
    if isinstance(found, NotAvailable):
        raise NotImplementedError(found.reason)
    if not found.call:
        raise NotImplementedError("the random control is drawn by the core")
    return found


def library_of(backend: BackendName, method: m.Method) -> str:
    """Name of the library, for tables; ``none`` where there is none."""
    found = availability(backend, method)
    return found.library if isinstance(found, Implementation) else "none"


def attributed_layer(method: m.Method, architecture: Architecture, input_shape: tuple[int, ...]) -> int:
    """Give the layer whose output the method attributes to; -1 for methods of the input.

    Where the method leaves it out: what the last attention to patches looks at, else the last convolution.
    """
    layer: int | None = getattr(method, "layer", -1)
    if layer is not None:
        return layer
    if (attended := last_attended(architecture, input_shape)) >= 0:
        return attended
    convolutions = [i for i, node in enumerate(architecture.nodes) if isinstance(node.layer, Conv2D)]
    return convolutions[-1] if convolutions else -1


def why_unfit(method: m.Method, architecture: Architecture, input_shape: tuple[int, ...]) -> str:
    """Say why the method cannot explain a model of that architecture; empty if it can."""
    image = len(input_shape) == 3
    entry, layer = METHODS[type(method)], attributed_layer(method, architecture, input_shape)
    if reason := _unfit_for_tokens(method, architecture):
        return reason
    if entry.unfit is not None and (reason := entry.unfit(architecture, input_shape)):
        return reason
    shapes = layer_shapes(architecture, input_shape)
    if entry.at_convolution and layer == -1:
        return "needs a convolution, and the model has none"
    if entry.images and not image:
        joined = "FeatureAblation(patch=...)" if len(input_shape) == 2 else "FeatureAblation"
        return f"slides a window over images, but inputs have shape {input_shape}; use {joined}"
    window = getattr(method, "window", ())
    if any(side < 1 or side > whole for side, whole in zip(window, input_shape, strict=False)):
        return f"window {window} does not fit into images of shape {input_shape}"
    if hasattr(method, "layer") and not 0 <= layer < len(architecture.nodes):
        return f"layer {layer} is none of the model's {len(architecture.nodes)} layers; use 0 to {len(shapes) - 2}"
    if entry.at_convolution and len(shapes[layer + 1]) != 3 and not patch_grid(architecture, input_shape, layer):
        named = _label(architecture, layer)
        return f"layer {named} gives shape {shapes[layer + 1]}, which has no rows and columns; name a convolution"
    neuron: tuple[int, ...] | None = getattr(method, "neuron", None)
    if neuron is not None and not _inside(neuron, shapes[layer + 1]):
        return f"neuron {neuron} is no index into the output {shapes[layer + 1]} of layer {_label(architecture, layer)}"
    spread = input_shape[:-1]  # rows and columns, or steps
    if isinstance(getattr(method, "baseline", None), Blur) and not spread:
        return f"Blur is for images and series, but inputs have shape {input_shape}; use Mean or a number"
    patch = getattr(method, "patch", 1)
    if image and not 1 <= patch <= min(input_shape[:2]):
        return f"patch {patch} does not fit into images of shape {input_shape}"
    if len(input_shape) == 2 and not 1 <= patch <= input_shape[0]:
        return f"patch {patch} does not fit into sequences of {input_shape[0]} steps"
    if len(input_shape) == 1 and patch != 1:
        return f"patch {patch} joins pixels or steps, but inputs have shape {input_shape}; leave it out"
    return _unknown_layer(method, architecture)


def returns_layer(method: m.Method) -> bool:
    """Whether attributions have the shape of a layer's output, or of its rows and columns."""
    return METHODS[type(method)].returns != "input"


def returns_map(method: m.Method) -> bool:
    """Whether attributions have the rows and columns of a layer's output, and can be enlarged to those of the input."""
    return METHODS[type(method)].returns == "map"


def is_signed(method: m.Method) -> bool:
    """Whether the sign of an attribution says for or against the target."""
    if isinstance(method, m.SmoothGrad):
        return method.statistic == "mean" and is_signed(method.of)
    if isinstance(method, m.Saliency):
        return not method.absolute
    return METHODS[type(method)].signed


def is_contribution(method: m.Method) -> bool:
    """Whether attributions hold the factor (input - baseline), rather than being slopes."""
    return METHODS[type(method.of if isinstance(method, m.SmoothGrad) else method)].contribution


def combine_of(method: m.Method) -> Combine:
    """How the attributions of the values of one feature make that of the feature.

    Contributions add up. Methods that ask for outputs alone switch a feature (or a window) as a whole and give each of
    its values the whole; slopes, squares and magnitudes add up to nothing.
    """
    if isinstance(method, m.SmoothGrad):
        return combine_of(method.of) if method.statistic == "mean" else "mean"
    entry = METHODS[type(method)]
    return "sum" if entry.contribution and entry.needs != "forward" else "mean"


def _unfit_for_tokens(method: m.Method, architecture: Architecture) -> str:
    """Say why the method cannot explain token ids; empty if it can, or inputs are no ids."""
    if not table_of_tokens(architecture) or isinstance(method, m.RandomControl):
        return ""
    baseline, background = m.baseline_of(method), m.background_of(method)
    if isinstance(baseline, Mean | Median | Blur):
        return f"{type(baseline).__name__} makes no token of several; use a number, the id of a token"
    if isinstance(method, m.SmoothGrad) and method.relative:
        return "takes noise as a share of the range of an input, and tokens have none; set relative to false"
    if background is not None and background.rows == "uniform":
        return "Background(rows='uniform') draws no tokens; take rows of data"
    if background is not None and has_mask(architecture):
        return "draws texts from a background, whose padding is elsewhere; use IntegratedGradients"
    if is_signed(method) and not is_contribution(method) and not returns_layer(method):
        return "gives slopes of the numbers of a vector, which make none of a token; use InputXGradient"
    return why_no_vectors(architecture)


def _unknown_layer(method: m.Method, architecture: Architecture) -> str:
    inner = method.of if isinstance(method, m.SmoothGrad) else method
    for index, node in enumerate(architecture.nodes):
        why = METHODS[type(inner)].no_rule_for.get(type(node.layer))
        if why is not None and isinstance(node.layer, Outcome):
            return f"has no rule for a {node.layer.quantity} (explanations.quantity): {why}"
        if why is not None:
            return f"has no rule for {type(node.layer).__name__} (model.layers.{index}): {why}"
    return ""


def _label(architecture: Architecture, layer: int) -> str:
    """Number of a layer, and its name if it has one of its own."""
    name = architecture.nodes[layer].name
    return str(layer) if name == str(layer) else f"{layer} ({name})"


def _inside(index: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(index) == len(shape) and all(0 <= i < side for i, side in zip(index, shape, strict=True))
