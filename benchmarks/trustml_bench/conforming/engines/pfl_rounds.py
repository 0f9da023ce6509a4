"""pfl's federated averaging with its Gaussian mechanism, as its documentation drives it: every user weighs alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByUser
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from pfl.privacy.gaussian_mechanism import GaussianMechanism
from pfl.privacy.privacy_mechanism import CentrallyAppliedPrivacyMechanism
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trustml.backends.torch.federated import own_event_loop
from trustml.conformance.rounds import Client, FederatedFactory, RoundSettings
from trustml.data.dataset import Floats
from trustml_bench.conforming.federation import BATCH, CLASSES, CLIENT_RATE, FEATURES, examples


def make() -> FederatedFactory:
    """Give a factory."""
    return _Training


class _Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(FEATURES, CLASSES, bias=False)
        nn.init.zeros_(self.dense.weight)

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(self.dense(inputs), labels)

    def metrics(self, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
        return {}


class _Unevaluated(PyTorchModel):
    """pfl would look at the clients' examples before and after training."""

    def evaluate(self, dataset: object, name_formatting_fn: object = None, eval_params: object = None) -> Metrics:
        return Metrics()


class _Training:
    def __init__(self, settings: RoundSettings, /) -> None:
        np.random.seed(settings.seed)  # pfl seeds each round's noise from numpy's numbers
        torch.manual_seed(settings.seed)
        self._module, self._norm, self._round = _Classifier(), settings.clipping_norm, 0
        self._model = _Unevaluated(
            self._module,
            lambda parameters, lr: torch.optim.SGD(parameters, lr),
            torch.optim.SGD(self._module.parameters(), 1.0),
        )
        mechanism = GaussianMechanism(
            clipping_bound=settings.clipping_norm, relative_noise_stddev=settings.noise_multiplier
        )
        self._post = [WeightByUser(), CentrallyAppliedPrivacyMechanism(mechanism)]
        self._local = NNTrainHyperParams(local_batch_size=BATCH, local_num_epochs=1, local_learning_rate=CLIENT_RATE)
        self._algorithm = FederatedAveraging()

    def round(self, clients: Sequence[Client], /) -> None:
        data = [[torch.from_numpy(part) for part in examples(client)] for client in clients]
        order = iter(range(len(data)))
        cohort = FederatedDataset(lambda number: Dataset(data[number], user_id=str(number)), lambda: next(order))
        self._round += 1
        # pfl goes on from the rounds it has done, so that a total of one more makes it take one.
        params = NNAlgorithmParams(
            self._round, evaluation_frequency=10**9, train_cohort_size=len(clients), val_cohort_size=None
        )
        with own_event_loop():
            self._algorithm.run(
                params,
                SimulatedBackend(cohort, cohort, self._post),
                self._model,
                self._local,
                send_metrics_to_platform=False,
            )

    def weights(self) -> Mapping[str, Floats]:
        return {name: value.detach().numpy().copy() for name, value in self._module.named_parameters()}

    def clipping_norm(self) -> float:
        return self._norm
