"""Methods that attribute to the output of a layer, or to the input through one. All compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax

from trustml.backends.jax.gradient_methods import gauss_legendre, guided_backprop, integrate
from trustml.backends.jax.network import Params
from trustml.backends.jax.rules import at_target, back, logits_from, rescale_rule, walk
from trustml.models.layers import Architecture
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


@functools.partial(jax.jit, static_argnames=("architecture", "method", "layer"))
def layer_method(
    architecture: Architecture,
    method: LayerMethod,
    layer: int,
    params: Params,
    inputs: Array,
    targets: Array,
    baseline: Array,
) -> Array:
    """Attributions to the output of a layer; for GuidedGradCam and NeuronIntegratedGradients, to the input."""

    def output(inputs: Array) -> Array:
        return walk(architecture, params, inputs, stop=layer + 1)[-1]

    def gradient(values: Array) -> Array:
        def chosen(values: Array) -> Array:
            logits = logits_from(architecture, params, layer, values)
            return jnp.take_along_axis(logits, targets[:, None], axis=1).sum()

        return jax.grad(chosen)(values)

    match method:
        case m.LayerActivation():
            return output(inputs)
        case m.LayerGradientXActivation():
            values = output(inputs)
            return values * gradient(values)
        case m.GradCam():
            return _grad_cam(output(inputs), gradient, relu=method.relu)
        case m.GuidedGradCam():
            weights = _enlarged(_grad_cam(output(inputs), gradient, relu=True), inputs.shape[1:3])
            return weights[..., None] * guided_backprop(architecture, params, inputs, targets)
        case m.LayerIntegratedGradients():
            start, end = output(baseline), output(inputs)
            return integrate(gradient, start, end, method.n_steps) * (end - start)
        case m.InternalInfluence():
            return integrate(lambda x: gradient(output(x)), baseline, inputs, method.n_steps)
        case m.LayerConductance():
            return _conductance(output, gradient, baseline, inputs, method.n_steps)
        case m.LayerDeepLift():
            values, references = walk(architecture, params, inputs), walk(architecture, params, baseline)
            rule = rescale_rule(architecture, params, values, references)
            multipliers = back(architecture, rule, at_target(values[-1], targets), layer=layer)
            return multipliers * (values[layer + 1] - references[layer + 1])
        case m.NeuronIntegratedGradients():

            def of_neuron(inputs: Array) -> Array:
                return jax.grad(lambda x: output(x)[(slice(None), *method.neuron)].sum())(inputs)

            return integrate(of_neuron, baseline, inputs, method.n_steps) * (inputs - baseline)


def _grad_cam(values: Array, gradient: Map, *, relu: bool) -> Array:
    weights = gradient(values).mean(axis=(1, 2), keepdims=True)
    found = (weights * values).sum(axis=-1)
    return jax.nn.relu(found) if relu else found


def _enlarged(maps: Array, shape: tuple[int, ...]) -> Array:
    """Bilinear, pixels being squares, as the paper has it."""
    return jax.image.resize(maps, (len(maps), *shape), "bilinear", antialias=False)


def _conductance(output: Map, gradient: Map, baseline: Array, inputs: Array, n_steps: int) -> Array:
    """Sum of gradient times change of the layer between neighbouring points of the path, as Captum places them."""
    points, _ = gauss_legendre(n_steps + 1)
    first = output(baseline + points[0] * (inputs - baseline))

    def add(state: tuple[Array, Array], point: Array) -> tuple[tuple[Array, Array], None]:
        total, before = state
        after = output(baseline + point * (inputs - baseline))
        return (total + gradient(before) * (after - before), after), None

    (total, _), _ = lax.scan(add, (jnp.zeros_like(first), first), jnp.asarray(points[1:]))
    return total
