"""Which client holds which examples, and in which batches it goes through them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustml.data.batches import BatchPlan, make_plan, shuffled_batches
from trustml.data.dataset import Ints
from trustml.data.streams import Stream, public_generator


@dataclass(frozen=True, kw_only=True)
class FederatedPlan:
    """The batches of every client in every round.

    Attributes
    ----------
    batches : BatchPlan
        All batches, ordered by round, then client, then step of that client.
    visits : int64 array of shape (rounds, clients)
        Number of batches of each visit.
    sizes : int64 array of shape (clients,)
        Examples each client holds, its weight in the average.
    """

    batches: BatchPlan
    visits: Ints
    sizes: Ints

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return len(self.visits)

    def round(self, number: int) -> list[list[Ints]]:
        """Give the batches of every client in one round."""
        start = int(self.visits[:number].sum())
        found: list[list[Ints]] = []
        for visits in self.visits[number]:
            found.append([self.batches[start + step] for step in range(int(visits))])
            start += int(visits)
        return found


def split_clients(examples: int, *, clients: int, generator: np.random.Generator) -> list[Ints]:
    """Deal the examples out at random, so that the clients' sizes differ by one at most."""
    return [part.astype(np.int64) for part in np.array_split(generator.permutation(examples), clients)]


def federated_plan(
    examples: int, *, clients: int, rounds: int, local_epochs: int, batch_size: int, seed: int
) -> FederatedPlan:
    """Draw the split over clients and every client's batches; all clients take part in all rounds."""
    parts = split_clients(examples, clients=clients, generator=public_generator(seed, Stream.CLIENTS))
    generator = public_generator(seed, Stream.BATCHES)
    batches: list[Ints] = []
    visits = np.zeros((rounds, clients), np.int64)
    for number in range(rounds):
        for client, part in enumerate(parts):
            plan = shuffled_batches(part, epochs=local_epochs, batch_size=batch_size, generator=generator)
            batches += list(plan)
            visits[number, client] = len(plan)
    sizes = np.array([len(part) for part in parts], np.int64)
    return FederatedPlan(batches=make_plan(batches), visits=visits, sizes=sizes)
