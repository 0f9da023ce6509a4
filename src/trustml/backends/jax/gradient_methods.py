"""Methods from gradients and from rules inside the network. All compiled; weights and inputs are arguments.

What draws numbers shares its samples out over the cores, so that it draws what one call would; everything else
shares out its examples. All examples share what is drawn: the numbers of one do not depend on the others.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from trustml.attribution.noise import noise_sizes
from trustml.backends.contract import ExplainRequest
from trustml.backends.jax.network import Params, Values, to_params
from trustml.backends.jax.rules import (
    at_target,
    back,
    deconvolution_rule,
    guided_rule,
    logits_of,
    relevance_rule,
    rescale_rule,
    walk,
)
from trustml.backends.jax.straight_paths import Path, mean_gradient, path_points, target_gradient
from trustml.backends.jax.tiling import in_tiles, on_every_core, rows_at_once, sums_on_every_core
from trustml.data.dataset import Floats
from trustml.models.layers import INPUT, Architecture
from trustml.scenario import methods as m

_GRADIENT = m.Saliency(absolute=False)


def gradient_method(request: ExplainRequest, method: m.GradientMethod) -> Floats:
    """Attributions by one gradient method; shape (n, *x)."""
    alone = isinstance(method, m.Saliency | m.InputXGradient)
    architecture, params = request.model.architecture, to_params(request.model.weights)
    program = functools.partial(_program, architecture, _GRADIENT if alone else _kind(method), params, _path(method))
    found = on_every_core(program, request.inputs, request.targets, request.baseline)
    match method:
        case m.Saliency(absolute=True):
            return np.abs(found)
        case m.InputXGradient():
            return request.inputs * found
        case _:
            return found


def smooth_grad(request: ExplainRequest, method: m.SmoothGrad) -> Floats:
    """Average another method over noisy inputs: its mean, mean of squares, or variance."""
    architecture, params = request.model.architecture, to_params(request.model.weights)
    keys = jax.random.split(jax.random.key(request.seed), method.n_samples)
    given = (request.inputs, request.targets, request.baseline, _path(method.of))
    sizes = noise_sizes(request.inputs, stdev=method.stdev, relative=method.relative)
    sizes = sizes.reshape(-1, *[1] * (request.inputs.ndim - 1))
    some = functools.partial(_noisy_sums, architecture, _kind(method.of), params, given, sizes, keys)
    total, squares = sums_on_every_core(some, method.n_samples)
    mean, mean_of_squares = total / method.n_samples, squares / method.n_samples
    match method.statistic:
        case "mean":
            return np.asarray(mean)
        case "mean_of_squares":
            return np.asarray(mean_of_squares)
        case "variance":
            return np.asarray(mean_of_squares - mean**2)


def gradient_shap(request: ExplainRequest, method: m.GradientShap) -> Floats:
    """Expected gradients: (input - baseline) times the gradient at a random point between, averaged."""
    architecture, params = request.model.architecture, to_params(request.model.weights)
    keys = jax.random.split(jax.random.key(request.seed), method.n_samples)
    given = (request.inputs, request.targets, request.background)
    some = functools.partial(_expected_sums, architecture, params, given, method.stdev, keys)
    return np.asarray(sums_on_every_core(some, method.n_samples) / method.n_samples)


def deep_lift_shap(request: ExplainRequest, method: m.DeepLiftShap) -> Floats:
    """DeepLIFT averaged over the baselines of a background."""
    architecture, params = request.model.architecture, to_params(request.model.weights)
    some = functools.partial(_deep_lift_means, architecture, params, request.background)
    return on_every_core(some, request.inputs, request.targets)


def guided_backprop(architecture: Architecture, params: Params, inputs: Array, targets: Array) -> Array:
    """See :class:`trustml.scenario.methods.GuidedBackprop`."""
    values = walk(architecture, params, inputs)
    return back(architecture, guided_rule(params, values), at_target(logits_of(architecture, values), targets))


def _kind(method: m.GradientMethod) -> m.GradientMethod:
    """Give what decides the program: no names, no baselines, no numbers that are arguments."""
    match method:
        case m.Saliency():
            return m.Saliency(absolute=method.absolute)
        case m.LRP():
            return m.LRP(epsilon=method.epsilon)
        case _:
            return type(method)()


def _path(method: m.GradientMethod) -> Path | None:
    return path_points(method.n_steps) if isinstance(method, m.IntegratedGradients) else None


@functools.partial(jax.jit, static_argnames=("architecture", "method"))
def _program(
    architecture: Architecture,
    method: m.GradientMethod,
    params: Params,
    path: Path | None,
    inputs: Array,
    targets: Array,
    baseline: Array,
) -> Array:
    return _attributions(architecture, method, params, path, inputs, targets, baseline)


@functools.partial(jax.jit, static_argnames=("architecture", "method"))
def _noisy_sums(
    architecture: Architecture,
    method: m.GradientMethod,
    params: Params,
    given: tuple[Array, Array, Array, Path | None],
    sizes: Array,
    keys: Array,
    begin: int,
    end: int,
) -> tuple[Array, Array]:
    inputs, targets, baseline, path = given

    def add(number: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        noise = sizes * jax.random.normal(keys[number], inputs.shape[1:])
        found = _attributions(architecture, method, params, path, inputs + noise, targets, baseline)
        return sums[0] + found, sums[1] + found**2

    zeros = jnp.zeros_like(inputs)
    return lax.fori_loop(begin, end, add, (zeros, zeros))


@functools.partial(jax.jit, static_argnames=("architecture",))
def _expected_sums(
    architecture: Architecture,
    params: Params,
    given: tuple[Array, Array, Array],
    stdev: float,
    keys: Array,
    begin: int,
    end: int,
) -> Array:
    inputs, targets, background = given

    def add(number: Array, total: Array) -> Array:
        for_noise, for_baseline, for_point = jax.random.split(keys[number], 3)
        noisy = inputs + stdev * jax.random.normal(for_noise, inputs.shape[1:])
        chosen = background[jax.random.randint(for_baseline, (), 0, len(background))]
        baseline = jnp.broadcast_to(chosen, inputs.shape)
        point = jax.random.uniform(for_point)
        between = baseline + point * (noisy - baseline)
        gradient = _attributions(architecture, _GRADIENT, params, None, between, targets, baseline)
        return total + gradient * (noisy - baseline)

    return lax.fori_loop(begin, end, add, jnp.zeros_like(inputs))


@functools.partial(jax.jit, static_argnames=("architecture",))
def _deep_lift_means(
    architecture: Architecture, params: Params, background: Array, inputs: Array, targets: Array
) -> Array:
    references = walk(architecture, params, background)  # once for all examples

    def tile(inputs: Array, targets: Array) -> Array:
        values = walk(architecture, params, inputs)

        def add(total: Array, reference: Values) -> tuple[Array, None]:
            repeated = {name: jnp.broadcast_to(reference[name], value.shape) for name, value in values.items()}
            return total + _deep_lift(architecture, params, values, repeated, targets), None

        total, _ = lax.scan(add, jnp.zeros_like(inputs), references)
        return total / len(background)

    return in_tiles(tile, (inputs, targets), size=rows_at_once(architecture, inputs.shape[1:]))


def _attributions(
    architecture: Architecture,
    method: m.GradientMethod,
    params: Params,
    path: Path | None,
    inputs: Array,
    targets: Array,
    baseline: Array,
) -> Array:
    size = rows_at_once(architecture, inputs.shape[1:])
    some = functools.partial(_of_tile, architecture, method, params, path)
    return in_tiles(some, (inputs, targets, baseline), size=size)


def _of_tile(
    architecture: Architecture,
    method: m.GradientMethod,
    params: Params,
    path: Path | None,
    inputs: Array,
    targets: Array,
    baseline: Array,
) -> Array:
    match method:
        case m.Saliency():
            gradient = target_gradient(architecture, params, 0, inputs, targets, {})
            return jnp.abs(gradient) if method.absolute else gradient
        case m.InputXGradient():
            return inputs * target_gradient(architecture, params, 0, inputs, targets, {})
        case m.IntegratedGradients():
            assert path is not None
            rows = rows_at_once(architecture, inputs.shape[1:])
            mean = mean_gradient(architecture, params, baseline, inputs, targets, path=path, rows=rows)
            return mean * (inputs - baseline)
        case m.GuidedBackprop():
            return guided_backprop(architecture, params, inputs, targets)
        case m.Deconvolution():
            values = walk(architecture, params, inputs)
            logits = logits_of(architecture, values)
            return back(architecture, deconvolution_rule(params, values), at_target(logits, targets))
        case m.DeepLift():
            values, references = walk(architecture, params, inputs), walk(architecture, params, baseline)
            return _deep_lift(architecture, params, values, references, targets)
        case m.LRP():
            values = walk(architecture, params, inputs)
            logits = logits_of(architecture, values)
            rule = relevance_rule(params, values, epsilon=method.epsilon)
            return back(architecture, rule, at_target(logits, targets) * logits)


def _deep_lift(architecture: Architecture, params: Params, values: Values, references: Values, targets: Array) -> Array:
    multipliers = back(
        architecture, rescale_rule(params, values, references), at_target(logits_of(architecture, values), targets)
    )
    return multipliers * (values[INPUT] - references[INPUT])
