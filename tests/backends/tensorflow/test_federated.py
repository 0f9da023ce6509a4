"""TFF's algorithms against the formulas, written out in numpy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.backends.tensorflow import federated_case as case
from trustml.backends.contract import Client
from trustml.launch.environments import find_environment
from trustml.privacy.noise_strategy import noise_matrix

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(300)]
HERE = Path(__file__).resolve().parent
MODEL = case.draw_model()
Flat = np.ndarray
"""All weights in one float64 vector, in canonical order."""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> tuple[dict[str, Flat], dict[str, list]]:
    """Weights before the first round and after each one, and what was told with them."""
    folder = tmp_path_factory.mktemp("federated")
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [find_environment("tensorflow").require(), HERE / "federated_case.py", folder],
            env={**os.environ, "PYTHONPATH": f"{HERE.parents[2] / 'src'}:{HERE.parents[2]}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=280)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # TFF's worker among them
            except ProcessLookupError:
                pass
    assert code == 0, (folder / "log.txt").read_text()[-2000:]
    with np.load(folder / "found.npz") as arrays:
        names = [*case.CASES, "drawn"]
        weights = {name: flatten({key: arrays[f"{name}/{key}"] for key in MODEL.weights}) for name in names}
    return weights, json.loads((folder / "told.json").read_text())


def flatten(weights: dict[str, np.ndarray]) -> Flat:
    """Put weights, or stacks of them, into vectors."""
    lead = [weights[key].shape[: weights[key].ndim - MODEL.weights[key].ndim] for key in weights]
    return np.concatenate([weights[key].reshape(*lead[0], -1) for key in weights], -1).astype(np.float64)


def gradient(flat: Flat, inputs: np.ndarray, labels: np.ndarray) -> Flat:
    """Of the mean cross-entropy."""
    kernel, bias, kernel2, bias2 = np.split(flat, np.cumsum([20, 5, 15]))
    kernel, kernel2 = kernel.reshape(4, 5), kernel2.reshape(5, 3)
    hidden = np.maximum(inputs @ kernel + bias, 0)
    logits = hidden @ kernel2 + bias2
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    share[np.arange(len(labels)), labels] -= 1
    share /= len(labels)
    back = (share @ kernel2.T) * (hidden > 0)
    parts = {"0.kernel": inputs.T @ back, "0.bias": back.sum(0), "2.kernel": hidden.T @ share, "2.bias": share.sum(0)}
    return flatten({key: parts[key] for key in MODEL.weights})


def update(start: Flat, client: Client, *, proximal: float = 0.0) -> Flat:
    """Change of the weights by the client's own training."""
    weights, velocity = start.copy(), np.zeros_like(start)
    for batch in client:
        step = gradient(weights, *batch) + proximal * (weights - start)
        velocity = case.OPTIMIZER.momentum * velocity + step
        weights = weights - case.OPTIMIZER.learning_rate * velocity
    return weights - start


def examples(client: Client) -> int:
    return sum(len(labels) for _, labels in client)


def average(start: Flat, clients: list[Client], *, uniform: bool = False, proximal: float = 0.0) -> Flat:
    updates = [update(start, client, proximal=proximal) for client in clients]
    return np.average(updates, axis=0, weights=[1 if uniform else examples(client) for client in clients])


def clip(vector: Flat, norm: float) -> Flat:
    return vector * min(1.0, norm / max(np.linalg.norm(vector), 1e-30))


def close(ours: Flat, expected: Flat) -> bool:
    """Up to float32, over the size of what training changed."""
    return bool(np.abs(ours - expected).max() < 3e-6)


def test_weights_go_in_and_come_out(found):
    assert all(np.array_equal(found[0][name][0], flatten(MODEL.weights)) for name in case.CASES)


