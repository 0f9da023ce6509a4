"""Federated training in JAX: lanes are only a way to compute, rooms only grow, and cost follows the work."""

from __future__ import annotations

import functools
import time

import jax
import numpy as np
import pytest

from trustml.backends.contract import Model
from trustml.backends.jax.federated import JaxFederation
from trustml.backends.jax.lanes import pack, train_lanes
from trustml.backends.jax.network import to_params, to_weights
from trustml.backends.settings import FederatedSettings
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp
from trustml.scenario.federated import FedAvg
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


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("proximal", [0.0, 0.5])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_lanes_change_nothing_but_the_order_of_sums(momentum, proximal, clip):
    weights = [float(sum(len(labels) for _, labels in client)) for client in RAGGED]
    found = []
    for lanes, least in ((1, (1, 1)), (1, (40, 20)), (3, (1, 1)), (7, (1, 1)), (9, (8, 2))):
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
        found.append(np.append(flat(to_weights(sums.updates)), [float(sums.norm), float(sums.unclipped)]))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-5)


def federation(rounds: int) -> JaxFederation:
    regime = FedAvg(rounds=rounds, client_optimizer=SGD(learning_rate=0.2))
    return JaxFederation(MODEL, settings=FederatedSettings(regime=regime, batch_size=5))


def test_the_fastest_way_is_chosen_where_it_pays():
    few, many = federation(5), federation(50)
    few.round(RAGGED)
    many.round(RAGGED)
    assert few.choice.name == "clients in turn" and few.choice.seconds == {}
    assert set(many.choice.seconds) == {"clients in turn", "four lanes of clients", "clients side by side"}
    assert many.choice.seconds[many.choice.name] == min(many.choice.seconds.values())
    np.testing.assert_allclose(flat(few.weights()), flat(many.weights()), atol=1e-6)


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
