"""Methods that attribute to the output of a layer, or to the input through one. All compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import msgspec
from jax import Array, lax

from trustml.backends.contract import ExplainRequest
from trustml.backends.jax.gradient_methods import guided_backprop
from trustml.backends.jax.network import Params, Values, to_params
from trustml.backends.jax.rules import at_target, back, logits_of, rescale_rule, values_beside, walk, walk_over
from trustml.backends.jax.straight_paths import (
    gauss_legendre,
    integrate,
    mean_gradient,
    path_points,
    target_gradient,
)
from trustml.backends.jax.tiling import in_tiles, on_every_core, rows_at_once
from trustml.data.dataset import Floats
from trustml.models.graph import ancestors, held_beside, straight_until, value_name
from trustml.models.layers import INPUT, Architecture
from trustml.models.token_path import PatchGrid, patch_grid
from trustml.scenario import methods as m

Map: TypeAlias = Callable[[Array], Array]
LayerMethod: TypeAlias = (
    m.GradCam
    | m.GuidedGradCam
    | m.LayerActivation
    | m.LayerGradientXActivation
    | m.LayerIntegratedGradients
    | m.LayerConductance
    | m.LayerDeepLift
    | m.InternalInfluence
    | m.NeuronIntegratedGradients
)


def layer_method(request: ExplainRequest, method: LayerMethod) -> Floats:
    """Attributions to the output of a layer; for GuidedGradCam and NeuronIntegratedGradients, to the input."""
    nameless = msgspec.structs.replace(method, name=None)  # under another name, nothing is compiled anew
    params = to_params(request.model.weights)
    program = functools.partial(_program, request.model.architecture, nameless, request.layer, params)
    return on_every_core(program, request.inputs, request.targets, request.baseline)


@functools.partial(jax.jit, static_argnames=("architecture", "method", "layer"))
def _program(
    architecture: Architecture,
    method: LayerMethod,
    layer: int,
    params: Params,
    inputs: Array,
    targets: Array,
    baseline: Array,
) -> Array:
    size = rows_at_once(architecture, inputs.shape[1:])
    some = functools.partial(_of_tile, architecture, method, layer, params, size)
    return in_tiles(some, (inputs, targets, baseline), size=size)


def _of_tile(
    architecture: Architecture,
    method: LayerMethod,
    layer: int,
    params: Params,
    rows: int,
    inputs: Array,
    targets: Array,
    baseline: Array,
) -> Array:
    name = value_name(architecture, layer)
    values = walk(architecture, params, inputs)
    reached, beside = values[name], values_beside(architecture, layer, values)

    def gradient(values: Array) -> Array:
        return target_gradient(architecture, params, layer + 1, values, targets, beside)

    grid = patch_grid(architecture, inputs.shape[1:], layer)
    match method:
        case m.LayerActivation():
            return reached
        case m.LayerGradientXActivation():
            return reached * gradient(reached)
        case m.GradCam():
            return _grad_cam(reached, gradient, grid, relu=method.relu)
        case m.GuidedGradCam():
            weights = _enlarged(_grad_cam(reached, gradient, grid, relu=True), inputs.shape[1:3])
            return weights[..., None] * guided_backprop(architecture, params, inputs, targets)
        case m.LayerIntegratedGradients():
            begin = walk(architecture, params, baseline)[name]
            path = path_points(method.n_steps)
            mean = mean_gradient(
                architecture, params, begin, reached, targets, path=path, rows=rows, first=layer + 1, beside=beside
            )
            return mean * (reached - begin)
        case m.LayerDeepLift():
            references = walk(architecture, params, baseline)
            rule = rescale_rule(params, values, references)
            multipliers = back(architecture, rule, at_target(logits_of(architecture, values), targets), layer=layer)
            return multipliers * (reached - references[name])
        case m.InternalInfluence() | m.LayerConductance() | m.NeuronIntegratedGradients():
            return _along_input(architecture, method, layer, params, rows, inputs, targets, baseline)


def _along_input(
    architecture: Architecture,
    method: m.InternalInfluence | m.LayerConductance | m.NeuronIntegratedGradients,
    layer: int,
    params: Params,
    rows: int,
    inputs: Array,
    targets: Array,
    baseline: Array,
) -> Array:
    """Follow a layer's output while the input goes from its baseline; see :mod:`.straight_paths`."""
    bend = min(straight_until(architecture), layer + 1)
    middle, name = value_name(architecture, bend - 1), value_name(architecture, layer)
    kept = (name, *held_beside(architecture, name))
    inner = [node for node in architecture.nodes[bend:] if node.name in ancestors(architecture, kept)]

    def front(inputs: Array) -> Array:
        return walk_over(architecture.nodes[:bend], params, {INPUT: inputs})[middle]

    def output(values: Array) -> Values:
        found = walk_over(inner, params, {middle: values})
        return {one: found[one] for one in kept}

    def gradient(values: Values, targets: Array) -> Array:
        beside = values_beside(architecture, layer, values)
        return target_gradient(architecture, params, layer + 1, values[name], targets, beside)

    begin, (end, pull) = front(baseline), jax.vjp(front, inputs)
    match method:
        case m.InternalInfluence():

            def influence(values: Array, targets: Array, _: Values) -> Array:
                return gradient(output(values), targets)

            return integrate(influence, begin, end, targets, {}, path=path_points(method.n_steps), rows=rows)
        case m.LayerConductance():

            def slope(values: Values) -> Array:
                return gradient(values, targets)

            return _conductance(output, slope, name, begin, end, method.n_steps)
        case m.NeuronIntegratedGradients():

            def of_neuron(values: Array, targets: Array, _: Values) -> Array:
                return jax.grad(lambda x: output(x)[name][(slice(None), *method.neuron)].sum())(values)

            mean = integrate(of_neuron, begin, end, targets, {}, path=path_points(method.n_steps), rows=rows)
            return pull(mean)[0] * (inputs - baseline)


def _grad_cam(values: Array, gradient: Map, grid: PatchGrid | None, *, relu: bool) -> Array:
    places, slopes = (_on_grid(part, grid) for part in (values, gradient(values)))
    weights = slopes.mean(axis=(1, 2), keepdims=True)
    found = (weights * places).sum(axis=-1)
    return jax.nn.relu(found) if relu else found


def _on_grid(values: Array, grid: PatchGrid | None) -> Array:
    """Rows and columns of patches, from steps (n, steps, channels)."""
    if grid is None or values.ndim == 4:
        return values
    return values[:, grid.first :].reshape(len(values), grid.rows, grid.columns, values.shape[-1])


def _enlarged(maps: Array, shape: tuple[int, ...]) -> Array:
    """Bilinear, pixels being squares, as the paper has it."""
    return jax.image.resize(maps, (len(maps), *shape), "bilinear", antialias=False)


def _conductance(
    output: Callable[[Array], Values],
    gradient: Callable[[Values], Array],
    name: str,
    begin: Array,
    end: Array,
    n_steps: int,
) -> Array:
    """Sum of gradient times change of the layer between neighbouring points of the path, as Captum places them."""
    points, _ = gauss_legendre(n_steps + 1)
    first = output(begin + points[0] * (end - begin))

    def add(state: tuple[Array, Values], point: Array) -> tuple[tuple[Array, Values], None]:
        total, before = state
        after = output(begin + point * (end - begin))
        return (total + gradient(before) * (after[name] - before[name]), after), None

    (total, _), _ = lax.scan(add, (jnp.zeros_like(first[name]), first), jnp.asarray(points[1:]))
    return total
