"""Federated training by Apple's pfl-research, on cohorts and batches drawn by the core."""

from __future__ import annotations

import asyncio
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.algorithm.fedprox import FedProx as PflFedProx
from pfl.algorithm.fedprox import FedProxParams
from pfl.context import CentralContext as Context
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDatasetBase
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from pfl.privacy.adaptive_clipping import AdaptiveClippingGaussianMechanism
from pfl.stats import MappedVectorStatistics as Statistics
from torch import Tensor, nn

from trustml.backends.contract import Client, Model
from trustml.backends.settings import EngineChoice, FederatedSettings, RoundOutcome
from trustml.backends.torch.device import current_device
from trustml.backends.torch.losses import batch_loss
from trustml.backends.torch.network import (
    build_module,
    parameter_names,
    read_weights,
    rows_to_torch,
    to_input,
    to_labels,
)
from trustml.backends.torch.noise import noise_generator
from trustml.backends.torch.postprocessors import NOBODY, DeclaredWeight, Gate, mechanism, weighting
from trustml.backends.torch.server_optimizers import server_optimizer
from trustml.models.tasks import Task
from trustml.models.weights import Weights
from trustml.scenario.federated import FedProx, FedSGD
from trustml.scenario.optimizers import SGD


class PflFederation:
    """See :class:`trustml.backends.contract.Federation`.

    Parameters
    ----------
    model : Model
    settings : FederatedSettings
    """

    def __init__(self, model: Model, settings: FederatedSettings) -> None:
        os.environ["PFL_PYTORCH_DEVICE"] = str(current_device())  # pfl would take the GPU even when we must not
        regime, self._privacy = settings.regime, settings.privacy
        self._names = list(model.weights)
        self._trained = _Trained(build_module(model), model.task).train()
        client = SGD(learning_rate=1.0) if isinstance(regime, FedSGD) else regime.client_optimizer
        self._model = _ClientModel(
            self._trained,
            partial(torch.optim.SGD, momentum=client.momentum),
            server_optimizer(regime, list(self._trained.parameters())),
        )
        self._local = NNTrainHyperParams(
            local_batch_size=None, local_num_epochs=1, local_learning_rate=client.learning_rate
        )
        self._algorithm = _ProximalAlgorithm() if isinstance(regime, FedProx) else _Algorithm()
        self._proximal = regime.proximal if isinstance(regime, FedProx) else None
        self._gate, self._cohort = Gate(), _Cohort()
        self._planted: list[_Planted] = []
        self._mechanism = None if self._privacy is None else mechanism(self._privacy, regime.rounds)
        after = (
            weighting(settings, self._gate)
            if self._privacy is None
            else [self._mechanism, DeclaredWeight(self._privacy.expected_clients)]
        )
        self._backend = SimulatedBackend(self._cohort, self._cohort, [self._gate, *after])
        self._random_state = _random_state(settings.noise_seed)
        self._threads = _Threads()
        self._rounds = 0

    @property
    def choice(self) -> EngineChoice | None:
        """With how many threads clients train; without times, which follow who took part."""
        if self._threads.best is None:
            return None
        return EngineChoice(name=f"{self._threads.best} threads", seconds={}, refused={})

    def round(self, clients: Sequence[Client]) -> RoundOutcome:
        """Let pfl take one more round with these clients."""
        with self._threads.timed(sum(len(labels) for client in clients for _, labels in client)):
            return self._round(clients)

    def plant(self, updates: Weights) -> None:
        """Let clients come to the next round whose update is given; pfl clips and adds it as any other."""
        rows = rows_to_torch(updates)
        names = {id(parameter): name for name, parameter in self._model.variable_map.items()}
        keys = {
            names[id(parameter)]: canonical
            for canonical, parameter in parameter_names(self._trained.module, self._names).items()
        }
        for number in range(len(next(iter(rows.values())))):
            self._planted.append(_Planted({key: rows[canonical][number] for key, canonical in keys.items()}))

    def _round(self, clients: Sequence[Client]) -> RoundOutcome:
        users = [*(_User(client) for client in clients), *self._planted]
        self._cohort.users, self._planted = users or [_User([], user_id=NOBODY)], []
        with own_event_loop(), self._own_random_state(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="To copy construct from a tensor")  # pfl's way to add noise
            self._algorithm.run(
                self._parameters(), self._backend, self._model, self._local, send_metrics_to_platform=False
            )
        self._cohort.users = []
        self._rounds += 1
        return self._gate.take_outcome()

    def weights(self) -> Weights:
        """Present global weights, canonical."""
        return read_weights(self._trained.module, self._names)

    def clipping_norm(self) -> float:
        """Clipping norm of the next round."""
        if isinstance(self._mechanism, AdaptiveClippingGaussianMechanism):
            return float(self._mechanism.mutable_clipping_bound.value())
        return 0.0 if self._privacy is None else self._privacy.clipping_norm

    def _parameters(self) -> NNAlgorithmParams:
        # pfl goes on from the rounds it has done, so that a total of one more makes it take one.
        rounds, users = self._rounds + 1, len(self._cohort.users)
        if self._proximal is None:
            return NNAlgorithmParams(rounds, evaluation_frequency=1, train_cohort_size=users, val_cohort_size=None)
        return FedProxParams(
            rounds, evaluation_frequency=1, train_cohort_size=users, val_cohort_size=None, mu=self._proximal
        )

    @contextmanager
    def _own_random_state(self) -> Iterator[None]:
        """Lend PyTorch's global generator to this federation, so that nobody else can rewind its noise."""
        device = current_device()
        source = torch if device.type == "cpu" else torch.cuda
        with torch.random.fork_rng(devices=[] if device.type == "cpu" else [torch.cuda.current_device()]):
            source.set_rng_state(self._random_state)
            try:
                yield
            finally:  # a round that broke off may have drawn noise already
                self._random_state = source.get_rng_state()


