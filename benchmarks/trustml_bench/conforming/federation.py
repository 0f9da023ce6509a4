"""What the federated trainings under test have in common: a softmax regression whose weights start at zero."""

from __future__ import annotations

import numpy as np

from trustml.conformance.rounds import Client
from trustml.data.dataset import Floats, Ints
from trustml.data.streams import Stream, public_generator

FEATURES, CLASSES, BATCH = 400, 10, 4
CLIENT_RATE = 0.5


def zeros() -> Floats:
    """Give the starting weights, a kernel of shape (features, classes); there is no bias."""
    return np.zeros((FEATURES, CLASSES), np.float32)


def idle_client() -> Client:
    """Give a client of tiny inputs, whose update is of the size of its inputs: for libraries that take no empty one."""
    return [(np.full((BATCH, FEATURES), 1e-7, np.float32), np.arange(BATCH))]


def example_clients(count: int = 9) -> list[Client]:
    """Give made clients of two batches or three, every third with short updates; the same in every environment."""
    generator = public_generator(13, Stream.SPLIT)
    clients: list[Client] = []
    for number in range(count):
        batches, size = 2 + number % 2, 0.3 if number % 3 == 1 else 1.0
        inputs = generator.normal(0, size * FEATURES**-0.5, (batches, BATCH, FEATURES)).astype(np.float32)
        labels = generator.integers(0, CLASSES, (batches, BATCH))
        clients.append(list(zip(inputs, labels, strict=True)))
    return clients


def examples(client: Client) -> tuple[Floats, Ints]:
    """Give a client's examples, in order; batches of :data:`BATCH` are its own again."""
    if not client:
        return np.zeros((0, FEATURES), np.float32), np.zeros(0, np.int64)
    return np.concatenate([inputs for inputs, _ in client]), np.concatenate([labels for _, labels in client])


def trained(start: Floats, client: Client) -> Floats:
    """Train as a client does, one step of gradient descent a batch; for libraries that leave that to their users."""
    kernel = start.copy()
    with np.errstate(all="ignore"):
        for inputs, labels in client:
            logits = inputs @ kernel
            shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
            error = shifted / shifted.sum(axis=1, keepdims=True)
            error[np.arange(len(labels)), labels] -= 1
            kernel -= np.float32(CLIENT_RATE / len(labels)) * (inputs.T @ error)
    return kernel
