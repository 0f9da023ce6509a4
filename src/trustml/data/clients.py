"""Which clients take part in each round, and in which batches they go through their examples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.data.batches import BatchPlan, make_plan, poisson_batches, shuffled_batches
from trustml.data.dataset import Ints
from trustml.scenario.partition import Cohort, Everyone, FixedCohort, InTurn, PoissonCohort


@dataclass(frozen=True, kw_only=True)
class FederatedPlan:
    """The batches of every visit of every round.

    Attributes
    ----------
    batches : BatchPlan
        All batches, ordered by round, then visit, then step of that client.
    visits : int64 array of shape (visits,)
        Client of each visit.
    steps : int64 array of shape (visits,)
        Number of batches of each visit.
    rounds : int64 array of shape (rounds + 1,)
        Round ``t`` has the visits ``rounds[t]`` up to ``rounds[t + 1]``.
    asked : int64 array of shape (rounds,)
        Clients that were asked; those that dropped out make no visit.
    """

    batches: BatchPlan
    visits: Ints
    steps: Ints
    rounds: Ints
    asked: Ints

    def __len__(self) -> int:
        """Count the rounds."""
        return len(self.rounds) - 1

    def round(self, number: int) -> list[list[Ints]]:
        """Give the batches of every client that takes part in a round."""
        first, end = int(self.rounds[number]), int(self.rounds[number + 1])
        return [
            [self.batches[step] for step in range(int(self._starts[visit]), int(self._starts[visit + 1]))]
            for visit in range(first, end)
        ]

    @functools.cached_property
    def _starts(self) -> Ints:
        """First batch of each visit, and the end of the last."""
        return np.cumsum([0, *self.steps]).astype(np.int64)

    @functools.cached_property
    def most_visits(self) -> Ints:
        """Rounds of the client that has taken part most, before each round and at the end; (rounds + 1,).

        No client has trained in more of the rounds before.
        """
        counts = np.zeros(int(self.visits.max(initial=-1)) + 1, np.int64)
        found = np.zeros(len(self) + 1, np.int64)
        for number in range(len(self)):
            counts[self.participants(number)] += 1
            found[number + 1] = counts.max(initial=0)
        return found

    def participants(self, number: int) -> Ints:
        """Give the clients that take part in a round."""
        return self.visits[self.rounds[number] : self.rounds[number + 1]]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Give the plan as arrays, for a file."""
        return {
            "indices": self.batches.indices,
            "offsets": self.batches.offsets,
            "visits": self.visits,
            "steps": self.steps,
            "rounds": self.rounds,
            "asked": self.asked,
        }


def read_federated_plan(arrays: Mapping[str, npt.NDArray[Any]]) -> FederatedPlan:
    """Take a plan from the arrays of a file."""
    ints = {
        name: arrays[name].astype(np.int64) for name in ("indices", "offsets", "visits", "steps", "rounds", "asked")
    }
    return FederatedPlan(
        batches=BatchPlan(indices=ints["indices"], offsets=ints["offsets"]),
        visits=ints["visits"],
        steps=ints["steps"],
        rounds=ints["rounds"],
        asked=ints["asked"],
    )


def federated_plan(
    members: Sequence[Ints],
    *,
    cohort: Cohort,
    rounds: int,
    local_epochs: int,
    batch_size: int | None,
    cohorts: np.random.Generator,
    batches: Callable[[int, int], np.random.Generator],
) -> FederatedPlan:
    """Draw who takes part, and every participant's batches.

    Parameters
    ----------
    members : sequence of int64 arrays
        Examples of each client.
    cohort : Cohort
    rounds, local_epochs : int
    batch_size : int, optional
        None means one batch of all examples of the client.
    cohorts : Generator
        Who takes part and who drops out.
    batches : callable
        From round and client to the generator that orders the client's examples: a stream of its own for each
        visit, so that no client's batches depend on who else came.
    """

    def visit(number: int, client: int) -> BatchPlan:
        size = batch_size or len(members[client])
        order = batches(number, client)
        return shuffled_batches(members[client], epochs=local_epochs, batch_size=size, generator=order)

    return _with_visits(visit, cohort=cohort, clients=len(members), rounds=rounds, cohorts=cohorts)


