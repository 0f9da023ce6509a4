"""Private clients of one backend, in its environment: ``BACKEND OUTPUT.npz``; a test holds them against the oracle."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np

from tests import WHOLE
from tests.backends.task_case import force
from trustml.backends.contract import Backend, Model
from trustml.backends.table import load_backend
from trustml.data.dataset import Examples
from trustml.models.weights import Weights, initial_weights
from trustml.models.zoo import mlp
from trustml.scenario.federated import LocalDPFedAvg, SiloDPFedAvg
from trustml.scenario.optimizers import SGD
from trustml.scenario.spec import Execution
from trustml.worker.private_clients import LocalClient, Server, SiloClient

FEATURES, ROWS, OUTLIER, SENT, ROUND = 6, 12, 11, 120, 16
NORM, BATCH, RATE, NOISE = 0.5, 4, 0.3, 1.5
LOCAL = SGD(learning_rate=RATE, momentum=0.5)
SILO_REGIME = SiloDPFedAvg(
    noise_multiplier=NOISE, clipping_norm=NORM, batch_size=BATCH, local_steps=2, client_optimizer=LOCAL,
    server_learning_rate=0.7, server_momentum=0.4,
)  # fmt: skip
LOCAL_REGIME = LocalDPFedAvg(
    noise_multiplier=NOISE, clipping_norm=NORM, batch_size=BATCH, client_optimizer=LOCAL,
    server_learning_rate=0.7, server_momentum=0.4,
)  # fmt: skip
ROUNDS = (
    ([[0, 1, 2], [3]], [[], []], [[4, 5, 6, 7, 8], [4]]),
    ([[2], []], [[9, 10], [9]]),
)
"""Batches of every client of every round; one is there without any example."""
PRESENT, ABSENT = [[0, 1, OUTLIER]], [[0, 1]]


def examples() -> Examples:
    generator = np.random.default_rng(1)
    inputs = generator.normal(size=(ROWS, FEATURES)).astype(np.float32)
    inputs[OUTLIER] *= 1e3
    return Examples(inputs=inputs, labels=generator.integers(0, 3, ROWS))


def model() -> Model:
    architecture = mlp([5], classes=3)
    weights = initial_weights(architecture, (FEATURES,), generator=np.random.default_rng(2))
    return Model(architecture=architecture, input_shape=(FEATURES,), weights=weights)


def batches_of(client) -> list[np.ndarray]:
    return [np.array(batch, np.int64) for batch in client]


def silo_client(backend: Backend) -> SiloClient:
    settings = {"noise_multiplier": 0.0, "sample_rate": BATCH / ROWS, "execution": Execution()}
    return SiloClient(SILO_REGIME, backend, model(), examples(), **settings)


def local_client(backend: Backend) -> LocalClient:
    return LocalClient(LOCAL_REGIME, backend, model(), examples(), noise_multiplier=0.0)


def with_noise(client: SiloClient | LocalClient) -> SiloClient | LocalClient:
    """The same client, and what was compiled for it, with noise."""
    noisy = copy.copy(client)
    noisy._noise = NOISE
    return noisy


def after_rounds(client: SiloClient | LocalClient) -> Weights:
    """Weights after two rounds; noise is off."""
    server = Server(SILO_REGIME if isinstance(client, SiloClient) else LOCAL_REGIME, model().weights)
    for visits in ROUNDS:
        nonempty = [[b for b in batches_of(one) if len(b) or isinstance(client, SiloClient)] for one in visits]
        server.step([client.send(server.weights, one) for one in nonempty])
    return server.weights


def sent(client: SiloClient | LocalClient, batches) -> np.ndarray:
    """What many clients with the same batches send, (clients, numbers), one after the other."""
    weights = model().weights
    found = [client.send(weights, batches_of(batches)) for _ in range(SENT)]
    return np.stack([np.concatenate([part.ravel() for part in update.values()]) for update in found])


def everything(name: str) -> dict[str, np.ndarray]:
    backend = load_backend(name)
    if not WHOLE:
        force("book_keeping")  # else TensorFlow compiles each way, to measure it
    found: dict[str, np.ndarray] = {}
    for title, make in (("silo", silo_client), ("local", local_client)):
        quiet = make(backend)
        noisy = with_noise(quiet)
        found |= {f"{title}/{key}": part for key, part in after_rounds(quiet).items()}
        found[f"{title} of nothing"] = sent(noisy, [[]] if title == "silo" else [])
        for world, batches in (("present", PRESENT), ("absent", ABSENT)):
            weights = model().weights
            update = quiet.send(weights, batches_of(batches))
            found[f"{title} {world}"] = np.concatenate([part.ravel() for part in update.values()])
            found[f"{title} {world} with noise"] = sent(noisy, batches)
    return found


if __name__ == "__main__":
    np.savez(Path(sys.argv[2]), **everything(sys.argv[1]))
