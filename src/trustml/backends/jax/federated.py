"""Federated training in JAX: a round is one compiled program over the clients that take part in it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from trustml.backends.contract import Client, Model
from trustml.backends.jax.client_schedule import Lanes, Sums, pack, train_lanes
from trustml.backends.jax.dp import add_clipped, filled_rows
from trustml.backends.jax.network import Params, to_params, to_weights
from trustml.backends.jax.noise import CorrelatedNoise, add_noise, noise_key, noise_words, standard_number
from trustml.backends.jax.server_optimizers import State, make_server
from trustml.backends.jax.tiling import calls_on_every_core, cores
from trustml.backends.settings import EngineChoice, FederatedSettings, RoundOutcome, UserPrivacy, usual_batch_size
from trustml.models.tasks import are_classes
from trustml.models.weights import Weights
from trustml.scenario.federated import DPFedAvg, FedProx, FedSGD, IndependentNoise
from trustml.scenario.optimizers import SGD

_WORTH_A_CHOICE = 20
"""Rounds below which compiling several programs costs more than the fastest of them saves."""
ON_EVERY_CORE = "clients in turn, on every core"
_MOST = 2**28
"""Weights held by all lanes together, beyond which clients are not trained side by side."""


class Told(NamedTuple):
    """What a round tells of its clients; see :class:`trustml.backends.jax.client_schedule.Sums`."""

    norm: float
    clients: int
    unclipped: int
    left_out: int


class JaxFederation:
    """See :class:`trustml.backends.contract.Federation`.

    Only the examples of the present round are on the device. How many lanes the clients are dealt out over is
    measured in the first round.
    """

    def __init__(self, model: Model, *, settings: FederatedSettings) -> None:
        regime = settings.regime
        self._model, self._regime, self._privacy = model, regime, settings.privacy
        self._shape = (settings.batch_size, *model.input_shape)
        self._params = to_params(model.weights)
        self._names = list(model.weights)
        self._uniform = isinstance(regime, DPFedAvg) or (
            not isinstance(regime, FedSGD) and regime.weighting == "uniform"
        )
        init, self._step = make_server(regime)
        self._state = init(self._params)
        self._key = noise_key(settings.noise_seed)
        self._clip = self._privacy.clipping_norm if self._privacy else 0.0
        self._words = noise_words(settings.noise_seed)
        self._correlated: CorrelatedNoise | None = None
        if self._privacy is not None and not isinstance(self._privacy.mechanism, IndependentNoise):
            self._correlated = CorrelatedNoise(self._privacy.strategy(rounds=regime.rounds), like=self._params)
        self._rounds, self._lanes, self._room = 0, 0, (1, 1)
        self._side_by_side = self._apart = False
        self._choice: EngineChoice | None = None
        self._program = jax.jit(self._whole_round)
        self._train, self._end = jax.jit(self._train_lanes), jax.jit(self._end_round)
        self._zeros = jax.tree.map(jnp.zeros_like, self._params)
        self._planted = self._zeros
        self._add_planted = jax.jit(partial(add_clipped, per_layer=False))
        self._draw = jax.jit(
            lambda planted, key, number, deviation: add_noise(
                planted, jax.random.fold_in(key, number), deviation=deviation
            )
        )

    @property
    def choice(self) -> EngineChoice | None:
        """Over how many lanes clients are dealt out; under privacy without the times of real cohorts."""
        return self._choice

    def round(self, clients: Sequence[Client]) -> RoundOutcome:
        """Train the clients, aggregate, take the server's step."""
        noise = self._noise(self._privacy) if self._privacy else None
        if not self._lanes and any(clients):
            self._choose(clients, noise)
        if self._side_by_side:  # as many lanes as the largest cohort so far had clients
            self._lanes = max(self._lanes, len(clients))
        self._params, self._state, told = self._run(clients, noise, lanes=self._lanes or 1, apart=self._apart)
        left_out = told.left_out
        if self._privacy is not None and self._privacy.clip_learning_rate:
            # Who has no examples, or an update that is not finite, answers zero, which is not clipped.
            without = sum(not client for client in clients)
            self._adapt(self._privacy, told.unclipped + without + left_out, len(clients))
        self._rounds += 1
        trained = told.clients - left_out
        return RoundOutcome(update_norm=told.norm / trained if trained else None, left_out=left_out)

    def plant(self, updates: Weights) -> None:
        """Clip updates from elsewhere and add them to the sum of the next round."""
        self._planted = self._add_planted(self._planted, filled_rows(updates), np.float32(self._clip))

    def weights(self) -> Weights:
        """Present global weights, canonical."""
        return to_weights(self._params, self._names)

    def clipping_norm(self) -> float:
        """Clipping norm of the next round."""
        return self._clip

    def _whole_round(
        self, params: Params, state: State, lanes: Lanes, noise: Params | None, clipping_norm: Array, divisor: Array
    ) -> tuple[Params, State, Array]:
        """Train, sum, step."""
        sums = self._train_lanes(params, lanes, clipping_norm if noise is not None else None)
        return self._end_round(params, state, (sums,), noise, divisor)

    def _train_lanes(self, params: Params, lanes: Lanes, clipping_norm: Array | None) -> Sums:
        regime = self._regime
        return train_lanes(
            self._model.architecture,
            params,
            lanes,
            optimizer=SGD(learning_rate=1.0) if isinstance(regime, FedSGD) else regime.client_optimizer,
            proximal=regime.proximal if isinstance(regime, FedProx) else 0.0,
            clipping_norm=clipping_norm,
            task=self._model.task,
        )

    def _end_round(
        self, params: Params, state: State, parts: Sequence[Sums], noise: Params | None, divisor: Array
    ) -> tuple[Params, State, Array]:
        """Take the step. Under privacy the divisor is the declared one; else it adds to the clients' weights."""
        sums = jax.tree.map(lambda *each: sum(each[1:], each[0]), *parts)
        told = jnp.stack(
            [sums.norm, *(part.astype(jnp.float32) for part in (sums.clients, sums.unclipped, sums.left_out))]
        )
        if noise is not None:
            gradient = jax.tree.map(lambda total, extra: -(total + extra) / divisor, sums.updates, noise)
            return *self._step(params, state, gradient), told
        weight = sums.weight + divisor
        gradient = jax.tree.map(lambda total: -total / weight, sums.updates)
        new = self._step(params, state, gradient)  # nothing changes where there is no weight at all
        kept = jax.tree.map(lambda after, before: jnp.where(weight > 0, after, before), new, (params, state))
        return *kept, told

    def _run(
        self, clients: Sequence[Client], noise: Params | None, *, lanes: int, apart: bool
    ) -> tuple[Params, State, Told]:
        weights = [1.0 if self._uniform else float(sum(len(labels) for _, labels in client)) for client in clients]
        packed = pack(
            clients,
            weights=weights,
            lanes=lanes,
            shape=self._shape,
            least=self._room,
            label_shape=self._model.label_shape,
            whole_labels=are_classes(self._model.task),
        )
        if self._lanes:
            self._room = packed.mask.shape[1], packed.weights.shape[1]
        if self._privacy is not None:
            divisor = float(self._privacy.expected_clients)
        else:  # a client without examples answers zero: it counts where all count alike
            divisor = float(sum(not client for client in clients)) if self._uniform else 0.0
        if apart:
            parts = self._trained_apart(packed, None if noise is None else np.float32(self._clip))
            params, state, told = self._end(self._params, self._state, parts, noise, np.float32(divisor))
        else:
            params, state, told = self._program(
                self._params, self._state, packed, noise, np.float32(self._clip), np.float32(divisor)
            )
        norm, *counts = np.asarray(told).tolist()
        return params, state, Told(norm, *map(int, counts))

    def _trained_apart(self, packed: Lanes, clipping_norm: np.float32 | None) -> list[Sums]:
        """Train every lane in a call of its own, which has a core of its own: within a lane, work has one thread."""
        lanes = [Lanes(*(part[k : k + 1] for part in packed)) for k in range(len(packed.clients))]
        return calls_on_every_core(lambda lane: self._train(self._params, lane, clipping_norm), lanes)

    def _choose(self, clients: Sequence[Client], noise: Params | None) -> None:
        """Time the first round in each way, four times, and keep the fastest."""
        ways = self._ways(max(len(clients), self._usual_clients()))
        seconds = {name: math.inf for name in ways}
        for turn in range(
            5 if len(ways) > 1 else 1
        ):  # the first compiles; then in turns, so that all are disturbed alike
            for name, lanes in ways.items():
                self._room = self._first_room(clients, lanes)
                begin = time.perf_counter()
                self._run(clients, noise, lanes=lanes, apart=name == ON_EVERY_CORE)
                if turn:
                    seconds[name] = min(seconds[name], time.perf_counter() - begin)
        best = min(seconds, key=seconds.__getitem__)
        self._lanes, self._side_by_side, self._apart = ways[best], best == "clients side by side", best == ON_EVERY_CORE
        self._room = self._first_room(clients, self._lanes)
        told = {} if self._privacy or len(ways) == 1 else seconds
        self._choice = EngineChoice(name=best, seconds=told, refused={})

    def _usual_clients(self) -> int:
        """Clients that most private rounds do not pass: whose update hangs on how many others come, tells of them."""
        return usual_batch_size(self._privacy.expected_clients) if self._privacy else 0

    def _ways(self, count: int) -> dict[str, int]:
        """Lanes of each way to train so many clients that is worth a trial."""
        if self._regime.rounds < _WORTH_A_CHOICE:
            return {"clients in turn": 1}
        ways = {"clients in turn": 1, "four lanes of clients": 4, "clients side by side": count}
        if cores() > 1:
            ways[ON_EVERY_CORE] = cores()
        size = sum(array.size for array in self._model.weights.values())
        return {
            name: lanes for name, lanes in ways.items() if lanes == 1 or (lanes - 1 < count and lanes * size < _MOST)
        }

    @staticmethod
    def _first_room(clients: Sequence[Client], lanes: int) -> tuple[int, int]:
        """Steps and clients of a lane, with room for larger cohorts than the first where clients share a lane."""
        if lanes == len(clients):
            return 1, 1
        return math.ceil(sum(map(len, clients)) * 1.25 / lanes), math.ceil(len(clients) * 1.25 / lanes)

    def _noise(self, privacy: UserPrivacy) -> Params:
        """Noise of the next round, and with it what was planted."""
        deviation = privacy.drawn_noise_multiplier * self._clip
        planted, self._planted = self._planted, self._zeros
        if self._correlated is not None:
            noise = self._correlated.take(self._words, 2 * self._rounds)
            return jax.tree.map(lambda one, other: deviation * one + other, noise, planted)
        return self._draw(planted, self._key, np.uint32(2 * self._rounds), np.float32(deviation))

    def _adapt(self, privacy: UserPrivacy, unclipped: int, clients: int) -> None:
        """Move the clipping norm towards the quantile (Andrew et al. 2021)."""
        key = jax.random.fold_in(self._key, 2 * self._rounds + 1)
        noisy = unclipped - clients / 2 + privacy.count_noise * float(standard_number(key))
        share = noisy / privacy.expected_clients + 0.5
        moved = self._clip * math.exp(min(50.0, -privacy.clip_learning_rate * (share - privacy.quantile)))
        self._clip = min(max(moved, 1e-4 * privacy.clipping_norm), 1e4 * privacy.clipping_norm)
