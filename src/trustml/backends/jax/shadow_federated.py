"""Federated shadow models: rounds in a scan, the clients of a round one after the other in a loop, models side by side.

Clients differ in size and cohorts in number, from model to model too. So a round is a row of batches, client after
client, and a flag says where one client ends: no client is filled up to the largest, no model to the largest cohort.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array, lax

from trustml.backends.jax.client_schedule import Sums, added
from trustml.backends.jax.network import Params
from trustml.backends.jax.noise import add_noise
from trustml.backends.jax.server_optimizers import State, make_server
from trustml.backends.jax.shadow_training import Chosen, Start, adapted, taken
from trustml.backends.jax.training import loss_gradient, sgd_update
from trustml.backends.shadows import ShadowSettings
from trustml.privacy.rounding import drawn_noise
from trustml.scenario.clipping import Adaptive
from trustml.scenario.federated import DPFedAvg, FederatedRegime, FedProx, FedSGD
from trustml.scenario.optimizers import SGD

Local: TypeAlias = tuple[Params, Params, Sums]
"""Weights and velocity of the client that is training, and the sums over those before it."""


class Rounds(NamedTuple):
    """All rounds of one model.

    Attributes
    ----------
    chosen : Chosen
        Of shape (rounds, slots, b).
    weights : float array of shape (rounds, slots)
        See :class:`trustml.backends.shadows.Visits`.
    clients : int array of shape (rounds,)
    """

    chosen: Chosen
    weights: Array
    clients: Array


def train_federated(settings: ShadowSettings, start: Start, rounds: Rounds, inputs: Array, slots: Array) -> Params:
    """Go through the rounds as :class:`trustml.backends.jax.federated.JaxFederation` does.

    Parameters
    ----------
    settings : ShadowSettings
    start : Start
    rounds : Rounds
    inputs : array
        The pool, and filling.
    slots : int array of shape (rounds,)
        Batches of each round of that model which has most: the same for all models, so that loops end together.
    """
    regime, mechanism = settings.regime, settings.mechanism
    assert isinstance(regime, FederatedRegime)
    init, server = make_server(regime)
    uniform = counts_alike(regime)
    adaptive = regime.clipping if isinstance(regime, DPFedAvg) and isinstance(regime.clipping, Adaptive) else None

    def one_round(
        state: tuple[Params, State, Array], now: tuple[Array, Rounds, Array]
    ) -> tuple[tuple[Params, State, Array], None]:
        (params, memory, clip), (number, own, end) = state, now
        sums = _local(settings, params, own, end, inputs, clip=clip if mechanism else None)
        idle = own.clients - sums.clients
        if mechanism is None:
            # A client without examples answers zero: it counts where all count alike.
            weight = sums.weight + (idle if uniform else 0.0)
            gradient = jax.tree.map(lambda total: -total / jnp.maximum(weight, 1e-30), sums.updates)
            new = server(params, memory, gradient)
            kept = jax.tree.map(lambda after, before: jnp.where(weight > 0, after, before), new, (params, memory))
            return (*kept, clip), None
        total = sums.updates
        if mechanism.noise_multiplier:
            key = jax.random.fold_in(start.noise, 2 * number)
            noise = drawn_noise(mechanism.noise_multiplier, terms=mechanism.expected_batch_size)
            total = add_noise(total, key, deviation=noise * clip)
        gradient = jax.tree.map(lambda part: -part / mechanism.expected_batch_size, total)
        params, memory = server(params, memory, gradient)
        if adaptive is not None:
            zero = idle + sums.left_out  # answers of zero, which are not clipped
            centred = sums.unclipped + zero - own.clients / 2
            key = jax.random.fold_in(start.noise, 2 * number + 1)
            clip = adapted(clip, centred, key, adaptive=adaptive, mechanism=mechanism)
        return (params, memory, clip), None

    first_clip = jnp.float32(mechanism.clipping_norm if mechanism else 0.0)
    first = (start.params, init(start.params), first_clip)
    (params, _, _), _ = lax.scan(one_round, first, (jnp.arange(len(slots)), rounds, slots))
    return params


def counts_alike(regime: FederatedRegime) -> bool:
    """Tell whether every client weighs the same in the mean."""
    return isinstance(regime, DPFedAvg) or (not isinstance(regime, FedSGD) and regime.weighting == "uniform")


def _local(
    settings: ShadowSettings, params: Params, own: Rounds, end: Array, inputs: Array, *, clip: Array | None
) -> Sums:
    """Train the clients of one round, one after the other, and sum their updates."""
    regime = settings.regime
    assert isinstance(regime, FederatedRegime)
    optimizer = SGD(learning_rate=1.0) if isinstance(regime, FedSGD) else regime.client_optimizer
    proximal = regime.proximal if isinstance(regime, FedProx) else 0.0
    zeros = jax.tree.map(jnp.zeros_like, params)

    def slot(number: Array, state: Local) -> Local:
        local, velocity, sums = state
        batch = Chosen(own.chosen.rows[number], own.chosen.labels[number])
        examples = taken(inputs, batch.rows)
        there = batch.there(inputs)
        gradient = loss_gradient(settings.architecture, local, examples, batch.labels, there, task=settings.task)
        if proximal:
            gradient = jax.tree.map(lambda g, w, w0: g + proximal * (w - w0), gradient, local, params)
        if optimizer.momentum:
            local, velocity = sgd_update(local, velocity, gradient, optimizer)
        else:
            local = jax.tree.map(lambda w, g: w - optimizer.learning_rate * g, local, gradient)
        weight = own.weights[number]
        leaves = weight >= 0
        with_this = added(sums, jax.tree.map(jnp.subtract, local, params), weight, clip)
        after = (params, zeros if optimizer.momentum else {}, with_this)
        return jax.tree.map(lambda new, old: jnp.where(leaves, new, old), after, (local, velocity, sums))

    nothing = Sums(zeros, jnp.float32(0), jnp.float32(0), jnp.int32(0), jnp.int32(0), jnp.int32(0))
    first: Local = (params, zeros if optimizer.momentum else {}, nothing)
    return lax.fori_loop(0, end, slot, first)[2]
