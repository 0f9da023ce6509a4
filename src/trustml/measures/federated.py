"""Federated training: clients one by one, bytes sent, rounds needed, and what a round costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.measures.evidence import Evidence
from trustml.measures.measure import Row
from trustml.models.shapes import weight_shapes
from trustml.plan.job import TrainJob, rounds_file, timings_file
from trustml.record.schema import JobRecord
from trustml.scenario.federated import DPFedAvg, FedAvg, FederatedSpec, FedSGD
from trustml.scenario.partition import Everyone
from trustml.scenario.regimes import Plain

_COMPRESSED_ABOVE = 20_000
"""TFF's compression aggregator quantises tensors of more values than this, to one byte each."""


@dataclass(frozen=True, kw_only=True)
class History:
    """Held-out accuracy by round.

    Attributes
    ----------
    rounds : int array of shape (k,)
        Numbers of the rounds after which the model was looked at, from 1.
    accuracy, loss : float arrays of shape (k,)
    """

    rounds: npt.NDArray[np.int64]
    accuracy: npt.NDArray[np.float64]
    loss: npt.NDArray[np.float64]


def federated_jobs(evidence: Evidence) -> list[tuple[JobRecord, TrainJob]]:
    """Finished federated trainings."""
    return [
        (record, job)
        for record, job in evidence.trained()
        if record.status == "ok" and isinstance(job.regime, FederatedSpec)
    ]


def history_of(evidence: Evidence, record: JobRecord) -> History:
    """Read the accuracy by round of a finished federated training."""
    arrays = evidence.run.arrays(f"jobs/{record.id}/history.npz")
    return History(rounds=arrays["rounds"], accuracy=arrays["accuracy"], loss=arrays["loss"])


def rounds_of(evidence: Evidence, job: TrainJob) -> dict[str, npt.NDArray[Any]] | None:
    """What each round came to; None where that is private and not at hand."""
    name = rounds_file(job)
    return evidence.run.arrays(name) if evidence.run.file(name).is_file() else None


def clients_of(evidence: Evidence, job: TrainJob) -> dict[str, npt.NDArray[Any]] | None:
    """Who holds what; None where ``private/`` is not at hand."""
    return evidence.run.arrays(job.clients) if evidence.run.file(job.clients).is_file() else None


def federated_rows(evidence: Evidence) -> list[Row]:
    """Rows of every finished federated training."""
    rows: list[Row] = []
    for record, job in federated_jobs(evidence):
        rows += _client_rows(evidence, record, job)
        rows += _round_rows(evidence, record, job)
        rows += _byte_rows(evidence, record, job)
        rows += _cost_rows(evidence, record, job)
    return rows


def examples_per_round(evidence: Evidence, job: TrainJob) -> float:
    """Examples that the clients of a round are expected to go through, local epochs included."""
    assert isinstance(job.regime, FederatedSpec)
    partition = next(p for p in evidence.manifest.partitions if (p.regime, p.seed) == (job.regime.title, job.seed))
    held = evidence.manifest.data.train_examples - partition.left_out
    epochs = 1 if isinstance(job.regime, FedSGD) else job.regime.local_epochs
    return held / partition.clients * _participants(evidence, job) * epochs


def _participants(evidence: Evidence, job: TrainJob) -> float:
    assert isinstance(job.regime, FederatedSpec)
    cohort = job.regime.cohort
    if isinstance(cohort, Everyone):
        asked = next(
            p.clients for p in evidence.manifest.partitions if (p.regime, p.seed) == (job.regime.title, job.seed)
        )
    else:
        asked = cohort.clients
    return asked * (1 - cohort.dropout)


def _client_rows(evidence: Evidence, record: JobRecord, job: TrainJob) -> list[Row]:
    names = ("client_accuracy_mean", "client_accuracy_tenth", "client_accuracy_worst")
    clients = clients_of(evidence, job)
    if clients is None:
        note = "absent: who holds what is under private/, which is not at hand"
        return [evidence.row(name, None, record=record, subject="clients", n=0, note=note) for name in names]
    labels = evidence.heldout["test_labels"]
    right = evidence.run.arrays(f"jobs/{record.id}/predictions.npz")["test_logits"].argmax(axis=1) == labels
    owners, count = clients["held_out"].astype(np.int64), len(clients["names"])
    held = owners >= 0
    tested = np.bincount(owners[held], minlength=count)
    hits = np.bincount(owners[held], weights=right[held].astype(float), minlength=count)
    each = (hits / np.maximum(tested, 1))[tested > 0]
    typical = int(np.median(tested[tested > 0])) if len(each) else 0
    note = f"{len(each)} of {count} clients have held-out examples, {typical} each in the median"
    if job.mechanism is not None:
        note += "; follows who holds what, so no epsilon covers it"
    values = (each.mean(), np.quantile(each, 0.1), each.min()) if len(each) else (None, None, None)
    return [
        evidence.row(name, value, record=record, subject="clients", n=len(each), note=note)
        for name, value in zip(names, values, strict=True)
    ]


