"""Gradient of the cross-entropy by the weights, from that by the logits written out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from trustml.backends.jax.network import Params, apply
from trustml.models.layers import Architecture


def loss_gradient(
    architecture: Architecture,
    params: Params,
    inputs: Array,
    labels: Array,
    shares: Array,
    key: Array | None = None,
    first: Array | int = 0,
) -> Params:
    """Gradient of the cross-entropy summed over examples, each times its share.

    The loss itself is never needed, and its derivative by the formula spares a scatter, which on a processor is a loop
    over the examples, in each step.

    Parameters
    ----------
    architecture : Architecture
    params : Params
    inputs : array of shape (b, *x)
    labels : int array of shape (b,)
        Of what is not there, any.
    shares : float array of shape (b,)
        0 for filling.
    key : JAX key, optional
        Draws dropout masks.
    first : int
        Place of the first example in its batch, for dropout.
    """
    logits, pull = jax.vjp(lambda weights: apply(architecture, weights, inputs, key, first), params)
    wrong = jax.nn.softmax(logits) - jax.nn.one_hot(labels, logits.shape[1])
    (gradient,) = pull(wrong * shares[:, None])
    return gradient


def equal_shares(there: Array) -> Array:
    """Shares of a mean over the examples that are there, shape (b,); zeros if none is."""
    return jnp.where(there, 1 / jnp.maximum(there.sum(), 1), 0.0)
