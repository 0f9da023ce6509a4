"""Gradient of the mean cross-entropy by the weights, from that by the logits written out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from trustml.backends.jax.network import Params, apply
from trustml.models.layers import Architecture


def loss_gradient(
    architecture: Architecture, params: Params, inputs: Array, labels: Array, there: Array, key: Array | None = None
) -> Params:
    """Gradient of the mean cross-entropy over the examples that are there.

    The loss itself is never needed, and its derivative by the formula spares a scatter, which on a processor is a loop
    over the examples, in each step. That pays for the few examples of a client or a shadow model. At 256 and more XLA
    multiplies the matrices behind it a tenth slower, so :mod:`trustml.backends.jax.training` differentiates the loss.

    Parameters
    ----------
    architecture : Architecture
    params : Params
    inputs : array of shape (b, *x)
    labels : int array of shape (b,)
        Of what is not there, any.
    there : array of shape (b,)
        0 or False for filling.
    key : JAX key, optional
        Draws dropout masks.
    """
    logits, pull = jax.vjp(lambda weights: apply(architecture, weights, inputs, key), params)
    wrong = jax.nn.softmax(logits) - jax.nn.one_hot(labels, logits.shape[1])
    each = jnp.where(there, 1 / jnp.maximum(there.sum(), 1), 0.0)
    (gradient,) = pull(wrong * each[:, None])
    return gradient