def test_average_by_examples_with_server_momentum(found):
    """Of the third and fourth round there is nothing but the momentum."""
    weights, told = found[0]["examples"], found[1]["examples"]
    mean = average(weights[0], case.CLIENTS)
    assert close(weights[1], weights[0] + 0.7 * mean)
    velocity = 0.4 * mean + average(weights[1], case.OTHERS)  # the client that is not finite weighs nothing
    assert close(weights[2], weights[1] + 0.7 * velocity)
    assert close(weights[3], weights[2] + 0.7 * 0.4 * velocity)
    assert close(weights[4], weights[3] + 0.7 * 0.4**2 * velocity)
    norms = [np.linalg.norm(update(weights[0], client)) for client in case.CLIENTS]
    assert told[1][0] == pytest.approx(np.mean(norms), rel=1e-5)
    assert [outcome[1] for outcome in told] == [0, 0, 1, 0, 0]
    assert told[3][0] is None
    assert told[4][0] == 0
    assert {outcome[2] for outcome in told} == {0}


@pytest.mark.long
def test_average_by_clients(found):
    """A client without examples answers zero; one that is not finite does not answer."""
    weights, told = found[0]["uniform"], found[1]["uniform"]
    assert close(weights[1], weights[0] + average(weights[0], case.CLIENTS, uniform=True))
    assert close(weights[2], weights[1] + average(weights[1], case.OTHERS, uniform=True))
    assert [outcome[1] for outcome in told] == [0, 0, 1]


@pytest.mark.long
def test_proximal_term(found):
    weights = found[0]["prox"]
    for number, clients in enumerate((case.CLIENTS, case.OTHERS)):
        assert close(weights[number + 1], weights[number] + average(weights[number], clients, proximal=0.8))


@pytest.mark.long
def test_proximal_term_of_tff_has_the_wrong_sign(found):
    """Known defect of TFF 0.87; when this fails it was fixed, and its own FedProx can be used again."""
    weights = found[0]["prox_of_tff"]
    assert close(weights[1], weights[0] + average(weights[0], case.CLIENTS, proximal=-0.8))
    assert not close(weights[1], weights[0] + average(weights[0], case.CLIENTS, proximal=0.8))


@pytest.mark.long
@pytest.mark.parametrize("name", ["adam", "yogi", "adagrad"])
def test_server_optimizers(found, name):
    weights, regime = found[0][name], case.CASES[name][0]
    first, second = 0.0, getattr(regime, "initial_accumulator", 0.0)
    for number, clients in enumerate((case.CLIENTS, case.OTHERS, case.CLIENTS)):
        g, t = -average(weights[number], clients), number + 1
        if name == "adagrad":
            second = second + g**2
            step = g / np.sqrt(second + regime.stabilizer)
        else:
            first = regime.beta1 * first + (1 - regime.beta1) * g
            if name == "adam":
                second = regime.beta2 * second + (1 - regime.beta2) * g**2
            else:
                second = second - (1 - regime.beta2) * g**2 * np.sign(second - g**2)
            corrected = np.sqrt(1 - regime.beta2**t) / (1 - regime.beta1**t)
            step = corrected * first / (np.sqrt(second) + regime.stabilizer)
        assert close(weights[number + 1], weights[number] - regime.server_learning_rate * step)


@pytest.mark.long
def test_one_gradient_of_each_client(found):
    weights, told, velocity = found[0]["sgd"], found[1]["sgd"], 0.0
    for number, clients in enumerate((case.CLIENTS, case.OTHERS)):
        everything = [batch for client in clients for batch in client]
        joined = (np.concatenate(part) for part in zip(*everything, strict=True))
        velocity = 0.4 * velocity + gradient(weights[number], *joined)
        assert close(weights[number + 1], weights[number] - 0.1 * velocity)
    assert [outcome[1] for outcome in told] == [0, 0, 1]


@pytest.mark.long
def test_robust_average_clips_at_first_to_norm_one(found):
    weights = found[0]["robust"]
    updates = [update(weights[0], client) for client in case.CLIENTS]
    assert max(np.linalg.norm(vector) for vector in updates) > 1
    clipped = [clip(vector, 1.0) for vector in updates]
    mean = np.average(clipped, axis=0, weights=[examples(client) for client in case.CLIENTS])
    assert close(weights[2], weights[0] + mean)


