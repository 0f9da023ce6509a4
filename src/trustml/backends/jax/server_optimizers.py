"""What the server does with the average update: pure functions of weights and state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array

from trustml.backends.jax.network import Params
from trustml.scenario.federated import DPFedAvg, FedAdagrad, FedAdam, FedAvg, FederatedRegime, FedSGD, FedYogi

State: TypeAlias = dict[str, Any]
Step: TypeAlias = Callable[[Params, State, Params], tuple[Params, State]]
"""Weights, state and gradient (the average update with its sign turned) to weights and state."""


def make_server(regime: FederatedRegime) -> tuple[Callable[[Params], State], Step]:
    """Give the start of the server's state, and its step; formulas as in :mod:`trustml.scenario.federated`."""
    match regime:
        case FedAdam() | FedYogi():
            return _adaptive(regime)
        case FedAdagrad():
            return _adagrad(regime)
        case _:
            momentum = regime.server_momentum if isinstance(regime, FedAvg | FedSGD | DPFedAvg) else 0.0
            return _sgd(regime.server_learning_rate, momentum)


def _sgd(rate: float, momentum: float) -> tuple[Callable[[Params], State], Step]:
    def init(params: Params) -> State:
        return {"velocity": _full(params, 0.0)}

    def step(params: Params, state: State, gradient: Params) -> tuple[Params, State]:
        velocity = jax.tree.map(lambda v, g: momentum * v + g, state["velocity"], gradient)
        return jax.tree.map(lambda w, v: w - rate * v, params, velocity), {"velocity": velocity}

    return init, step


def _adaptive(regime: FedAdam | FedYogi) -> tuple[Callable[[Params], State], Step]:
    first = regime.initial_accumulator if isinstance(regime, FedYogi) else 0.0
    beta1, beta2 = regime.beta1, regime.beta2

    def init(params: Params) -> State:
        return {"mean": _full(params, 0.0), "square": _full(params, first), "count": jnp.float32(0)}

    def second(v: Array, g: Array) -> Array:
        if isinstance(regime, FedYogi):
            return v - (1 - beta2) * jnp.sign(v - g * g) * g * g
        return v + (1 - beta2) * (g * g - v)

    def step(params: Params, state: State, gradient: Params) -> tuple[Params, State]:
        count = state["count"] + 1
        mean = jax.tree.map(lambda m, g: m + (1 - beta1) * (g - m), state["mean"], gradient)
        square = jax.tree.map(second, state["square"], gradient)
        rate = regime.server_learning_rate * jnp.sqrt(1 - beta2**count) / (1 - beta1**count)
        new = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + regime.stabilizer), params, mean, square)
        return new, {"mean": mean, "square": square, "count": count}

    return init, step


def _adagrad(regime: FedAdagrad) -> tuple[Callable[[Params], State], Step]:
    def init(params: Params) -> State:
        return {"square": _full(params, regime.initial_accumulator)}

    def step(params: Params, state: State, gradient: Params) -> tuple[Params, State]:
        square = jax.tree.map(lambda v, g: v + g * g, state["square"], gradient)
        rate, stabilizer = regime.server_learning_rate, regime.stabilizer
        new = jax.tree.map(lambda w, g, v: w - rate * g / jnp.sqrt(v + stabilizer), params, gradient, square)
        return new, {"square": square}

    return init, step


def _full(params: Params, value: float) -> Params:
    return jax.tree.map(lambda part: jnp.full_like(part, value), params)