def _round_rows(evidence: Evidence, record: JobRecord, job: TrainJob) -> list[Row]:
    assert isinstance(job.regime, FederatedSpec)
    history = history_of(evidence, record)
    target = job.regime.target_accuracy
    reached = np.flatnonzero(history.accuracy >= target)
    note = f"target accuracy {target:g}, looked at every {job.regime.evaluate_every} round(s)"
    if not len(reached):
        note += f"; absent: never reached in {history.rounds[-1]} rounds, best {history.accuracy.max():.4f}"
    rows = [
        evidence.row(
            "rounds_to_target",
            float(history.rounds[reached[0]]) if len(reached) else None,
            record=record,
            subject="held-out",
            n=len(history.rounds),
            note=note,
        ),
        evidence.row("held_out_loss", history.loss[-1], record=record, subject="held-out", n=len(history.rounds)),
    ]
    rounds = rounds_of(evidence, job)
    if job.mechanism is not None:
        note = "absent: norms of clients' updates stay private"
        rows.append(evidence.row("client_update_norm", None, record=record, subject="clients", n=0, note=note))
    elif rounds is not None:
        norms = rounds["update_norm"][np.isfinite(rounds["update_norm"])]
        value = float(np.median(norms)) if len(norms) else None
        note = f"median over rounds; {norms[0]:.4g} at first, {norms[-1]:.4g} at last" if len(norms) else ""
        note = note or "absent: the library does not tell it for this aggregation"
        rows.append(
            evidence.row("client_update_norm", value, record=record, subject="clients", n=len(norms), note=note)
        )
    return rows


def _byte_rows(evidence: Evidence, record: JobRecord, job: TrainJob) -> list[Row]:
    shapes = weight_shapes(job.model, job.input_shape)
    sizes = [math.prod(shape) for shape in shapes.values()]
    participants = _participants(evidence, job)
    down = up = 4.0 * sum(sizes)
    how = "float32 weights"
    if isinstance(job.regime, FedAvg) and job.regime.aggregation == "compressed":
        up = float(sum(size if size > _COMPRESSED_ABOVE else 4 * size for size in sizes))
        how = "one byte a value in tensors of more than 20,000 values, float32 in the others"
    elif isinstance(job.regime, DPFedAvg) and job.mechanism is not None and job.mechanism.count_noise:
        up += 4.0  # whether the update was clipped
    about = f"{participants:g} clients a round expected; {{}}; payload alone, no protocol, no encryption"
    return [
        evidence.row(
            "bytes_down", down * participants, record=record, subject="round", n=1, note=about.format("float32 weights")
        ),
        evidence.row("bytes_up", up * participants, record=record, subject="round", n=1, note=about.format(how)),
    ]


def _cost_rows(evidence: Evidence, record: JobRecord, job: TrainJob) -> list[Row]:
    """Ratio of a round to the time that centralised training takes over as many examples."""
    if job.mechanism is not None and not evidence.run.file(timings_file(job)).is_file():
        note = "absent: times of private rounds are under private/, which is not at hand"
        return [evidence.row("round_ratio", None, record=record, subject="round", n=0, note=note)]
    seconds = evidence.run.arrays(timings_file(job))["seconds"].astype(float)[1:]
    plain = [
        (other, of)
        for other, of in evidence.trained()
        if other.status == "ok" and isinstance(of.regime, Plain) and other.backend == record.backend
    ]
    if not len(seconds) or not plain:
        note = "absent: " + ("no plain training of this backend in the run" if len(seconds) else "one round alone")
        return [evidence.row("round_ratio", None, record=record, subject="round", n=0, note=note)]
    central, of = plain[0]
    times = evidence.run.arrays(timings_file(of))
    if len(times["seconds"]) < 2:
        note = f"absent: {central.id} has no times beyond its first step"
        return [evidence.row("round_ratio", None, record=record, subject="round", n=0, note=note)]
    rate = times["examples"][1:].sum() / times["seconds"][1:].sum()
    expected = examples_per_round(evidence, job)
    ratios = np.quantile(seconds, [0.25, 0.5, 0.75]) * rate / expected
    private = "; times follow secret cohorts, not covered by epsilon" if job.mechanism is not None else ""
    batch_size = of.regime.batch_size if isinstance(of.regime, Plain) else 0
    note = f"against {central.id}, batches of {batch_size}; quartiles{private}"
    return [
        evidence.row(
            "round_ratio",
            ratios[1],
            record=record,
            subject="round",
            n=len(seconds),
            interval=(ratios[0], ratios[2]),
            note=note,
        )
    ]