def poisson_rounds(
    members: Sequence[Ints],
    *,
    cohort: Cohort,
    rounds: int,
    local_steps: int,
    sample_rate: float,
    cohorts: np.random.Generator,
    batches: np.random.Generator,
) -> FederatedPlan:
    """Draw who takes part, and Poisson batches of each: as many for every client, whatever it holds.

    Parameters
    ----------
    members : sequence of int64 arrays
        Examples of each client.
    cohort : Cohort
    rounds, local_steps : int
    sample_rate : float
        Probability with which an example joins a batch of its client; the same at all clients.
    cohorts, batches : Generator
        Who takes part, which is public; which examples are in batches, which is not.
    """

    def visit(_: int, client: int) -> BatchPlan:
        own = members[client]
        drawn = poisson_batches(len(own), steps=local_steps, sample_rate=sample_rate, generator=batches)
        return BatchPlan(indices=own[drawn.indices], offsets=drawn.offsets)

    return _with_visits(visit, cohort=cohort, clients=len(members), rounds=rounds, cohorts=cohorts)


def _with_visits(
    visit: Callable[[int, int], BatchPlan],
    *,
    cohort: Cohort,
    clients: int,
    rounds: int,
    cohorts: np.random.Generator,
) -> FederatedPlan:
    found: list[Ints] = []
    visits: list[int] = []
    steps: list[int] = []
    borders, asked = [0], []
    drawn = draw_cohorts(cohort, clients=clients, rounds=rounds, generator=cohorts)
    for number, chosen in enumerate(drawn):
        answered = chosen[cohorts.random(len(chosen)) >= cohort.dropout] if cohort.dropout else chosen
        for client in answered:
            plan = visit(number, int(client))
            found += list(plan)
            visits.append(int(client))
            steps.append(len(plan))
        borders.append(len(visits))
        asked.append(len(chosen))
    return FederatedPlan(
        batches=make_plan(found),
        visits=np.array(visits, np.int64),
        steps=np.array(steps, np.int64),
        rounds=np.array(borders, np.int64),
        asked=np.array(asked, np.int64),
    )


def draw_cohorts(cohort: Cohort, *, clients: int, rounds: int, generator: np.random.Generator) -> list[Ints]:
    """Draw the clients that are asked in each round."""
    match cohort:
        case Everyone():
            return [np.arange(clients) for _ in range(rounds)]
        case FixedCohort(clients=size):
            return [np.sort(generator.choice(clients, size, replace=False)) for _ in range(rounds)]
        case PoissonCohort(clients=size):
            return [np.flatnonzero(generator.random(clients) < size / clients) for _ in range(rounds)]
        case InTurn(clients=size):
            order = generator.permutation(clients)
            blocks = [order[start : start + size] for start in range(0, clients, size)]
            return [np.sort(blocks[number % len(blocks)]) for number in range(rounds)]


def rounds_visited(plan: FederatedPlan, clients: int, *, first: int = 0, end: int | None = None) -> Ints:
    """Count the rounds in which each client took part, from round `first` up to `end`; shape (clients,)."""
    end = len(plan) if end is None else end
    return np.bincount(plan.visits[plan.rounds[first] : plan.rounds[end]], minlength=clients)


def batches_in_rounds(plan: FederatedPlan, chosen: npt.NDArray[np.bool_], *, examples: int) -> Ints:
    """Count the batches of the chosen rounds, (rounds,), that each example is in; shape (examples,)."""
    of_visit = np.repeat(chosen, np.diff(plan.rounds))
    of_draw = np.repeat(np.repeat(of_visit, plan.steps), np.diff(plan.batches.offsets))
    return np.bincount(plan.batches.indices[of_draw], minlength=examples)
