"""Federated training in JAX: lanes are only a way to compute, rooms only grow, and cost follows the work."""

from __future__ import annotations

import functools
import itertools
import time

import jax
import numpy as np
import pytest

from tests import WHOLE
from trustml.backends.contract import Model
from trustml.backends.jax import federated
from trustml.backends.jax.client_schedule import pack, train_lanes
from trustml.backends.jax.federated import ON_EVERY_CORE, JaxFederation
from trustml.backends.jax.network import to_params, to_weights
from trustml.backends.jax.noise import noise_key, standard_noise
from trustml.backends.settings import FederatedSettings, UserPrivacy
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp
from trustml.privacy.noise_strategy import noise_matrix
from trustml.scenario.federated import (
    BandedMatrix,
    BufferedToeplitz,
    DPFedAvg,
    FedAvg,
    IndependentNoise,
    TreeAggregation,
)
from trustml.scenario.optimizers import SGD

pytestmark = [pytest.mark.jax]

SHAPE = (6,)
NETWORK = mlp([8], classes=3)
WEIGHTS = initial_weights(NETWORK, SHAPE, generator=np.random.default_rng(0))
MODEL = Model(architecture=NETWORK, input_shape=SHAPE, weights=WEIGHTS)


def some_clients(sizes: list[list[int]], seed: int = 0) -> list:
    """Clients by the sizes of their batches."""
    generator = np.random.default_rng(seed)
    return [
        [(generator.normal(size=(n, *SHAPE)).astype(np.float32), generator.integers(0, 3, n)) for n in batches]
        for batches in sizes
    ]


RAGGED = some_clients([[5, 5, 2], [5], [3], [5, 5, 5, 5, 1], [], [4, 4], [5, 5, 5]])


def flat(weights) -> np.ndarray:
    return np.concatenate([array.ravel() for array in weights.values()])


LANES = ((1, (1, 1)), (3, (1, 1)), (9, (8, 2)), *(((1, (40, 20)), (7, (1, 1))) if WHOLE else ()))
"""Side by side, and the least room of each."""


@pytest.mark.parametrize(
    ("momentum", "proximal", "clip"),
    [
        # in short everything, as each compiles programs of its own
        pytest.param(*case, marks=() if case == (0.9, 0.5, 0.05) else pytest.mark.long)
        for case in itertools.product((0.0, 0.9), (0.0, 0.5), (None, 0.05))
    ],
)
def test_lanes_change_nothing_but_the_order_of_sums(momentum, proximal, clip):
    weights = [float(sum(len(labels) for _, labels in client)) for client in RAGGED]
    found = []
    for lanes, least in LANES:
        packed = pack(RAGGED, weights=weights, lanes=lanes, shape=(5, *SHAPE), least=least)
        train = functools.partial(
            train_lanes,
            NETWORK,
            optimizer=SGD(learning_rate=0.2, momentum=momentum),
            proximal=proximal,
            clipping_norm=None if clip is None else np.float32(clip),
        )
        sums = jax.jit(train)(to_params(WEIGHTS), packed)
        assert int(sums.clients) == 6 and int(sums.left_out) == 0
        assert float(sums.weight) == sum(weights)
        found.append(
            np.append(flat(to_weights(sums.updates, list(WEIGHTS))), [float(sums.norm), float(sums.unclipped)])
        )
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-5)


NOISE = (1, 2, 3, 4)
PRIVACY = UserPrivacy(
    mechanism=IndependentNoise(),
    noise_multiplier=0.5,
    clipping_norm=0.05,
    clip_learning_rate=0.2,
    count_noise=0.5,
    expected_clients=5,
)


def federation(rounds: int, privacy: UserPrivacy | None = None) -> JaxFederation:
    regime = FedAvg(rounds=rounds, client_optimizer=SGD(learning_rate=0.2))
    return JaxFederation(
        MODEL, settings=FederatedSettings(regime=regime, batch_size=5, privacy=privacy, noise_seed=NOISE)
    )


