"""From a job to the training loop of its regime."""

from __future__ import annotations

import hashlib

import numpy as np

from trustml.backends.contract import Backend, Model
from trustml.data.batches import BatchPlan
from trustml.data.clients import read_federated_plan
from trustml.data.dataset import Examples
from trustml.plan.job import TrainJob
from trustml.record.files import inside, read_arrays
from trustml.scenario.regimes import DPSGD, Plain
from trustml.worker.federated import FederatedDriver
from trustml.worker.job_context import JobContext, Trained
from trustml.worker.library_default import train_stock
from trustml.worker.plain import train_plain
from trustml.worker.private import PrivateTraining


def train(job: TrainJob, backend: Backend, model: Model, examples: Examples, *, at: JobContext) -> Trained:
    """Train by the job's regime."""
    if isinstance(job.regime, DPSGD) and job.regime.engine != "core":
        return train_stock(job, backend, model, examples, at=at)
    path = inside(at.root, job.plan)
    arrays = read_arrays(path)
    plan = BatchPlan(indices=arrays["indices"].astype(np.int64), offsets=arrays["offsets"].astype(np.int64))
    match job.regime:
        case Plain():
            return train_plain(job, job.regime, backend, model, examples, plan=plan, at=at)
        case DPSGD():
            commitment = hashlib.sha256(path.read_bytes()).hexdigest()
            entropy = tuple(int(word) for word in arrays.get("augmentation", np.zeros(0)))
            training = PrivateTraining(job, backend, model, examples, commitment=commitment, at=at)
            return training.run(plan, augmentation_entropy=entropy)
        case _:
            commitment = hashlib.sha256(path.read_bytes()).hexdigest()
            federated = FederatedDriver(job, backend, model, examples, commitment=commitment, at=at)
            return federated.run(read_federated_plan(arrays))
