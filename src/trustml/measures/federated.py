"""Federated training: clients one by one, bytes sent, rounds needed, and what a round costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.data.partition import read_owners
from trustml.measures.evidence import Evidence
from trustml.measures.notes import absent, not_applicable
from trustml.measures.row import About, Facts, Row
from trustml.measures.wording import times_tell
from trustml.models.answers import right
from trustml.models.shapes import weight_shapes
from trustml.models.tasks import Regression, facts_of
from trustml.plan.job import TrainJob, rounds_file, timings_file
from trustml.record.schema import JobRecord
from trustml.scenario.federated import DPFedAvg, FedAvg, FederatedSpec, FedSGD, SiloDPFedAvg
from trustml.scenario.partition import Everyone
from trustml.scenario.regimes import Plain

_NO_ACCURACY = "a regression has no accuracy"
_UNSEEN = "behind masks nobody sees the update of a client"
_COMPRESSED_ABOVE = 20_000
"""TFF's compression aggregator quantises tensors of more values than this, to one byte each."""


@dataclass(frozen=True, kw_only=True)
class History:
    """How good the model was by round.

    Attributes
    ----------
    rounds : int array of shape (k,)
        Numbers of the rounds after which the model was looked at, from 1.
    score : float array of shape (k,)
        Held-out accuracy; R2 of a regression.
    loss : float array of shape (k,)
    """

    rounds: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]
    loss: npt.NDArray[np.float64]


def federated_jobs(evidence: Evidence) -> list[tuple[JobRecord, TrainJob]]:
    """Finished federated trainings."""
    return [
        (record, job)
        for record, job in evidence.trained()
        if record.status == "ok" and isinstance(job.regime, FederatedSpec)
    ]


def history_of(evidence: Evidence, record: JobRecord) -> History:
    """Read the accuracy, or R2, by round of a finished federated training."""
    arrays = evidence.run.arrays(f"jobs/{record.id}/history.npz")
    return History(rounds=arrays["rounds"], score=arrays[facts_of(evidence.task).score], loss=arrays["loss"])


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
    if isinstance(job.regime, SiloDPFedAvg):
        return job.regime.batch_size * job.regime.local_steps * _participants(evidence, job)
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
        about = absent("who holds what is under private/, which is not at hand", not_at_hand=True)
        return [evidence.row(name, None, record=record, subject="clients", n=0, about=about) for name in names]
    if isinstance(evidence.task, Regression):
        about = not_applicable(f"{_NO_ACCURACY}; its R2 is that of all clients' examples together")
        return [evidence.row(name, None, record=record, subject="clients", n=0, about=about) for name in names]
    labels = evidence.heldout["test_labels"]
    outputs = evidence.run.arrays(f"jobs/{record.id}/predictions.npz")["test_logits"]
    hit = right(evidence.task, outputs, labels)
    owners, count = read_owners(clients, name=job.clients, examples=len(labels), of="held_out")
    held = owners >= 0
    tested = np.bincount(owners[held], minlength=count)
    hits = np.bincount(owners[held], weights=hit[held], minlength=count)
    each = (hits / np.maximum(tested, 1))[tested > 0]
    typical = int(np.median(tested[tested > 0])) if len(each) else 0
    facts: Facts = {"clients_tested": len(each), "clients": count, "examples_each": typical}
    if job.mechanism is not None:
        facts["not_covered"] = "follows who holds what, so no epsilon covers it"
    values = (each.mean(), np.quantile(each, 0.1), each.min()) if len(each) else (None, None, None)
    about = About(facts=facts)
    if not len(each):
        about = About(verdict="absent", facts={**facts, "reason": "no client has held-out examples"})
    return [
        evidence.row(name, value, record=record, subject="clients", n=len(each), about=about)
        for name, value in zip(names, values, strict=True)
    ]


def _round_rows(evidence: Evidence, record: JobRecord, job: TrainJob) -> list[Row]:
    assert isinstance(job.regime, FederatedSpec)
    rows = _history_rows(evidence, record, job.regime)
    rounds = rounds_of(evidence, job)
    if job.mechanism is not None:
        about = absent("norms of clients' updates stay private")
        rows.append(evidence.row("client_update_norm", None, record=record, subject="clients", n=0, about=about))
    elif rounds is not None:
        norms = rounds["update_norm"][np.isfinite(rounds["update_norm"])]
        value = float(np.median(norms)) if len(norms) else None
        about = absent(_UNSEEN if _is_masked(job) else "the library does not tell it for this aggregation")
        if len(norms):
            about = About(facts={"norm_first": float(norms[0]), "norm_last": float(norms[-1])})
        rows.append(
            evidence.row("client_update_norm", value, record=record, subject="clients", n=len(norms), about=about)
        )
    return rows