class _Threads:
    """Finds out whether clients train faster with one thread: their batches are small, and threads wait for threads.

    The first round warms up; the next four try all threads and one in turn.
    """

    def __init__(self) -> None:
        self._all = torch.get_num_threads()
        self._round = 0
        self._seconds = {self._all: float("inf"), 1: float("inf")}
        self.best: int | None = None

    @contextmanager
    def timed(self, examples: int) -> Iterator[None]:
        """Run a round with the threads that are its turn, or the best."""
        trying = self.best is None and self._all > 1 and self._round > 0
        threads = self.best or (1 if trying and self._round % 2 else self._all)
        torch.set_num_threads(threads)
        begin = time.perf_counter()
        try:
            yield
        finally:
            torch.set_num_threads(self._all)
        if trying and examples:
            each = (time.perf_counter() - begin) / examples
            self._seconds[threads] = min(self._seconds[threads], each)
        self._round += 1
        if trying and self._round > 4:
            self.best = min(self._seconds, key=self._seconds.__getitem__)


class _Trained(nn.Module):
    """What pfl wants of a module: its loss on a batch."""

    def __init__(self, module: nn.Module, task: Task) -> None:
        super().__init__()
        self.module, self._task = module, task

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return batch_loss(self._task, self.module(inputs), labels)

    def metrics(self, inputs: Tensor, labels: Tensor) -> dict[str, float]:
        return {}


class _ClientModel(PyTorchModel):
    """pfl's model without its own looks at the clients' examples; the core evaluates."""

    def evaluate(self, dataset: object, name_formatting_fn: object = None, eval_params: object = None) -> Metrics:
        return Metrics()


class _Unseeded:
    """Lets pfl draw noise from PyTorch's global generator.

    By default it takes a new generator a round and seeds it with 32 bits, few enough to try them all.
    """

    def _get_seed(self) -> None:
        return None


class _Algorithm(_Unseeded, FederatedAveraging):
    def train_one_user(
        self, initial_model_state: Statistics, model: PyTorchModel, user_dataset: _User, central_context: Context
    ) -> tuple[Statistics, Metrics]:
        if isinstance(user_dataset, _Planted):
            return Statistics(user_dataset.update), Metrics()
        return super().train_one_user(initial_model_state, model, user_dataset, central_context)


class _ProximalAlgorithm(_Unseeded, PflFedProx):
    pass


class _User(Dataset):
    """The batches of one client, as the core made them."""

    def __init__(self, client: Client, user_id: str | None = None) -> None:
        super().__init__(raw_data=tuple(client), user_id=user_id)

    def __len__(self) -> int:
        return sum(len(labels) for _, labels in self.raw_data)

    def iter(self, batch_size: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, labels in self.raw_data:
            yield to_input(inputs), to_labels(labels)


class _Planted(_User):
    """A client whose update is given, by pfl's names."""

    def __init__(self, update: dict[str, Tensor]) -> None:
        super().__init__([])
        self.update = update


class _Cohort(FederatedDatasetBase):
    """The clients of this round."""

    def __init__(self) -> None:
        super().__init__()
        self.users: list[_User] = []

    def __next__(self) -> tuple[_User, int]:
        raise NotImplementedError("users come by the cohort")

    def get_cohort(self, cohort_size: int) -> Iterator[tuple[_User, int]]:
        return ((user, 0) for user in self.users)  # the seed is for local privacy


def _random_state(seed: tuple[int, int, int, int]) -> Tensor:
    return noise_generator(seed, current_device()).get_state()


@contextmanager
def own_event_loop() -> Iterator[None]:
    """Give pfl the event loop that it expects to find."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
        loop.close()
