"""Federated training in JAX: a round is one compiled program over the clients that take part in it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from trustml.backends.contract import Client, Model
from trustml.backends.jax.dp import add_noise, noise_key
from trustml.backends.jax.lanes import Lanes, Sums, pack, train_lanes
from trustml.backends.jax.network import Params, to_params, to_weights
from trustml.backends.jax.server_optimizers import State, make_server, tree_noise
from trustml.backends.settings import EngineChoice, FederatedSettings, RoundOutcome, UserPrivacy
from trustml.models.weights import Weights
from trustml.scenario.federated import DPFedAvg, FedProx, FedSGD, TreeAggregation
from trustml.scenario.optimizers import SGD

_LARGEST_LANES = 2**28
"""Weights held by all lanes together, beyond which clients are not trained side by side."""


class JaxFederation:
    """See :class:`trustml.backends.contract.Federation`.

    Only the examples of the present round are on the device. How many lanes the clients are dealt out over is
    measured in the first round.
    """

    def __init__(self, model: Model, *, settings: FederatedSettings) -> None:
        regime = settings.regime
        self._settings, self._regime, self._privacy = settings, regime, settings.privacy
        self._params = to_params(model.weights)
        self._size = sum(array.size for array in model.weights.values())
        self._uniform = isinstance(regime, DPFedAvg) or (
            not isinstance(regime, FedSGD) and regime.weighting == "uniform"
        )
        init, step = make_server(regime)
        self._state = init(self._params)
        self._key = noise_key(settings.noise_seed)
        self._nodes: dict[int, Params] = {}
        self._clip = self._privacy.clipping_norm if self._privacy else 0.0
        self._rounds, self._lanes, self._steps = 0, 0, 1
        self._choice: EngineChoice | None = None
        optimizer = SGD(learning_rate=1.0) if isinstance(regime, FedSGD) else regime.client_optimizer
        proximal = regime.proximal if isinstance(regime, FedProx) else 0.0

        def train(params: Params, lanes: Lanes, clipping_norm: Array) -> Sums:
            clip = clipping_norm if self._privacy else None
            return train_lanes(
                model.architecture, params, lanes, optimizer=optimizer, proximal=proximal, clipping_norm=clip
            )

        def serve(params: Params, state: State, updates: Params, noise: Params, weight: Array) -> tuple[Params, State]:
            gradient = jax.tree.map(lambda total, extra: -(total + extra) / weight, updates, noise)
            return step(params, state, gradient)

        self._train, self._serve = jax.jit(train), jax.jit(serve)
        self._zeros = jax.tree.map(jnp.zeros_like, self._params)
        self._draw = jax.jit(lambda key, deviation: add_noise(self._zeros, key, deviation=deviation))

    @property
    def choice(self) -> EngineChoice | None:
        """Whether clients train in turn or side by side; under privacy without the times of real cohorts."""
        return self._choice

    def round(self, clients: Sequence[Client]) -> RoundOutcome:
        """Train the clients, aggregate, take the server's step."""
        sums = self._trained(clients)
        if self._privacy is None:
            # A client without examples answers zero: it counts where all count alike.
            weight = float(sums.weight) + (sum(not client for client in clients) if self._uniform else 0)
            noise = self._zeros
        else:
            weight = float(self._privacy.expected_clients)
            noise = self._noise(self._privacy)
        if weight > 0:
            self._params, self._state = jax.block_until_ready(
                self._serve(self._params, self._state, sums.updates, noise, np.float32(weight))
            )
        if self._privacy is not None and self._privacy.clip_learning_rate:
            without = sum(not client for client in clients)  # they answer zero, which is not clipped
            left_out = int(sums.left_out)  # counts as zero too
            self._adapt(self._privacy, int(sums.unclipped) + without + left_out, len(clients))
        self._rounds += 1
        trained = int(sums.clients) - int(sums.left_out)
        return RoundOutcome(update_norm=float(sums.norm) / trained if trained else None, left_out=int(sums.left_out))

    def weights(self) -> Weights:
        """Present global weights, canonical."""
        return to_weights(self._params)

    def clipping_norm(self) -> float:
        """Clipping norm of the next round."""
        return self._clip

    def _trained(self, clients: Sequence[Client]) -> Sums:
        if not any(clients):
            nothing = jnp.float32(0), jnp.float32(0), jnp.int32(0), jnp.int32(0), jnp.int32(0)
            return Sums(self._zeros, *nothing)
        if not self._lanes:
            self._choose(clients)
        if self._lanes > 1:  # as many as the largest cohort so far
            self._lanes = max(self._lanes, len(clients))
        sums, steps = self._run(clients, lanes=self._lanes)
        self._steps = max(self._steps, steps)
        return sums

    def _run(self, clients: Sequence[Client], *, lanes: int) -> tuple[Sums, int]:
        weights = [1.0 if self._uniform else float(sum(len(labels) for _, labels in client)) for client in clients]
        size = self._settings.batch_size
        packed = pack(
            clients,
            weights=weights,
            lanes=lanes,
            batch_size=size,
            least_steps=self._steps if lanes == 1 or self._lanes else 1,
        )
        sums = jax.block_until_ready(self._train(self._params, packed, np.float32(self._clip)))
        return sums, packed.real.shape[1]

    def _choose(self, clients: Sequence[Client]) -> None:
        """Time the first round in each way, twice after compiling, and keep the faster."""
        ways = {"clients in turn": 1}
        if 1 < len(clients) and len(clients) * self._size <= _LARGEST_LANES:
            ways["clients side by side"] = len(clients)
        seconds = {}
        self._steps = sum(map(len, clients)) * 5 // 4  # of a single lane: room for larger cohorts than the first
        for name, lanes in ways.items():
            self._run(clients, lanes=lanes)
            times = []
            for _ in range(2 if len(ways) > 1 else 0):
                begin = time.perf_counter()
                self._run(clients, lanes=lanes)
                times.append(time.perf_counter() - begin)
            seconds[name] = min(times, default=0.0)
        best = min(seconds, key=seconds.__getitem__)
        self._lanes = ways[best]
        self._steps = self._steps if self._lanes == 1 else 1
        self._choice = EngineChoice(name=best, seconds={} if self._privacy or len(ways) == 1 else seconds, refused={})

    def _noise(self, privacy: UserPrivacy) -> Params:
        key = jax.random.fold_in(self._key, 2 * self._rounds)
        deviation = privacy.noise_multiplier * self._clip
        if isinstance(privacy.mechanism, TreeAggregation):
            return tree_noise(self._nodes, self._rounds, self._zeros, key, deviation)
        return self._draw(key, np.float32(deviation))

    def _adapt(self, privacy: UserPrivacy, unclipped: int, clients: int) -> None:
        """Move the clipping norm towards the quantile (Andrew et al. 2021)."""
        key = jax.random.fold_in(self._key, 2 * self._rounds + 1)
        noisy = unclipped - clients / 2 + privacy.count_noise * float(jax.random.normal(key))
        share = noisy / privacy.expected_clients + 0.5
        self._clip *= math.exp(-privacy.clip_learning_rate * (share - privacy.quantile))
