"""Our networks in JAX as its users write them: ``lax.conv_general_dilated`` and ``lax.reduce_window``, as Flax does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from trustml.backends.jax import network
from trustml.backends.jax.network import Params, to_params
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, MaxPool, ReLU
from trustml_bench.engines.layered_jax import layered_apply
from trustml_bench.layered import LAYERED
from trustml_bench.layered import start as layered_start
from trustml_bench.workloads import NETWORKS, Workload, make_model

Form: TypeAlias = Callable[[Params, Array], Array]
"""Parameters and inputs (n, *x) to logits (n, c)."""


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


def standard_form(workload: Workload) -> Form:
    """The network as users of JAX write it."""
    if workload.network in LAYERED:
        return partial(layered_apply, LAYERED[workload.network].layers)
    if workload.network not in NETWORKS:
        raise NotImplementedError(f"{workload.network} is only measured in trustml's form")
    return partial(apply, NETWORKS[workload.network][0])


def own_form(workload: Workload) -> Form:
    """Trustml's network.

    Raises
    ------
    NotImplementedError
        If trustml's layers cannot say it.
    """
    return partial(network.apply, make_model(workload).architecture)


def forms(workload: Workload) -> dict[str, Form]:
    """The same function in the forms that a floor may take; one, where they do not differ."""
    known = NETWORKS.get(workload.network)
    if known is None:
        return {"layers": standard_form(workload)}
    if not any(isinstance(layer, Conv2D) for layer in known[0].layers):
        return {"dense": standard_form(workload)}
    return {"lax.conv": standard_form(workload), "trustml's network": own_form(workload)}


def start(workload: Workload) -> Params:
    """Starting weights."""
    layered = workload.network in LAYERED
    return to_params(layered_start(workload.network) if layered else make_model(workload).weights)


def mean_loss(form: Form, params: Params, inputs: Array, labels: Array) -> Array:
    """Mean cross-entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(form(params, inputs), labels).mean()


def chosen_sum(form: Form, params: Params, inputs: Array, labels: Array) -> Array:
    """Sum of each example's own logit."""
    return jnp.take_along_axis(form(params, inputs), labels[:, None], axis=1).sum()
