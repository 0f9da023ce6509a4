"""Optax's optimizers, and their memory in canonical form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from trustml.backends.jax.network import Params, to_params, to_weights
from trustml.models.weights import Weights
from trustml.scenario.optimizers import SGD, Optimizer


def make_optimizer(optimizer: Optimizer) -> optax.GradientTransformation:
    """Direction of the step, before it is multiplied by the learning rate."""
    if isinstance(optimizer, SGD):
        return optax.trace(decay=optimizer.momentum)
    return optax.scale_by_adam(b1=optimizer.beta1, b2=optimizer.beta2, eps=optimizer.stabilizer)


def read_state(state: Any, names: Sequence[str]) -> Weights:
    """Copy what the optimizer remembers of the weights of these names."""
    if isinstance(state, optax.TraceState):
        return _prefixed("momentum", state.trace, names)
    count = {"count": np.array(state.count, np.float32)}
    return {**_prefixed("mean", state.mu, names), **_prefixed("variance", state.nu, names), **count}


def restore_state(like: Any, state: Weights) -> Any:
    """Put back what :func:`read_state` gave, of this backend or another, as a state of the kind of `like`."""
    if isinstance(like, optax.TraceState):
        return optax.TraceState(trace=_part("momentum", state))
    return like._replace(
        count=jnp.asarray(int(state["count"]), jnp.int32), mu=_part("mean", state), nu=_part("variance", state)
    )


def _prefixed(slot: str, params: Any, names: Sequence[str]) -> Weights:
    return {f"{slot}/{name}": array for name, array in to_weights(params, names).items()}


def _part(slot: str, state: Weights) -> Params:
    return to_params({name.removeprefix(f"{slot}/"): v for name, v in state.items() if name.startswith(f"{slot}/")})
