"""The training loops: batches from the plan, charges before steps, a clock around each step."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trustml.backends.contract import Backend, DPStep, Model
from trustml.data.batches import BatchPlan
from trustml.data.clients import FederatedPlan
from trustml.data.dataset import Examples
from trustml.data.streams import Stream, public_generator
from trustml.errors import PrivacyError
from trustml.models.weights import Weights
from trustml.plan.job import Mechanism, TrainJob
from trustml.privacy.ledger import Charge, charge, read_ledger
from trustml.record.files import inside, read_arrays
from trustml.scenario.regimes import DPSGD, FedAvg, Plain
from trustml.worker.clock import Clock
from trustml.worker.events import Progress


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where a job reads and writes, and what watches it.

    Attributes
    ----------
    root, folder : Path
        The run directory, and the job's folder in it.
    clock : Clock
    progress : Progress
    """

    root: Path
    folder: Path
    clock: Clock
    progress: Progress


def train(job: TrainJob, backend: Backend, model: Model, examples: Examples, *, at: Workplace) -> Weights:
    """Train by the job's regime and give the final weights."""
    path = inside(at.root, job.plan)
    arrays = read_arrays(path)
    plan = BatchPlan(indices=arrays["indices"].astype(np.int64), offsets=arrays["offsets"].astype(np.int64))
    dropout_seed = int(public_generator(job.seed, Stream.DROPOUT).integers(2**31))
    match job.regime:
        case Plain():
            trainer = backend.plain(model, job.regime, dropout_seed)
            for number, batch in enumerate(plan):
                with at.clock.step(examples=len(batch)):
                    trainer.step(examples.inputs[batch], examples.labels[batch])
                at.progress.step(number + 1, len(plan))
            return trainer.weights()
        case DPSGD():
            commitment = hashlib.sha256(path.read_bytes()).hexdigest()
            return _train_private(job, backend, model, examples, plan=plan, commitment=commitment, at=at)
        case FedAvg():
            federated = FederatedPlan(
                batches=plan, visits=arrays["visits"].astype(np.int64), sizes=arrays["sizes"].astype(np.int64)
            )
            return _train_federated(job.regime, backend, model, examples, plan=federated, at=at)


def _train_private(
    job: TrainJob,
    backend: Backend,
    model: Model,
    examples: Examples,
    *,
    plan: BatchPlan,
    commitment: str,
    at: Workplace,
) -> Weights:
    regime, mechanism = job.regime, job.mechanism
    if backend.private is None or mechanism is None or not isinstance(regime, DPSGD):
        raise PrivacyError(f"{job.id}: no private mechanism to train with")
    ledger = at.folder / "ledger.jsonl"
    if any(entry.plan == commitment for entry in read_ledger(ledger)):
        raise PrivacyError(f"{job.id}: an earlier attempt used these batches; a new attempt needs new ones")
    step = DPStep(
        learning_rate=regime.optimizer.learning_rate,
        momentum=regime.optimizer.momentum,
        clipping_norm=mechanism.clipping_norm,
        noise_multiplier=mechanism.noise_multiplier,
        expected_batch_size=mechanism.expected_batch_size,
        noise_seed=entropy_words(),
    )
    dropout_seed = secrets.randbits(31)
    trainer = backend.private(model, step, dropout_seed)
    steps = min(mechanism.steps, len(plan))
    for number in range(steps):
        if number % mechanism.steps_per_charge == 0:
            end = min(number + mechanism.steps_per_charge, steps)
            charge(ledger, _charge(mechanism, number, end, plan=commitment, data=job.data_fingerprint))
        batch = plan[number]
        with at.clock.step(examples=len(batch)):
            trainer.step(examples.inputs[batch], examples.labels[batch])
        at.progress.step(number + 1, steps)
    return trainer.weights()


def _charge(mechanism: Mechanism, first: int, end: int, *, plan: str, data: str) -> Charge:
    return Charge(
        attempt=mechanism.attempt,
        first_step=first,
        end_step=end,
        noise_multiplier=mechanism.noise_multiplier,
        clipping_norm=mechanism.clipping_norm,
        sample_rate=mechanism.sample_rate,
        secret_sampling=mechanism.secret_sampling,
        largest_participation=mechanism.largest_participation,
        plan=plan,
        data=data,
    )


def _train_federated(
    regime: FedAvg, backend: Backend, model: Model, examples: Examples, *, plan: FederatedPlan, at: Workplace
) -> Weights:
    if backend.federated is None:
        raise NotImplementedError("this backend has no federated training")
    with at.clock.stage("federation_setup"):
        federation = backend.federated(model, regime)
    for number in range(plan.rounds):
        clients = [
            [(examples.inputs[batch], examples.labels[batch]) for batch in batches] for batches in plan.round(number)
        ]
        seen = sum(len(labels) for batches in clients for _, labels in batches)
        with at.clock.step(examples=seen):
            federation.round(clients)
        at.progress.step(number + 1, plan.rounds)
    return federation.weights()


def entropy_words() -> tuple[int, int, int, int]:
    """128 bits of operating-system entropy for the noise; used once, kept nowhere."""
    first, second, third, fourth = (secrets.randbits(32) for _ in range(4))
    return first, second, third, fourth
