"""Federated trainings by TFF: what is trained on, in numpy, and when run in the tensorflow environment, the runs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from trustml.backends.contract import Client, Model
from trustml.backends.settings import FederatedSettings, UserPrivacy
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp
from trustml.scenario import federated as f
from trustml.scenario.optimizers import SGD

BATCH = 4
EXPECTED = 5
SEED = (2**32 - 1, 7, 0, 0)
OPTIMIZER = SGD(learning_rate=0.3, momentum=0.5)
LOCAL = {"batch_size": BATCH, "client_optimizer": OPTIMIZER}


def draw_model() -> Model:
    architecture = mlp([5], classes=3)
    weights = initial_weights(architecture, (4,), generator=np.random.default_rng(2))
    return Model(architecture=architecture, input_shape=(4,), weights=weights)


def draw_client(seed: int, examples: int, *, epochs: int = 2) -> Client:
    """All batches of one client; each epoch ends with a smaller one."""
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(examples, 4)).astype(np.float32)
    labels = generator.integers(3, size=examples)
    return [(inputs[at : at + BATCH], labels[at : at + BATCH]) for at in range(0, examples, BATCH)] * epochs


CLIENTS = [draw_client(1, 10), draw_client(2, 3), [], draw_client(3, 8)]
OTHERS = [draw_client(4, 5), draw_client(5, 9)]
NOT_FINITE = [(np.full((BATCH, 4), np.nan, np.float32), np.zeros(BATCH, np.int64))]
HUGE = [(np.full((BATCH, 4), 1e20, np.float32), np.zeros(BATCH, np.int64))]
"""Its update is finite, and the norm of its update is not."""
SPOILT = [*OTHERS, NOT_FINITE]
NOBODY = [[], [[]]] * 6
"""Rounds without clients, and with one that has no examples."""


def private(**numbers: float) -> UserPrivacy:
    defaults = {"mechanism": f.IndependentNoise(), "noise_multiplier": 0.0, "expected_clients": EXPECTED}
    return UserPrivacy(**{**defaults, "clipping_norm": 0.25, **numbers})


ADAPTIVE = private(quantile=0.3, clip_learning_rate=0.5)
TREE = private(mechanism=f.TreeAggregation(), noise_multiplier=2.0)
ROUNDS = 5
CORRELATED = {
    "banded": private(mechanism=f.BandedMatrix(), noise_multiplier=2.0, separation=3),
    "one_band": private(mechanism=f.BandedMatrix(bands=1), noise_multiplier=2.0, separation=3),
    "blt": private(mechanism=f.BufferedToeplitz(), noise_multiplier=2.0, separation=3),
}
DP = f.DPFedAvg(**LOCAL)
CASES = {
    "examples": (f.FedAvg(**LOCAL, server_learning_rate=0.7, server_momentum=0.4), None, [CLIENTS, SPOILT, [], [[]]]),
    "uniform": (f.FedAvg(**LOCAL, weighting="uniform"), None, [CLIENTS, SPOILT]),
    "prox": (f.FedProx(**LOCAL, proximal=0.8), None, [CLIENTS, OTHERS]),
    "adam": (f.FedAdam(**LOCAL, server_learning_rate=0.1), None, [CLIENTS, OTHERS, CLIENTS]),
    "yogi": (f.FedYogi(**LOCAL, server_learning_rate=0.1), None, [CLIENTS, OTHERS, CLIENTS]),
    "adagrad": (f.FedAdagrad(**LOCAL, server_learning_rate=0.1), None, [CLIENTS, OTHERS, CLIENTS]),
    "sgd": (f.FedSGD(server_momentum=0.4), None, [CLIENTS, SPOILT]),
    "robust": (f.FedAvg(**LOCAL, aggregation="robust"), None, [[[]], CLIENTS]),
    "clipped": (DP, private(), [CLIENTS, [*SPOILT, HUGE], []]),
    "adaptive": (DP, ADAPTIVE, [CLIENTS, OTHERS, []]),
    "noisy": (DP, private(noise_multiplier=2.0), NOBODY),
    "noisy_adaptive": (DP, private(noise_multiplier=2.0, count_noise=1.5, clip_learning_rate=1e-3), NOBODY),
    "noisy_again": (DP, private(noise_multiplier=2.0), [[]]),
    "noisy_adaptive_again": (DP, private(noise_multiplier=2.0, count_noise=1.5, clip_learning_rate=1e-3), [[]]),
    "tree": (DP, TREE, [[]] * 4),
    "tree_again": (DP, TREE, [[]]),
    **{name: (f.DPFedAvg(**LOCAL, rounds=ROUNDS), privacy, [[]] * ROUNDS) for name, privacy in CORRELATED.items()},
}


CASES["prox_of_tff"] = CASES["prox"]
WHOLE = os.environ.get("TRUSTML_TESTS") == "all"
LEFT_OUT = (
    "prox_of_tff", "uniform", "yogi", "adagrad", "robust", "noisy", "noisy_again", "noisy_adaptive_again", "tree_again",
    "one_band", "banded", "prox", "adam", "sgd",
)  # fmt: skip
if not WHOLE:  # building each takes seconds
    CASES = {name: one for name, one in CASES.items() if name not in LEFT_OUT}
    CORRELATED = {name: one for name, one in CORRELATED.items() if name not in LEFT_OUT}


def build_prox_of_tff(functional: Any, settings: FederatedSettings, specs: object) -> Any:
    """FedProx as TFF has it, without anything of ours."""
    import tensorflow_federated as tff

    return tff.learning.algorithms.build_weighted_fed_prox(
        functional,
        settings.regime.proximal,
        client_optimizer_fn=tff.learning.optimizers.build_sgdm(OPTIMIZER.learning_rate, OPTIMIZER.momentum),
    )


def drawn_by_philox(order: list[str], *, rounds: int) -> dict[str, np.ndarray]:
    """The fresh vectors of so many rounds, each drawn by a seed one further than that of the round before."""
    import tensorflow as tf

    from trustml.backends.tensorflow.noise import stateless_normals

    shapes = [tf.TensorShape(draw_model().weights[name].shape) for name in order]
    seed = np.array(SEED, np.uint32).view(np.int64)
    rows = [stateless_normals(shapes, tf.constant(seed + [0, number])) for number in range(rounds)]
    return {f"drawn/{name}": np.stack([row[at].numpy() for row in rows]) for at, name in enumerate(order)}


def run(folder: Path) -> None:
    from trustml.backends.tensorflow import federated

    arrays, told = {}, {}
    for name, (regime, privacy, rounds) in CASES.items():
        settings = FederatedSettings(regime=regime, privacy=privacy, noise_seed=SEED, batch_size=BATCH)
        if name == "prox_of_tff":
            federated._build_process = build_prox_of_tff
        federation = federated.TFFFederation(draw_model(), settings)
        assert federation.choice is None
        told[name] = [(None, 0, federation.clipping_norm())]
        trained = [federation.weights()]
        for clients in rounds:
            outcome = federation.round(clients)
            told[name].append((outcome.update_norm, outcome.left_out, federation.clipping_norm()))
            trained.append(federation.weights())
        arrays |= {f"{name}/{key}": np.stack([weights[key] for weights in trained]) for key in trained[0]}
    arrays |= drawn_by_philox(federation._order, rounds=ROUNDS)
    np.savez(folder / "found.npz", **arrays)
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    run(Path(sys.argv[1]))
