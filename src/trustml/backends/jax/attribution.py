"""Attributions in JAX: the same definitions as Captum's, compiled."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from trustml.backends.contract import Attributions, ExplainRequest
from trustml.backends.jax.network import apply, to_params


def explain(request: ExplainRequest) -> Attributions:
    """Integrated gradients at Gauss-Legendre points, times (input - baseline)."""
    architecture, params = request.model.architecture, to_params(request.model.weights)
    points, shares = gauss_legendre(request.method.n_steps)
    baseline = request.method.baseline

    def chosen(inputs: Array, targets: Array) -> Array:
        return jnp.take_along_axis(apply(architecture, params, inputs), targets[:, None], axis=1).sum()

    @jax.jit
    def integrate(inputs: Array, targets: Array) -> Array:
        def add(total: Array, point: tuple[Array, Array]) -> tuple[Array, None]:
            position, share = point
            gradient = jax.grad(chosen)(baseline + position * (inputs - baseline), targets)
            return total + share * gradient, None

        total, _ = lax.scan(add, jnp.zeros_like(inputs), (jnp.asarray(points), jnp.asarray(shares)))
        return total * (inputs - baseline)

    found = integrate(jnp.asarray(request.inputs), jnp.asarray(request.targets, jnp.int32))
    return {"native": np.asarray(found)}


def gauss_legendre(n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in (0, 1) and weights that sum to one, float32."""
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    return ((1 + points) / 2).astype(np.float32), (weights / 2).astype(np.float32)
