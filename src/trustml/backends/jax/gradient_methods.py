"""Methods from gradients and from rules inside the network. All compiled; weights and inputs are arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from trustml.backends.jax.network import Params, apply
from trustml.backends.jax.rules import (
    at_target,
    back,
    deconvolution_rule,
    guided_rule,
    relevance_rule,
    rescale_rule,
    walk,
)
from trustml.models.layers import Architecture
from trustml.scenario import methods as m

_AT_ONCE = 512
"""Rows that go through the network together on a path or in a sample."""


@functools.partial(jax.jit, static_argnames=("architecture", "method"))
def gradient_method(
    architecture: Architecture,
    method: m.GradientMethod,
    params: Params,
    inputs: Array,
    targets: Array,
    baseline: Array,
) -> Array:
    """Attributions by one gradient method; shape (n, *x)."""
    return _attributions(architecture, method, params, inputs, targets, baseline)


@functools.partial(jax.jit, static_argnames=("architecture", "method"))
def smooth_grad(
    architecture: Architecture,
    method: m.SmoothGrad,
    params: Params,
    inputs: Array,
    targets: Array,
    baseline: Array,
    key: Array,
) -> Array:
    """Average another method over noisy inputs: its mean, mean of squares, or variance."""

    def noisy(key: Array) -> Array:
        noise = method.stdev * jax.random.normal(key, inputs.shape)
        return _attributions(architecture, method.of, params, inputs + noise, targets, baseline)

    def add(sums: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], None]:
        found = noisy(key)
        return (sums[0] + found, sums[1] + found**2), None

    zeros = jnp.zeros_like(inputs)
    (total, squares), _ = lax.scan(add, (zeros, zeros), jax.random.split(key, method.n_samples))
    mean, mean_of_squares = total / method.n_samples, squares / method.n_samples
    match method.statistic:
        case "mean":
            return mean
        case "mean_of_squares":
            return mean_of_squares
        case "variance":
            return mean_of_squares - mean**2


@functools.partial(jax.jit, static_argnames=("architecture", "method"))
def gradient_shap(
    architecture: Architecture,
    method: m.GradientShap,
    params: Params,
    inputs: Array,
    targets: Array,
    background: Array,
    key: Array,
) -> Array:
    """Expected gradients: (input - baseline) times the gradient at a random point between, averaged."""
    shape = (len(inputs), *(1,) * (inputs.ndim - 1))

    def sample(total: Array, key: Array) -> tuple[Array, None]:
        for_noise, for_baseline, for_point = jax.random.split(key, 3)
        noisy = inputs + method.stdev * jax.random.normal(for_noise, inputs.shape)
        baseline = background[jax.random.randint(for_baseline, (len(inputs),), 0, len(background))]
        point = jax.random.uniform(for_point, shape)
        gradient = _gradient(architecture, params, baseline + point * (noisy - baseline), targets)
        return total + gradient * (noisy - baseline), None

    total, _ = lax.scan(sample, jnp.zeros_like(inputs), jax.random.split(key, method.n_samples))
    return total / method.n_samples


@functools.partial(jax.jit, static_argnames=("architecture",))
def deep_lift_shap(
    architecture: Architecture, params: Params, inputs: Array, targets: Array, background: Array
) -> Array:
    """DeepLIFT averaged over the baselines of a background."""

    def add(total: Array, baseline: Array) -> tuple[Array, None]:
        return total + _deep_lift(architecture, params, inputs, targets, jnp.broadcast_to(baseline, inputs.shape)), None

    total, _ = lax.scan(add, jnp.zeros_like(inputs), background)
    return total / len(background)


def integrate(gradient: Callable[[Array], Array], baseline: Array, inputs: Array, n_steps: int) -> Array:
    """Mean of a gradient on the straight way from baseline to input, by Gauss-Legendre quadrature."""
    points, shares = gauss_legendre(n_steps)
    together = max(1, min(n_steps, _AT_ONCE // len(inputs)))
    left = -n_steps % together  # points of no weight fill the last group
    points, shares = np.pad(points, (0, left)), np.pad(shares, (0, left))

    def add(total: Array, group: tuple[Array, Array]) -> tuple[Array, None]:
        gradients = jax.vmap(lambda point: gradient(baseline + point * (inputs - baseline)))(group[0])
        return total + jnp.tensordot(group[1], gradients, axes=1), None

    groups = jnp.asarray(points).reshape(-1, together), jnp.asarray(shares).reshape(-1, together)
    shape = jax.eval_shape(gradient, inputs)
    total, _ = lax.scan(add, jnp.zeros(shape.shape, shape.dtype), groups)
    return total


def gauss_legendre(n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in (0, 1) and weights that sum to one, float32."""
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    return ((1 + points) / 2).astype(np.float32), (weights / 2).astype(np.float32)


def guided_backprop(architecture: Architecture, params: Params, inputs: Array, targets: Array) -> Array:
    """See :class:`trustml.scenario.methods.GuidedBackprop`."""
    values = walk(architecture, params, inputs)
    return back(architecture, guided_rule(architecture, params, values), at_target(values[-1], targets))


def _attributions(
    architecture: Architecture,
    method: m.GradientMethod,
    params: Params,
    inputs: Array,
    targets: Array,
    baseline: Array,
) -> Array:
    match method:
        case m.Saliency():
            gradient = _gradient(architecture, params, inputs, targets)
            return jnp.abs(gradient) if method.absolute else gradient
        case m.InputXGradient():
            return inputs * _gradient(architecture, params, inputs, targets)
        case m.IntegratedGradients():
            mean = integrate(lambda x: _gradient(architecture, params, x, targets), baseline, inputs, method.n_steps)
            return mean * (inputs - baseline)
        case m.GuidedBackprop():
            return guided_backprop(architecture, params, inputs, targets)
        case m.Deconvolution():
            values = walk(architecture, params, inputs)
            return back(architecture, deconvolution_rule(architecture, params, values), at_target(values[-1], targets))
        case m.DeepLift():
            return _deep_lift(architecture, params, inputs, targets, baseline)
        case m.LRP():
            values = walk(architecture, params, inputs)
            rule = relevance_rule(architecture, params, values, epsilon=method.epsilon)
            return back(architecture, rule, at_target(values[-1], targets) * values[-1])


def _gradient(architecture: Architecture, params: Params, inputs: Array, targets: Array) -> Array:
    def chosen(inputs: Array) -> Array:
        return jnp.take_along_axis(apply(architecture, params, inputs), targets[:, None], axis=1).sum()

    return jax.grad(chosen)(inputs)


def _deep_lift(architecture: Architecture, params: Params, inputs: Array, targets: Array, baseline: Array) -> Array:
    values, references = walk(architecture, params, inputs), walk(architecture, params, baseline)
    rule = rescale_rule(architecture, params, values, references)
    return back(architecture, rule, at_target(values[-1], targets)) * (inputs - baseline)
