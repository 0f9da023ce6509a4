"""Starting weights, batches and seeds of every shadow model, drawn from public streams.

The attacked models draw theirs in the same way, but private ones from operating-system entropy. Shadow models need
none: they simulate an attacker, on data that the auditor holds; nothing of them is ever released.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from trustml.backends.shadows import Rows, ShadowModels, Visits
from trustml.data.batches import (
    BatchPlan,
    batches_in_turn,
    first_batches,
    fixed_batches,
    poisson_batches,
    shuffled_batches,
)
from trustml.data.clients import FederatedPlan, federated_plan
from trustml.data.dataset import Floats, Ints, LabelArray
from trustml.data.streams import Stream
from trustml.errors import RecordError
from trustml.models.weights import initial_weights
from trustml.plan.job import Mechanism, ShadowJob
from trustml.scenario.federated import DPFedAvg, FederatedRegime, FedSGD
from trustml.scenario.regimes import DPSGD, Plain

_WEIGHTS, _BATCHES, _LABELS, _DROPOUT, _NOISE = range(5)


def draw_models(
    job: ShadowJob, inputs: Floats, labels: LabelArray, *, members: npt.NDArray[np.bool_], owners: Ints | None
) -> ShadowModels:
    """Draw all that shadow models have of their own.

    Parameters
    ----------
    job : ShadowJob
    inputs : float32 array of shape (p, *x)
        The pool. Examples that are not finite are left out of private batches, as they are in the core.
    labels : int64 array of shape (p,) or (p, steps), or float32 of shape (p, c)
    members : bool array of shape (m, p)
        Examples of each model; as many in every row.
    owners : int64 array of shape (m, p), optional
        For federated regimes: the client that holds each example, -1 for none.

    Raises
    ------
    RecordError
        If a federated regime has no owners.
    """
    count, regime = len(members), job.regime
    visits: Visits | None = None
    match regime:
        case Plain() | DPSGD():
            plans = [
                _batches(regime, job.mechanism, np.flatnonzero(row), _stream(job, _BATCHES, model))
                for model, row in enumerate(members)
            ]
            rows = padded([(plan, np.arange(len(plan))) for plan in plans], slots=len(plans[0]))
        case _:
            if owners is None or not isinstance(regime, FederatedRegime):
                raise RecordError(f"{job.members}: has no owners, and {regime.title} is federated")
            rounds = [
                _rounds(regime, job.mechanism, row, _stream(job, _BATCHES, model)) for model, row in enumerate(owners)
            ]
            rows, visits = federated_rows(rounds, uniform=_uniform(regime))
    if isinstance(regime, DPSGD):
        usable = np.asarray(np.isfinite(inputs.reshape(len(inputs), -1)).all(axis=1))
        rows = np.where(usable[rows] & (rows >= 0), rows, -1).astype(np.int32)
    taught = cast(LabelArray, np.repeat(labels[None], count, axis=0))
    if isinstance(regime, Plain) and regime.random_labels:
        for model, row in enumerate(members):
            taught[model, row] = _stream(job, _LABELS, model).permutation(labels[row])
    starts = [
        initial_weights(job.model, job.input_shape, generator=_stream(job, _WEIGHTS, model)) for model in range(count)
    ]
    return ShadowModels(
        weights={name: np.stack([start[name] for start in starts]) for name in starts[0]},
        labels=taught,
        rows=rows,
        visits=visits,
        dropout_seeds=np.array([_stream(job, _DROPOUT, model).integers(2**31) for model in range(count)]),
        noise_seeds=np.stack([_stream(job, _NOISE, model).integers(2**32, size=4) for model in range(count)]).astype(
            np.uint32
        ),
    )


def padded(plans: Sequence[tuple[BatchPlan, Ints]], *, slots: int) -> Rows:
    """Lay the batches of each model into its slots, filled up by -1 to the largest batch of all: none is cut.

    Parameters
    ----------
    plans : sequence of (BatchPlan, int64 array)
        Batches of a model, and the slot of each.
    slots : int

    Returns
    -------
    int32 array of shape (m, slots, b)
    """
    largest = max(1, *(plan.largest for plan, _ in plans))
    rows = np.full((len(plans), slots, largest), -1, np.int32)
    for model, (plan, where) in enumerate(plans):
        sizes = np.diff(plan.offsets)
        place = np.arange(len(plan.indices)) - np.repeat(plan.offsets[:-1], sizes)
        rows[model, np.repeat(where, sizes), place] = plan.indices
    return rows


def federated_rows(plans: Sequence[FederatedPlan], *, uniform: bool) -> tuple[Rows, Visits]:
    """Lay the batches of each model's rounds in rows, client after client.

    Returns
    -------
    rows : int32 array of shape (m, rounds, slots, b)
    visits : Visits
    """
    count, rounds = len(plans), len(plans[0])
    ends = [np.cumsum([0, *plan.steps]) for plan in plans]  # batches before each visit
    borders = [end[plan.rounds] for end, plan in zip(ends, plans, strict=True)]  # batches before each round
    slots = max(1, *(int(np.diff(border).max(initial=0)) for border in borders))
    laid: list[tuple[BatchPlan, Ints]] = []
    weights = np.full((count, rounds, slots), -1, np.float32)
    clients = np.zeros((count, rounds), np.int32)
    for model, (plan, end, border) in enumerate(zip(plans, ends, borders, strict=True)):
        of_batch = np.repeat(np.arange(rounds), np.diff(border))
        slot = np.arange(len(plan.batches)) - border[of_batch]
        laid.append((plan.batches, of_batch * slots + slot))
        trained = np.flatnonzero(plan.steps)
        last = end[trained + 1] - 1
        seen = np.diff(plan.batches.offsets[end])[trained]
        weights[model, of_batch[last], slot[last]] = 1.0 if uniform else seen
        clients[model] = np.diff(plan.rounds)
    rows = padded(laid, slots=rounds * slots)
    return rows.reshape(count, rounds, slots, -1), Visits(weights=weights, clients=clients)


def _stream(job: ShadowJob, purpose: int, model: int) -> np.random.Generator:
    return np.random.default_rng([job.seed, int(Stream.SHADOWS), purpose, model])


def _batches(
    regime: Plain | DPSGD, mechanism: Mechanism | None, members: Ints, generator: np.random.Generator
) -> BatchPlan:
    """Draw the batches of one model, by the law of the attacked model's."""
    if isinstance(regime, Plain):
        return shuffled_batches(members, epochs=regime.epochs, batch_size=regime.batch_size, generator=generator)
    assert mechanism is not None
    steps, size, examples = min(mechanism.steps, mechanism.total_steps), regime.batch_size, len(members)
    match regime.sampling:
        case "poisson":
            plan = poisson_batches(examples, steps=steps, sample_rate=mechanism.sample_rate, generator=generator)
        case "fixed":
            plan = fixed_batches(examples, steps=steps, batch_size=size, generator=generator)
        case "shuffle":
            epochs = -(-steps * size // examples) + 1
            whole = shuffled_batches(np.arange(examples), epochs=epochs, batch_size=size, generator=generator)
            plan = first_batches(whole, steps)
        case "in turn":
            plan = batches_in_turn(examples, steps=steps, batch_size=size, generator=generator)
    return BatchPlan(indices=members[plan.indices], offsets=plan.offsets)


def _rounds(
    regime: FederatedRegime, mechanism: Mechanism | None, owners: Ints, generator: np.random.Generator
) -> FederatedPlan:
    order = np.argsort(owners, kind="stable")
    held = np.split(order, np.searchsorted(owners[order], np.arange(int(owners.max()) + 1)))[1:]
    sgd = isinstance(regime, FedSGD)
    return federated_plan(
        held,
        cohort=regime.cohort,
        rounds=regime.rounds if mechanism is None else min(regime.rounds, mechanism.steps),
        local_epochs=1 if isinstance(regime, FedSGD) else regime.local_epochs,
        batch_size=None if isinstance(regime, FedSGD) else regime.batch_size,
        cohorts=generator,
        batches=lambda number, client: generator if not sgd else np.random.default_rng(0),
    )


def _uniform(regime: FederatedRegime) -> bool:
    return isinstance(regime, DPFedAvg) or (not isinstance(regime, FedSGD) and regime.weighting == "uniform")