@pytest.mark.parametrize(
    "chosen",
    [
        BufferedToeplitz(),
        *(
            pytest.param(one, marks=pytest.mark.long)
            for one in (TreeAggregation(), BandedMatrix(), BandedMatrix(bands=1))
        ),
    ],
)
def test_correlated_noise_is_the_strategys_of_vectors_of_threefry(chosen):
    rounds = 9
    privacy = UserPrivacy(mechanism=chosen, noise_multiplier=2.0, clipping_norm=0.5, expected_clients=4, separation=4)
    settings = FederatedSettings(
        regime=DPFedAvg(mechanism=chosen, rounds=rounds), batch_size=5, privacy=privacy, noise_seed=NOISE
    )
    one, rows = JaxFederation(MODEL, settings=settings), []
    for _ in range(rounds):
        before = flat(one.weights())
        one.round([])
        rows.append(flat(one.weights()) - before)
    key = noise_key(NOISE)
    draw = jax.jit(lambda number: standard_noise(jax.random.fold_in(key, 2 * number), like=WEIGHTS))
    drawn = [draw(np.uint32(number)) for number in range(rounds)]
    fresh = np.stack([flat(to_weights(part, list(WEIGHTS))) for part in drawn])
    deviation = 0.5 * privacy.drawn_noise_multiplier / 4
    expected = noise_matrix(privacy.strategy(rounds=rounds)) @ fresh
    np.testing.assert_allclose(np.stack(rows) / deviation, expected, atol=3e-5)


def test_the_fastest_way_is_chosen_where_it_pays(monkeypatch):
    monkeypatch.setattr(federated, "cores", lambda: 2)
    few, many = federation(5), federation(50)
    few.round(RAGGED)
    many.round(RAGGED)
    assert few.choice.name == "clients in turn" and few.choice.seconds == {}
    ways = {"clients in turn": 1, "four lanes of clients": 4, "clients side by side": 7, ON_EVERY_CORE: 2}
    assert many._ways(len(RAGGED)) == ways and set(many.choice.seconds) == set(ways)
    assert many.choice.seconds[many.choice.name] == min(many.choice.seconds.values())
    np.testing.assert_allclose(flat(few.weights()), flat(many.weights()), atol=1e-6)


@pytest.mark.parametrize("private", [pytest.param(False, marks=pytest.mark.long), True])
def test_lanes_of_their_own_cores_change_nothing_but_the_order_of_sums(monkeypatch, private):
    found = []
    for way in ({"clients in turn": 1}, {ON_EVERY_CORE: 3}):
        monkeypatch.setattr(JaxFederation, "_ways", lambda self, count, way=way: way)
        one = federation(5, privacy=PRIVACY if private else None)
        outcomes = [one.round(cohort) for cohort in (RAGGED, RAGGED[:1], [], some_clients([[5]] * 9))]
        assert one.choice.name in way
        found.append((flat(one.weights()), [outcome.update_norm or 0.0 for outcome in outcomes], one.clipping_norm()))
    for apart, together in zip(found[1], found[0], strict=True):
        np.testing.assert_allclose(apart, together, rtol=1e-5, atol=1e-6)


def test_cohorts_of_changing_size_are_rarely_compiled_anew():
    one = federation(5)
    generator = np.random.default_rng(1)
    cohorts = [some_clients([[5, 3]] * int(generator.integers(16, 25)), seed=k) for k in range(12)]
    one.round(cohorts[0])
    before = one._program._cache_size()
    for cohort in cohorts[1:]:
        one.round(cohort)
    assert one._program._cache_size() - before <= 1


def test_cost_follows_the_round_and_not_the_number_of_registered_clients():
    """3,400 clients and 100: rounds of 20 cost the same, and only a round's examples are handed over."""
    times = {}
    for registered in (100, 3400):
        everybody = some_clients([[5, 5]] * registered, seed=registered)
        one = federation(5)
        generator = np.random.default_rng(0)
        seconds = []
        for _ in range(15):
            cohort = [everybody[k] for k in generator.choice(registered, 20, replace=False)]
            begin = time.perf_counter()
            one.round(cohort)
            seconds.append(time.perf_counter() - begin)
        times[registered] = float(np.min(seconds[1:]))
        held = sum(array.nbytes for array in jax.live_arrays())
        assert held < 100 * flat(WEIGHTS).nbytes  # weights of programs and states; no registered client's examples
        del one
    assert times[3400] < 3 * times[100]