@pytest.mark.long
def test_robust_average_of_no_examples(found):
    assert np.array_equal(found[0]["robust"][1], found[0]["robust"][0])


def test_clipped_sum_over_the_expected_number(found):
    weights, told = found[0]["clipped"], found[1]["clipped"]
    norm = case.private().clipping_norm
    for number, clients in enumerate((case.CLIENTS, case.OTHERS, [])):  # what is not finite counts as zero
        total = sum((clip(update(weights[number], client), norm) for client in clients), np.zeros(43))
        assert close(weights[number + 1], weights[number] + total / case.EXPECTED)
    norms = [np.linalg.norm(update(weights[0], client)) for client in case.CLIENTS]
    assert min(norms) < norm < max(norms)
    assert {outcome[0] for outcome in told} == {None}
    assert {outcome[2] for outcome in told} == {norm}


def test_clipping_norm_follows_the_quantile(found):
    """Each client counts as +1/2 or -1/2, and what is missing to the expected number as nothing."""
    weights, told, privacy = found[0]["adaptive"], found[1]["adaptive"], case.ADAPTIVE
    norm = privacy.clipping_norm
    for number, clients in enumerate((case.CLIENTS, case.OTHERS, [])):
        assert told[number][2] == pytest.approx(norm, rel=1e-6)
        updates = [update(weights[number], client) for client in clients]
        total = sum((clip(vector, norm) for vector in updates), np.zeros(43))
        assert close(weights[number + 1], weights[number] + total / case.EXPECTED)
        count = sum(0.5 if np.linalg.norm(vector) <= norm else -0.5 for vector in updates)
        norm *= np.exp(-privacy.clip_learning_rate * (count / case.EXPECTED + 0.5 - privacy.quantile))
    assert told[-1][2] == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("name", [pytest.param("noisy", marks=pytest.mark.long), "noisy_adaptive"])
def test_noise_without_clients(found, name):
    """The adaptive one must have the multiplier of the values, not what TFF calls the total. Five sigma each."""
    noise = np.diff(found[0][name], axis=0)
    expected = 2.0 * case.private().clipping_norm / case.EXPECTED
    assert noise.std() == pytest.approx(expected, rel=5 / np.sqrt(2 * noise.size))
    assert abs(noise.mean()) < 5 * expected / np.sqrt(noise.size)
    assert abs((noise[1:] * noise[:-1]).mean()) < 5 * expected**2 / np.sqrt(noise[1:].size)
    norms = [outcome[2] for outcome in found[1][name]]
    assert len(set(norms)) == (1 if name == "noisy" else len(norms))
    if case.WHOLE:  # all of it comes from the seed
        assert np.array_equal(found[0][f"{name}_again"], found[0][name][:2])


@pytest.mark.parametrize("name", case.CORRELATED)
def test_noise_that_tff_has_not_is_the_strategys_of_its_own_vectors(found, name):
    privacy = case.CORRELATED[name]
    deviation = privacy.drawn_noise_multiplier * privacy.clipping_norm / case.EXPECTED
    noise = -np.diff(found[0][name], axis=0) / deviation  # TFF's server takes updates with their sign turned
    expected = noise_matrix(privacy.strategy(rounds=case.ROUNDS)) @ found[0]["drawn"]
    np.testing.assert_allclose(noise, expected, atol=2e-5)


def test_tree_noise_is_seeded_and_hangs_together(found):
    """Variance of the sum over rounds in the efficient tree: 1, 2/3, 2/3 + 1, 4/7."""
    tree = found[0]["tree"]
    if case.WHOLE:
        assert np.array_equal(found[0]["tree_again"], tree[:2])
    total = (tree[1:] - tree[0]).std(axis=1) / (2.0 * case.TREE.clipping_norm / case.EXPECTED)
    assert total**2 == pytest.approx(np.array([1, 2 / 3, 5 / 3, 4 / 7]), rel=5 * np.sqrt(2 / 43))
    assert total[2] > max(total[1], total[3])
