"""pfl's federated averaging as its documentation drives it, with data sets of tensors."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trustml.backends.torch.federated import own_event_loop
from trustml_bench.engine import Work
from trustml_bench.engines.fastest import fastest
from trustml_bench.engines.torch_network import settle, start, tensors, weights_of
from trustml_bench.workloads import LEARNING_RATE, Workload, make_clients


class _Classifier(nn.Module):
    """What pfl wants of a module: its loss on a batch."""

    def __init__(self, module: nn.Sequential) -> None:
        super().__init__()
        self.module = module

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(self.module(inputs), labels)

    def metrics(self, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
        return {}


class _Unevaluated(PyTorchModel):
    """pfl would look at the clients' examples before and after training; the others do not."""

    def evaluate(self, dataset: object, name_formatting_fn: object = None, eval_params: object = None) -> Metrics:
        return Metrics()


def federated_round(workload: Workload) -> Work:
    """A round with every client, one local epoch each, by pfl's simulated backend; with all threads or one."""
    counts = sorted({1, torch.get_num_threads()})
    return fastest({f"{threads} threads": partial(_round, workload, threads) for threads in counts}, wait=settle)


def _round(workload: Workload, threads: int) -> Work:
    module = start(workload)
    clients = []
    for client in make_clients(workload):
        parts = [tensors(inputs, labels) for inputs, labels in client]
        clients.append([torch.cat(part) for part in zip(*parts, strict=True)])
    cohort = FederatedDataset(
        lambda number: Dataset(clients[number], user_id=str(number)),
        get_user_sampler("minimize_reuse", list(range(len(clients)))),
    )
    classifier = _Classifier(module)
    learner = _Unevaluated(
        classifier,
        lambda parameters, lr: torch.optim.SGD(parameters, lr),
        torch.optim.SGD(classifier.parameters(), 1.0),
    )
    local = NNTrainHyperParams(
        local_batch_size=workload.batch_size, local_num_epochs=1, local_learning_rate=LEARNING_RATE
    )
    backend = SimulatedBackend(cohort, cohort, [WeightByDatapoints()])
    algorithm, rounds = FederatedAveraging(), [0]

    def unit() -> None:
        torch.set_num_threads(threads)
        rounds[0] += 1
        # pfl goes on from the rounds it has done, so that a total of one more makes it take one.
        params = NNAlgorithmParams(
            rounds[0], evaluation_frequency=10**9, train_cohort_size=len(clients), val_cohort_size=None
        )
        with own_event_loop():
            algorithm.run(params, backend, learner, local, send_metrics_to_platform=False)

    return Work(unit=unit, outcome=lambda: weights_of(module, workload))
