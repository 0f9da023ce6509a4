"""pfl's rounds against the formulas, in numpy."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pfl.privacy.ftrl_mechanism import BandedMatrixFactorizationMechanism

from trustml.backends.contract import Model
from trustml.backends.settings import FederatedSettings, UserPrivacy
from trustml.backends.torch.federated import PflFederation
from trustml.backends.torch.noise import noise_generator, standard_normal
from trustml.backends.torch.postprocessors import mechanism
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp
from trustml.privacy.noise_strategy import noise_matrix
from trustml.scenario.federated import (
    BandedMatrix,
    BufferedToeplitz,
    DPFedAvg,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedProx,
    FedSGD,
    FedYogi,
    IndependentNoise,
    TreeAggregation,
)
from trustml.scenario.optimizers import SGD

pytestmark = pytest.mark.torch

ARCHITECTURE = mlp([5], classes=3)
WEIGHTS = initial_weights(ARCHITECTURE, (4,), generator=np.random.default_rng(3))
MODEL = Model(architecture=ARCHITECTURE, input_shape=(4,), weights=WEIGHTS)
PARAMETERS = sum(array.size for array in WEIGHTS.values())
CLOSE = {"rtol": 1e-4, "atol": 2e-6}


def make_clients(*sizes, seed=0):
    """Clients with batches of the sizes given."""
    draw = np.random.default_rng(seed)
    return [
        [(draw.normal(size=(size, 4)).astype(np.float32), draw.integers(0, 3, size)) for size in client]
        for client in sizes
    ]


CLIENTS = make_clients((3, 3, 2), (5,), (4, 1))


def flat(weights):
    return np.concatenate([np.asarray(weights[name], np.float64).ravel() for name in WEIGHTS])


def unflat(vector):
    ends = np.cumsum([array.size for array in WEIGHTS.values()])[:-1]
    parts = zip(WEIGHTS.items(), np.split(vector, ends), strict=True)
    return {name: part.reshape(array.shape) for (name, array), part in parts}


START = flat(WEIGHTS)


def gradient(vector, inputs, labels):
    """Of the mean cross-entropy of the two-layer network."""
    w = unflat(vector)
    hidden = inputs @ w["0.kernel"] + w["0.bias"]
    active = np.maximum(hidden, 0)
    logits = active @ w["2.kernel"] + w["2.bias"]
    shares = np.exp(logits - logits.max(1, keepdims=True))
    error = (shares / shares.sum(1, keepdims=True) - np.eye(3)[labels]) / len(labels)
    back = (error @ w["2.kernel"].T) * (hidden > 0)
    return flat(
        {"0.kernel": inputs.T @ back, "0.bias": back.sum(0), "2.kernel": active.T @ error, "2.bias": error.sum(0)}
    )


def local_update(start, client, *, rate, momentum=0.0, proximal=0.0):
    present, velocity = start.copy(), np.zeros_like(start)
    for inputs, labels in client:
        velocity = momentum * velocity + gradient(present, inputs, labels) + proximal * (present - start)
        present = present - rate * velocity
    return present - start


def mean_update(start, clients, *, by_examples, rate, momentum=0.0, proximal=0.0):
    updates = [local_update(start, client, rate=rate, momentum=momentum, proximal=proximal) for client in clients]
    sizes = [sum(len(labels) for _, labels in client) if by_examples else 1 for client in clients]
    return np.average(updates, axis=0, weights=sizes), np.mean([np.linalg.norm(update) for update in updates])


def federation(regime, *, seed=(1, 2, 3, 4), **privacy):
    mechanism = {"mechanism": IndependentNoise(), "expected_clients": 4, "clipping_norm": 0.5, "noise_multiplier": 0.0}
    user = UserPrivacy(**{**mechanism, **privacy}) if isinstance(regime, DPFedAvg) else None
    return PflFederation(MODEL, FederatedSettings(regime=regime, privacy=user, noise_seed=seed, batch_size=8))


def steps(one, clients, rounds):
    """Change of the weights in each of several rounds."""
    vectors = [flat(one.weights())]
    for _ in range(rounds):
        one.round(clients)
        vectors.append(flat(one.weights()))
    return np.diff(vectors, axis=0)


@pytest.mark.parametrize("weighting", ["examples", "uniform"])
def test_federated_averaging_with_both_momenta(weighting):
    regime = FedAvg(
        client_optimizer=SGD(learning_rate=0.3, momentum=0.8),
        weighting=weighting,
        server_learning_rate=0.7,
        server_momentum=0.9,
    )
    one, present, velocity = federation(regime), START, np.zeros_like(START)
    for _ in range(3):
        update, norm = mean_update(present, CLIENTS, by_examples=weighting == "examples", rate=0.3, momentum=0.8)
        velocity = 0.9 * velocity + update
        present = present + 0.7 * velocity
        outcome = one.round(CLIENTS)
        assert outcome.left_out == 0
        assert outcome.update_norm == pytest.approx(norm, rel=1e-4)
        np.testing.assert_allclose(flat(one.weights()), present, **CLOSE)
    assert one.clipping_norm() == 0.0
    assert one.choice is None


@pytest.mark.parametrize("proximal", [0.0, 0.7])
def test_the_proximal_term(proximal):
    one = federation(FedProx(client_optimizer=SGD(learning_rate=0.3, momentum=0.5), proximal=proximal))
    update, _ = mean_update(START, CLIENTS, by_examples=True, rate=0.3, momentum=0.5, proximal=proximal)
    one.round(CLIENTS)
    np.testing.assert_allclose(flat(one.weights()), START + update, **CLOSE)


def adam_step(memory, g, regime, *, yogi):
    m, v, t = memory
    m, t = regime.beta1 * m + (1 - regime.beta1) * g, t + 1
    if yogi:
        v = v - (1 - regime.beta2) * g**2 * np.sign(v - g**2)
    else:
        v = regime.beta2 * v + (1 - regime.beta2) * g**2
    correction = np.sqrt(1 - regime.beta2**t) / (1 - regime.beta1**t)
    return (m, v, t), correction * m / (np.sqrt(v) + regime.stabilizer)


def adagrad_step(memory, g, regime):
    v = memory[1] + g**2
    return (0, v, 0), g / np.sqrt(v + regime.stabilizer)


@pytest.mark.parametrize(
    "regime",
    [
        FedAdam(stabilizer=0.02, beta1=0.8),
        FedYogi(stabilizer=0.02, initial_accumulator=0.003),
        FedAdagrad(stabilizer=0.02),
    ],
    ids=lambda regime: type(regime).__name__,
)
def test_server_optimizers(regime):
    one, present = federation(regime), START
    memory = (np.zeros_like(START), np.full_like(START, getattr(regime, "initial_accumulator", 0.0)), 0)
    for _ in range(3):
        update, _ = mean_update(present, CLIENTS, by_examples=True, rate=0.1)
        if isinstance(regime, FedAdagrad):
            memory, direction = adagrad_step(memory, -update, regime)
        else:
            memory, direction = adam_step(memory, -update, regime, yogi=isinstance(regime, FedYogi))
        present = present - regime.server_learning_rate * direction
        one.round(CLIENTS)
        np.testing.assert_allclose(flat(one.weights()), present, **CLOSE)


def test_federated_sgd():
    clients = make_clients((8,), (5,), (2,))
    one, present, velocity = federation(FedSGD(server_learning_rate=0.2, server_momentum=0.5)), START, 0.0
    for _ in range(2):
        mean = np.average([gradient(present, *client[0]) for client in clients], axis=0, weights=[8, 5, 2])
        velocity = 0.5 * velocity + mean
        present = present - 0.2 * velocity
        one.round(clients)
        np.testing.assert_allclose(flat(one.weights()), present, **CLOSE)


def clipped(update, norm):
    return update * min(1.0, norm / np.linalg.norm(update))


def test_updates_are_clipped_and_divided_by_the_declared_number():
    regime = DPFedAvg(client_optimizer=SGD(learning_rate=0.3), server_learning_rate=0.5)
    updates = [local_update(START, client, rate=0.3) for client in CLIENTS]
    bound = float(np.median([np.linalg.norm(update) for update in updates]))
    one = federation(regime, clipping_norm=bound, expected_clients=7)
    expected = START + 0.5 * sum(clipped(update, bound) for update in updates) / 7
    outcome = one.round(CLIENTS)
    np.testing.assert_allclose(flat(one.weights()), expected, **CLOSE)
    assert outcome.update_norm == pytest.approx(np.mean([np.linalg.norm(update) for update in updates]), rel=1e-4)
    assert one.clipping_norm() == bound


def assert_std(values, expected):
    assert abs(np.std(values) / expected - 1) < 5 / np.sqrt(2 * np.size(values))


def test_the_noise_and_rounds_without_clients():
    one = federation(DPFedAvg(), noise_multiplier=3.0, clipping_norm=0.5, expected_clients=10)
    assert one.round([]).update_norm is None
    noise = 10 * steps(one, [], 40)
    assert_std(noise, 1.5)
    assert abs(noise.mean()) < 5 * 1.5 / np.sqrt(noise.size)
    assert np.abs(np.corrcoef(noise)[np.triu_indices(40, 1)]).max() < 0.8  # no round repeats another


def test_seeds_and_independence_of_the_global_generator():
    regime, privacy = DPFedAvg(), {"noise_multiplier": 1.0}
    first, same, other = (federation(regime, seed=(1, 2, 3, word), **privacy) for word in (4, 4, 5))
    torch.manual_seed(7)
    before = torch.get_rng_state()
    drawn = steps(first, CLIENTS, 2)
    assert torch.equal(before, torch.get_rng_state())
    parts = []
    for _ in range(2):  # somebody rewinds PyTorch's generator between rounds
        torch.manual_seed(7)
        parts.append(steps(same, CLIENTS, 1)[0])
    np.testing.assert_array_equal(drawn, parts)
    assert np.abs(drawn - steps(other, CLIENTS, 2)).min(axis=1).max() > 0


def test_adaptive_clipping_moves_by_the_share_of_unclipped_clients():
    norms = [np.linalg.norm(local_update(START, client, rate=0.1)) for client in CLIENTS]
    bound = float(np.sort(norms)[:2].mean())  # one client below, two above
    one = federation(DPFedAvg(), clipping_norm=bound, quantile=0.8, clip_learning_rate=0.3, expected_clients=4)
    one.round(CLIENTS)
    share = 0.5 + (0.5 - 0.5 - 0.5) / 4
    assert one.clipping_norm() == pytest.approx(bound * np.exp(-0.3 * (share - 0.8)), rel=1e-5)
    expected = sum(clipped(local_update(START, client, rate=0.1), bound) for client in CLIENTS) / 4
    np.testing.assert_allclose(flat(one.weights()), START + expected, **CLOSE)
    before = one.clipping_norm()
    one.round([])
    assert one.clipping_norm() == pytest.approx(before * np.exp(-0.3 * (0.5 - 0.8)), rel=1e-5)


def test_adaptive_clipping_gives_updates_and_share_the_noise_declared():
    privacy = {"noise_multiplier": 2.0, "count_noise": 1.5, "clip_learning_rate": 0.1, "expected_clients": 10}
    one, noise, shares = federation(DPFedAvg(), clipping_norm=0.5, **privacy), [], []
    for _ in range(80):
        before = one.clipping_norm()
        noise.append(10 * steps(one, [], 1)[0] / before)
        shares.append(0.5 - np.log(one.clipping_norm() / before) / 0.1)
    assert_std(noise, 2.0)
    assert_std(shares, 1.5 / 10)
    assert abs(np.mean(shares) - 0.5) < 5 * 0.15 / np.sqrt(80)


def test_adaptive_clipping_with_half_of_its_noise_is_refused():
    with pytest.raises(NotImplementedError, match="both"):
        federation(DPFedAvg(), noise_multiplier=1.0, clip_learning_rate=0.2)


@pytest.mark.parametrize("separation", [2, 5, 30])
def test_banded_noise(separation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rounds = 20
    regime = DPFedAvg(mechanism=BandedMatrix(), rounds=rounds)
    privacy = UserPrivacy(
        mechanism=BandedMatrix(), noise_multiplier=2.0, clipping_norm=0.5, expected_clients=4, separation=separation
    )
    matrix = mechanism(privacy, rounds).underlying_mechanism.query_matrix.astype(np.float64)
    assert os.listdir(tmp_path) == []
    assert np.array_equal(matrix, np.tril(matrix))
    gram = matrix.T @ matrix
    assert np.sqrt(np.diag(gram)).max() < 1 + 1e-6
    distance = np.abs(np.subtract.outer(np.arange(rounds), np.arange(rounds)))
    assert np.abs(gram[distance >= separation]).max(initial=0.0) < 1e-6
    one = federation(regime, mechanism=BandedMatrix(), noise_multiplier=2.0, separation=separation)
    noise = 4 * steps(one, [], rounds)
    assert_std(noise[0], 1.0 / matrix[0, 0])
    white = matrix @ noise
    assert_std(white, 1.0)
    assert abs(np.mean(white[1:] * white[:-1])) < 5 / np.sqrt(white[1:].size)


@pytest.mark.parametrize("chosen", [TreeAggregation(), BandedMatrix(bands=3), BufferedToeplitz(buffers=2)])
def test_noise_that_pfl_has_not_is_the_strategys_of_its_own_vectors(chosen):
    rounds, privacy = 11, {"mechanism": chosen, "noise_multiplier": 2.0, "separation": 4}
    one = federation(DPFedAvg(mechanism=chosen, rounds=rounds), **privacy)
    changes = [unflat(change) for change in steps(one, [], rounds)]
    # as PyTorch lays them out: a kernel's outputs first
    found = np.stack([np.concatenate([part.T.ravel() for part in change.values()]) for change in changes])
    generator = noise_generator((1, 2, 3, 4), torch.device("cpu"))
    size, cpu = found.shape[1], torch.device("cpu")
    drawn = np.stack([standard_normal(size, generator=generator, device=cpu).numpy() for _ in range(rounds)])
    user = UserPrivacy(expected_clients=4, clipping_norm=0.5, **privacy)
    expected = noise_matrix(user.strategy(rounds=rounds)) @ drawn * 0.5 * user.drawn_noise_multiplier / 4
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pfl_takes_the_wrong_factor(tmp_path, monkeypatch):
    """Known defect of pfl 0.6.0; when this fails it was fixed, and `BandedMechanism` can go."""
    monkeypatch.chdir(tmp_path)
    stock = BandedMatrixFactorizationMechanism(1.0, 20, 5, lambda _: SimpleNamespace(cohort_noise_parameter=1.0))
    np.testing.assert_allclose(np.linalg.norm(stock.query_matrix, axis=1), 1, rtol=1e-5)
    assert np.linalg.norm(stock.query_matrix, axis=0).max() > 1.4


@pytest.mark.parametrize(
    "privacy",
    [
        {"mechanism": BandedMatrix(), "separation": 1},
        {"mechanism": BandedMatrix(), "separation": 4, "clip_learning_rate": 0.2},
        {"mechanism": TreeAggregation(), "clip_learning_rate": 0.2},
    ],
)
def test_what_pfl_has_not_is_refused(privacy):
    with pytest.raises(NotImplementedError, match="pfl"):
        federation(DPFedAvg(), **privacy)


@pytest.mark.parametrize("regime", [FedAvg(), FedAvg(weighting="uniform"), FedProx(), DPFedAvg()])
def test_clients_without_batches_answer_zero(regime):
    one, two = federation(regime, clipping_norm=9.0), federation(regime, clipping_norm=9.0)
    outcome = one.round([[], *CLIENTS])
    two.round(CLIENTS)
    alone = two.round([[]])
    factor = 3 / 4 if isinstance(regime, FedAvg) and regime.weighting == "uniform" else 1.0
    np.testing.assert_allclose(flat(one.weights()) - START, factor * (flat(two.weights()) - START), **CLOSE)
    assert outcome.left_out == 0
    assert alone.update_norm == 0.0


@pytest.mark.parametrize("regime", [FedAvg(), FedProx(), DPFedAvg()])
def test_updates_that_are_not_finite_count_as_zero(regime):
    broken = [(np.full((5, 4), np.nan, np.float32), np.zeros(5, np.int64))]
    one = federation(regime, clipping_norm=9.0, expected_clients=4)
    outcome = one.round([CLIENTS[0], broken, CLIENTS[2]])
    assert outcome.left_out == 1
    updates = [local_update(START, client, rate=0.1) for client in (CLIENTS[0], CLIENTS[2])]
    shares = (1 / 4, 1 / 4) if isinstance(regime, DPFedAvg) else (8 / 13, 5 / 13)  # it has no weight either
    if isinstance(regime, FedProx):
        updates = [local_update(START, client, rate=0.1, proximal=0.01) for client in (CLIENTS[0], CLIENTS[2])]
    expected = START + sum(share * update for share, update in zip(shares, updates, strict=True))
    np.testing.assert_allclose(flat(one.weights()), expected, **CLOSE)
    assert one.round(CLIENTS).left_out == 0
