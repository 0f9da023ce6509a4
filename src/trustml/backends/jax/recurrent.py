"""Layers that go through a sequence step by step, and what their weights owe to each example.

A step computes ``a = x @ kernel + bias`` and ``b = state @ recurrent_kernel + recurrent_bias`` and goes on from those.
With the gradients of the loss by all ``a`` and ``b``, an example's gradient by a kernel is a sum over steps, as a
convolution's is one over positions; it is written out.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

from trustml.models.layers import GRU, LSTM
from trustml.models.recurrence import GATES, PARTS


def recurrence(layer: GRU | LSTM, values: Array, params: dict[str, Array], name: str) -> Array:
    """States (n, steps, units) from values (n, steps, channels)."""
    kernel, recurrent_kernel, bias, recurrent_bias = (params[f"{name}.{part}"] for part in PARTS)
    return _states(layer, values @ kernel + bias, recurrent_kernel, recurrent_bias)


def step_gradients(
    layer: GRU | LSTM, values: Array, gradient: Array, params: dict[str, Array], name: str
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Give what both kernels multiply and the gradients of what they give, at each step.

    Parameters
    ----------
    layer : GRU or LSTM
    values : array of shape (n, steps, channels)
        What went in.
    gradient : array of shape (n, steps, units)
        Of the loss by what came out.
    params : dict of str to array
    name : str
        Of the node.

    Returns
    -------
    of_inputs : (array of shape (n, steps, channels), array of shape (n, steps, gates * units))
    of_states : (array of shape (n, steps, units), array of shape (n, steps, gates * units))
    """
    kernel, recurrent_kernel, bias, recurrent_bias = (params[f"{name}.{part}"] for part in PARTS)
    entered = values @ kernel + bias

    def states(entered: Array, taps: Array) -> Array:
        return _states(layer, entered, recurrent_kernel, recurrent_bias, taps)

    found, pull = jax.vjp(states, entered, jnp.zeros_like(entered))
    of_entered, of_taps = pull(gradient)
    before = jnp.concatenate([jnp.zeros_like(found[:, :1]), found[:, :-1]], axis=1)
    return (values, of_entered), (before, of_taps)


def _states(
    layer: GRU | LSTM, entered: Array, recurrent_kernel: Array, recurrent_bias: Array, taps: Array | None = None
) -> Array:
    """States after each step; `taps` are added to what states are multiplied to, to read its gradient."""
    parts = GATES[type(layer)]

    def step(carry: tuple[Array, ...], given: tuple[Array, ...]) -> tuple[tuple[Array, ...], Array]:
        before = carry[0] @ recurrent_kernel + recurrent_bias
        if taps is not None:
            before = before + given[1]
        if isinstance(layer, GRU):
            (a0, a1, a2), (b0, b1, b2) = (jnp.split(part, parts, axis=-1) for part in (given[0], before))
            update = jax.nn.sigmoid(a1 + b1)
            state = (1 - update) * jnp.tanh(a2 + jax.nn.sigmoid(a0 + b0) * b2) + update * carry[0]
            return (state,), state
        enter, forget, new, leave = jnp.split(given[0] + before, parts, axis=-1)
        cell = jax.nn.sigmoid(forget) * carry[1] + jax.nn.sigmoid(enter) * jnp.tanh(new)
        state = jax.nn.sigmoid(leave) * jnp.tanh(cell)
        return (state, cell), state

    zeros = jnp.zeros((entered.shape[0], layer.units), entered.dtype)
    start = (zeros,) if isinstance(layer, GRU) else (zeros, zeros)
    along = (entered,) if taps is None else (entered, taps)
    _, states = lax.scan(step, start, tuple(part.swapaxes(0, 1) for part in along))
    return states.swapaxes(0, 1)
