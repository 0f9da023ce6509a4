"""The training loops without privacy: batches from the plan, a clock around each step."""

from __future__ import annotations

import hashlib

import numpy as np

from trustml.backends.contract import Backend, Model
from trustml.data.batches import BatchPlan
from trustml.data.clients import FederatedPlan
from trustml.data.dataset import Examples
from trustml.models.weights import Weights
from trustml.plan.job import TrainJob
from trustml.record.files import inside, read_arrays
from trustml.scenario.regimes import DPSGD, FedAvg, Plain
from trustml.worker.plain import train_plain
from trustml.worker.private import PrivateTraining
from trustml.worker.stock import train_stock
from trustml.worker.workplace import Trained, Workplace


def train(job: TrainJob, backend: Backend, model: Model, examples: Examples, *, at: Workplace) -> Trained:
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
        case FedAvg():
            federated = FederatedPlan(
                batches=plan, visits=arrays["visits"].astype(np.int64), sizes=arrays["sizes"].astype(np.int64)
            )
            return Trained(weights=_train_federated(job.regime, backend, model, examples, plan=federated, at=at))


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
