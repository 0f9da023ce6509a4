"""Our networks in JAX as its users write them: ``lax.conv_general_dilated`` and ``lax.reduce_window``, as Flax does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from trustml.backends.jax import network
from trustml.backends.jax.network import Params
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, MaxPool, ReLU

Apply: TypeAlias = Callable[[Architecture, Params, Array], Array]
"""Architecture, parameters and inputs (n, *x) to logits (n, c)."""


def apply(architecture: Architecture, params: Params, inputs: Array) -> Array:
    """Logits of shape (n, c).

    Raises
    ------
    NotImplementedError
        If a layer is not one of the benchmark's networks.
    """
    values = inputs
    for index, layer in enumerate(architecture.layers):
        match layer:
            case Dense():
                values = values @ params[f"{index}.kernel"] + params[f"{index}.bias"]
            case Conv2D():
                values = lax.conv_general_dilated(
                    values,
                    params[f"{index}.kernel"],
                    layer.stride,
                    layer.padding,
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
                values = values + params[f"{index}.bias"]
            case MaxPool(padding=((0, 0), (0, 0))):
                window, strides = (1, *layer.size, 1), (1, *layer.stride, 1)
                values = lax.reduce_window(values, -jnp.inf, lax.max, window, strides, "VALID")
            case ReLU():
                values = jax.nn.relu(values)
            case Flatten():
                values = values.reshape(len(values), -1)
            case _:
                raise NotImplementedError(f"{layer}: no layer of the benchmark's networks")
    return values


FORMS: dict[str, Apply] = {"lax.conv": apply, "trustml's network": network.apply}
"""The same function in the forms that a floor may take."""


def mean_loss(form: Apply, architecture: Architecture, params: Params, inputs: Array, labels: Array) -> Array:
    """Mean cross-entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(form(architecture, params, inputs), labels).mean()


def chosen_sum(form: Apply, architecture: Architecture, params: Params, inputs: Array, labels: Array) -> Array:
    """Sum of each example's own logit."""
    return jnp.take_along_axis(form(architecture, params, inputs), labels[:, None], axis=1).sum()
