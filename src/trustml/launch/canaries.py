"""Which canaries are there: drawn by the core from operating-system entropy, and secret until the audit is over."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.attacks.canaries import draw_joins, example_canaries, random_texts
from trustml.data.batches import BatchPlan, batches_in_turn, make_plan, poisson_batches, shuffled_batches
from trustml.data.dataset import Dataset, Examples, Ints
from trustml.data.streams import secret_generator
from trustml.launch.federation import draw_rounds
from trustml.plan.job import CanaryJob, Mechanism, trainable_of
from trustml.record.store import PRIVATE_DATA, RunDirectory
from trustml.scenario.attacks import SEQUENCES
from trustml.scenario.federated import DPFedAvg
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.trained_part import trained_shapes

Arrays = dict[str, npt.NDArray[Any]]

REFERENCES = 999
"""Random sequences among which a canary has its rank: 1,000 places with its own."""


def draw_canaries(job: CanaryJob, dataset: Dataset, *, run: RunDirectory) -> dict[str, Arrays]:
    """Draw the canaries of a job, a fair coin for each, and the batches of its own training.

    Parameters
    ----------
    job : CanaryJob
    dataset : Dataset
        Of the attacked models. Held-out examples that become canaries are trained on by this job's model alone.
    run : RunDirectory
        With the file of who holds what, where the regime is federated.

    Returns
    -------
    dict of file name to arrays
        ``job.chosen``: ``included``, bool of shape (m,), and what the canaries are made of: ``coordinates`` int64
        (m,), ``seed`` of random directions int64 (4,), or ``inputs`` (m, *x) and ``labels`` (m,); for random tokens
        also ``reference_inputs`` and ``reference_labels`` of texts that nobody trains on.
        ``job.training.plan``: batches as the regime has them, with examples that are canaries from
        ``len(dataset.train)`` on, and ``joins`` and ``join_offsets`` for canaries that are no examples: those
        that join step t are ``joins[join_offsets[t]:join_offsets[t + 1]]``.
    """
    generator, mechanism = secret_generator(), job.training.mechanism
    count = job.canaries.count
    included = generator.random(count) < 0.5
    chosen: Arrays = {"included": included}
    if job.canaries.kind == SEQUENCES:
        others = random_texts(
            REFERENCES, steps=dataset.test.labels.shape[1], tokens=dataset.classes, generator=generator
        )
        chosen |= {"reference_inputs": others.inputs, "reference_labels": others.labels}
    if mechanism is None:
        return _plain_canaries(job, dataset, chosen, generator=generator)
    joins = draw_joins(
        included,
        sampling=mechanism.sampling,
        rate=mechanism.sample_rate,
        steps=mechanism.total_steps,
        cycle=cycle_of(mechanism),
        generator=generator,
    )
    nobody = make_plan([np.zeros(0, np.int64) for _ in joins])
    match job.canaries.kind:
        case "dirac gradient":
            moving = trained_shapes(trainable_of(job.training), job.model, job.input_shape)
            size = sum(map(math.prod, moving.values()))
            chosen["coordinates"] = generator.choice(size, count, replace=False)
            plan = _own_plan(job, dataset, run, generator=generator, canaries=nobody)
        case "random gradient" | "random update":
            chosen["seed"] = generator.integers(2**32, size=4)
            plan = _own_plan(job, dataset, run, generator=generator, canaries=nobody)
        case kind:
            examples = example_canaries(
                kind,
                count,
                train=dataset.train,
                heldout=dataset.test,
                task=dataset.task,
                classes=dataset.classes,
                generator=generator,
            )
            chosen |= {"inputs": examples.inputs, "labels": examples.labels}
            plan, joins = _own_plan(job, dataset, run, generator=generator, canaries=joins), nobody
    # The salt keeps the fingerprint of the plan apart from all others', even where everybody is in every round.
    plan |= {"joins": joins.indices, "join_offsets": joins.offsets, "salt": generator.integers(2**62, size=1)}
    return {job.chosen: chosen, job.training.plan: plan}


def _plain_canaries(
    job: CanaryJob, dataset: Dataset, chosen: Arrays, *, generator: np.random.Generator
) -> dict[str, Arrays]:
    """Draw random tokens as canaries, of which those whose coin came up are shuffled among the training texts."""
    regime, trained = job.training.regime, len(dataset.train)
    assert isinstance(regime, Plain)
    texts = random_texts(
        job.canaries.count, steps=dataset.test.labels.shape[1], tokens=dataset.classes, generator=generator
    )
    rows = np.concatenate([np.arange(trained), trained + np.flatnonzero(chosen["included"])])
    plan = shuffled_batches(rows, epochs=regime.epochs, batch_size=regime.batch_size, generator=generator)
    nobody = make_plan([np.zeros(0, np.int64) for _ in plan])
    arrays = {"indices": plan.indices, "offsets": plan.offsets}
    return {
        job.chosen: chosen | {"inputs": texts.inputs, "labels": texts.labels},
        job.training.plan: arrays | {"joins": nobody.indices, "join_offsets": nobody.offsets},
    }


def redraw_canaries(job: CanaryJob, *, run: RunDirectory, attempt: int) -> tuple[CanaryJob, dict[str, Arrays]]:
    """Make a job that broke off ready to begin anew, with new coins and batches; the old ones are never used again.

    All its steps are taken: what was charged before was never looked at, but stays in the ledger.

    Returns
    -------
    CanaryJob
    files : dict of file name to arrays
        As :func:`draw_canaries` gives them.
    """
    assert job.training.mechanism is not None
    mechanism = msgspec.structs.replace(job.training.mechanism, attempt=attempt)
    fresh = msgspec.structs.replace(job, training=msgspec.structs.replace(job.training, mechanism=mechanism))
    arrays = run.arrays(PRIVATE_DATA)
    dataset = Dataset(
        train=_examples(arrays, "train"),
        test=_examples(arrays, "test"),
        class_names=tuple(arrays["class_names"]),
        task=job.task,
    )
    return fresh, draw_canaries(fresh, dataset, run=run)


def cycle_of(mechanism: Mechanism) -> int:
    """Steps in which everybody comes once, where the sampling is in turns."""
    return math.ceil(mechanism.examples / mechanism.expected_batch_size)


def _own_plan(
    job: CanaryJob, dataset: Dataset, run: RunDirectory, *, generator: np.random.Generator, canaries: BatchPlan
) -> Arrays:
    """Draw batches of the regime's own kind, the canaries among the examples added to them."""
    regime, mechanism = job.training.regime, job.training.mechanism
    assert mechanism is not None
    if isinstance(regime, DPFedAvg):
        owners = run.arrays(job.training.clients)["owners"].astype(np.int64)
        rounds = draw_rounds(
            regime, owners, clients=mechanism.examples, seed=job.training.seed, attempt=mechanism.attempt
        )
        return dict(rounds.arrays())
    assert isinstance(regime, DPSGD)
    count, steps = len(dataset.train), mechanism.total_steps
    batches: list[Ints]
    if mechanism.sampling == "poisson":
        plan = poisson_batches(count, steps=steps, sample_rate=mechanism.sample_rate, generator=generator)
        batches = list(plan)
    elif mechanism.sampling == "in turn":
        size = mechanism.expected_batch_size
        batches = list(batches_in_turn(count, steps=steps, batch_size=size, generator=generator))
    else:
        plan = shuffled_batches(
            np.arange(count),
            epochs=-(-steps // cycle_of(mechanism)),
            batch_size=mechanism.expected_batch_size,
            generator=generator,
        )
        batches = list(plan)[:steps]
    both = make_plan([np.concatenate([batch, count + more]) for batch, more in zip(batches, canaries, strict=True)])
    arrays: Arrays = {"indices": both.indices, "offsets": both.offsets}
    if regime.augmentation is not None:
        arrays["augmentation"] = generator.integers(2**32, size=4)
    return arrays


def _examples(arrays: Arrays, part: str) -> Examples:
    return Examples(inputs=arrays[f"{part}_inputs"], labels=arrays[f"{part}_labels"])
