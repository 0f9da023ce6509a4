"""From a job to the training loop of its regime; the library's own loop, which draws its batches itself, among them."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import replace

import numpy as np

from trustml.backends.contract import Backend, Model
from trustml.backends.settings import EngineChoice, StockSettings
from trustml.data.batches import BatchPlan
from trustml.data.clients import read_federated_plan
from trustml.data.dataset import Examples
from trustml.errors import PrivacyError, RecordError
from trustml.plan.job import TrainJob, trainable_of
from trustml.plan.mechanism import drawn_for, make_charge
from trustml.privacy.ledger import charge
from trustml.record.files import inside, read_arrays
from trustml.scenario.federated import PrivateClientsSpec
from trustml.scenario.regimes import DPSGD, Ablation, Plain
from trustml.worker.job_context import JobContext, Trained
from trustml.worker.plain import train_plain


def train(job: TrainJob, backend: Backend, model: Model, examples: Examples, *, at: JobContext) -> Trained:
    """Train what the job's regime says by the job's regime; the weights are those of the whole model."""
    if not trainable_of(job):
        return _by_regime(job, backend, model, examples, at=at)
    from trustml.worker.fine_tuning import fine_tuning

    part = fine_tuning(job, backend, model, examples, at=at)
    if at.curve is not None:
        at.curve.whole = part.whole
    if part.examples is not examples:  # features are cheap to train on, and the whole model is not cheap to ask
        at = replace(at, curve=None)
    trained = _by_regime(job, backend, part.model, part.examples, at=at)
    return replace(trained, weights=part.whole(trained.weights))


def _by_regime(job: TrainJob, backend: Backend, model: Model, examples: Examples, *, at: JobContext) -> Trained:
    if isinstance(job.regime, DPSGD) and job.regime.engine != "core":
        return train_by_library(job, backend, model, examples, at=at)
    path = inside(at.root, job.plan)
    arrays = read_arrays(path)
    plan = BatchPlan(indices=arrays["indices"].astype(np.int64), offsets=arrays["offsets"].astype(np.int64))
    match job.regime:
        case Plain(ablation=Ablation() as ablation):
            if job.ablated is None:
                raise RecordError(f"{job.id}: names no steps to take; start a new run")
            from trustml.worker.ablated import train_ablated

            return train_ablated(job, ablation, job.ablated, backend, model, examples, plan=plan, at=at)
        case Plain():
            return train_plain(job, job.regime, backend, model, examples, plan=plan, at=at)
        case DPSGD():
            from trustml.worker.private import PrivateTraining

            commitment = hashlib.sha256(path.read_bytes()).hexdigest()
            entropy = tuple(int(word) for word in arrays.get("augmentation", np.zeros(0)))
            training = PrivateTraining(job, backend, model, examples, commitment=commitment, at=at)
            return training.run(plan, entropy=entropy)
        case PrivateClientsSpec():
            from trustml.worker.private_clients import PrivateClientsDriver

            commitment = hashlib.sha256(path.read_bytes()).hexdigest()
            clients = PrivateClientsDriver(job, backend, model, examples, commitment=commitment, at=at)
            return clients.run(read_federated_plan(arrays))
        case _:
            from trustml.worker.federated import FederatedDriver

            commitment = hashlib.sha256(path.read_bytes()).hexdigest()
            federated = FederatedDriver(job, backend, model, examples, commitment=commitment, at=at)
            return federated.run(read_federated_plan(arrays))


def train_by_library(job: TrainJob, backend: Backend, model: Model, examples: Examples, *, at: JobContext) -> Trained:
    """Train all epochs, each charged before it begins; there are no checkpoints, as libraries' own loops have none."""
    mechanism, regime = job.mechanism, job.regime
    if mechanism is None or not isinstance(regime, DPSGD) or backend.stock is None:
        raise PrivacyError(f"{job.id}: the backend has no training loop of its library's own")
    settings = StockSettings(
        optimizer=regime.optimizer,
        keras_optimizer=regime.engine == "stock_optimizer",
        clipping_norm=mechanism.clipping_norm,
        noise_multiplier=mechanism.noise_multiplier,
        batch_size=regime.batch_size,
        seed=secrets.randbits(63),
    )
    trainer = backend.stock(model, settings, examples)
    plan = f"{job.id}, drawn by the library, {secrets.token_hex(8)}"
    epoch = mechanism.steps_per_charge
    drawn = drawn_for(mechanism, backend=job.backend, stock=True, weights=model.weights)
    most = 1 if mechanism.sampling == "shuffle" else None
    at.plan_curve(steps=mechanism.steps, rows=mechanism.expected_batch_size * mechanism.steps)
    at.look(0, trainer.weights)
    for first in range(0, mechanism.steps, epoch):
        end = min(first + epoch, mechanism.steps)
        entry = make_charge(
            mechanism, first=first, end=end, plan=plan, data=job.data_fingerprint, block=most, drawn=drawn
        )
        charge(at.folder / "ledger.jsonl", entry)
        start, used = time.perf_counter(), time.process_time()
        sizes = trainer.epoch()
        if len(sizes) > end - first:
            raise PrivacyError(f"{job.id}: the library took {len(sizes)} steps where {end - first} were charged")
        at.clock.epoch(time.perf_counter() - start, sizes, processor=time.process_time() - used)
        at.progress.step(end, mechanism.steps)
        at.look(end, trainer.weights)
    return Trained(
        weights=trainer.weights(),
        choice=EngineChoice(name=regime.engine, seconds={}, refused={}),
        notes=("the library's own training loop: it drew batches and noise, so nothing is shared with other backends",),
    )