def _history_rows(evidence: Evidence, record: JobRecord, regime: FederatedSpec) -> list[Row]:
    """Rounds to the target, and the last loss; a regression has neither an accuracy nor a loss in nats."""
    history = history_of(evidence, record)
    looked = len(history.rounds)
    if isinstance(evidence.task, Regression):
        reasons = {
            "rounds_to_target": _NO_ACCURACY,
            "held_out_loss": "the loss of a regression is not in nats; see RMSE and MAE",
        }
        return [
            evidence.row(name, None, record=record, subject="held-out", n=looked, about=not_applicable(reason))
            for name, reason in reasons.items()
        ]
    target = regime.target_accuracy
    reached = np.flatnonzero(history.score >= target)
    about = About(facts={"target": target, "evaluate_every": regime.evaluate_every})
    if not len(reached):
        reason = f"never reached in {history.rounds[-1]} rounds, best {history.score.max():.4f}"
        about = About(verdict="absent", facts={**about.facts, "reason": reason})
    first = float(history.rounds[reached[0]]) if len(reached) else None
    return [
        evidence.row("rounds_to_target", first, record=record, subject="held-out", n=looked, about=about),
        evidence.row("held_out_loss", history.loss[-1], record=record, subject="held-out", n=looked),
    ]


def _byte_rows(evidence: Evidence, record: JobRecord, job: TrainJob) -> list[Row]:
    shapes = weight_shapes(job.model, job.input_shape)
    sizes = [math.prod(shape) for shape in shapes.values()]
    participants = _participants(evidence, job)
    down = up = 4.0 * sum(sizes)
    if _is_masked(job):
        return _masked_rows(evidence, record, job, weights=down)
    how = "float32 weights"
    if isinstance(job.regime, FedAvg) and job.regime.aggregation == "compressed":
        up = float(sum(size if size > _COMPRESSED_ABOVE else 4 * size for size in sizes))
        how = "one byte a value in tensors of more than 20,000 values, float32 in the others"
    elif isinstance(job.regime, DPFedAvg) and job.mechanism is not None and job.mechanism.count_noise:
        up += 4.0  # whether the update was clipped
    return [
        evidence.row(
            measure,
            payload * participants,
            record=record,
            subject="round",
            n=1,
            about=About(facts={"clients_a_round": participants, "coding": coding}),
        )
        for measure, payload, coding in (("bytes_down", down, "float32 weights"), ("bytes_up", up, how))
    ]


def _masked_rows(evidence: Evidence, record: JobRecord, job: TrainJob, *, weights: float) -> list[Row]:
    """Bytes of the protocol's messages, and weights of that size to whoever trained, in the rounds that had a sum."""
    rounds = rounds_of(evidence, job)
    rows = []
    for measure, name, more in (("bytes_down", "sent_down", weights), ("bytes_up", "sent_up", 0.0)):
        sent, about = np.zeros(0), absent("no round had a sum")
        if rounds is None:
            about = absent("what each round came to is not at hand", not_at_hand=True)
        elif name in rounds:  # then at least one round had a sum
            sent = (rounds[name] + more * rounds["participants"])[rounds[name] > 0]
            about = About(facts={"summed_rounds": len(sent), "with_weights": more > 0})
        value = float(sent.mean()) if len(sent) else None
        rows.append(evidence.row(measure, value, record=record, subject="round", n=len(sent), about=about))
    return rows


def _is_masked(job: TrainJob) -> bool:
    return isinstance(job.regime, FedAvg) and job.regime.aggregation == "masked"


def _cost_rows(evidence: Evidence, record: JobRecord, job: TrainJob) -> list[Row]:
    """Ratio of a round to the time that centralised training takes over as many examples."""
    if job.mechanism is not None and not evidence.run.file(timings_file(job)).is_file():
        about = absent("times of private rounds are under private/, which is not at hand", not_at_hand=True)
        return [evidence.row("round_ratio", None, record=record, subject="round", n=0, about=about)]
    seconds = evidence.run.arrays(timings_file(job))["seconds"].astype(float)[1:]
    plain = [
        (other, of)
        for other, of in evidence.trained()
        if other.status == "ok"
        and isinstance(of.regime, Plain)
        and not of.regime.ablation
        and other.backend == record.backend
    ]
    if not len(seconds) or not plain:
        about = absent("no plain training of this backend in the run" if len(seconds) else "one round alone")
        return [evidence.row("round_ratio", None, record=record, subject="round", n=0, about=about)]
    central, of = plain[0]
    times = evidence.run.arrays(timings_file(of))
    if len(times["seconds"]) < 2:
        about = absent(f"{central.id} has no times beyond its first step")
        return [evidence.row("round_ratio", None, record=record, subject="round", n=0, about=about)]
    rate = times["examples"][1:].sum() / times["seconds"][1:].sum()
    expected = examples_per_round(evidence, job)
    ratios = np.quantile(seconds, [0.25, 0.5, 0.75]) * rate / expected
    batch_size = of.regime.batch_size if isinstance(of.regime, Plain) else 0
    facts: Facts = {"against": central.id, "batch_size": batch_size}
    if job.mechanism is not None:
        told = times_tell(job.regime, secret=job.mechanism.secret_sampling)
        facts["not_covered"] = f"times follow {told}, not covered by epsilon"
    return [
        evidence.row(
            "round_ratio",
            ratios[1],
            record=record,
            subject="round",
            n=len(seconds),
            interval=(ratios[0], ratios[2]),
            about=About(interval="quartiles", facts=facts),
        )
    ]
