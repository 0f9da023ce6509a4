"""Federated rounds in float64, as the formulas read: the oracle of the conformance suite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.backends.contract import Client, Model
from trustml.backends.numpy.network import logits
from trustml.backends.settings import EngineChoice, FederatedSettings, RoundOutcome, UserPrivacy
from trustml.data.dataset import LabelArray
from trustml.models.layers import Architecture, BatchNorm, Dense, Dropout, Flatten, ReLU
from trustml.models.losses import example_losses, output_slopes
from trustml.models.tasks import DEFAULT_TASK, Task
from trustml.models.token_layers import Reshape
from trustml.models.weights import Weights
from trustml.privacy.noise_strategy import NoiseStream
from trustml.scenario.federated import DPFedAvg, FedAvg, FedProx, FedSGD, IndependentNoise, LocalSpec
from trustml.scenario.optimizers import SGD

_STEP = 1e-5

Doubles = npt.NDArray[np.float64]
Parts = dict[str, Doubles]


class NumpyFederation:
    """See :class:`trustml.backends.contract.Federation`. One client after the other, one batch after the other.

    Parameters
    ----------
    model : Model
        Its gradients are written out where it is a chain of dense layers, ReLU, flattening and reshaping, and
        differences of losses else: then it should be small.
    settings : FederatedSettings
        FedAvg, FedSGD, FedProx, or DPFedAvg.

    Raises
    ------
    NotImplementedError
        For any other regime, or a layer that draws.
    """

    def __init__(self, model: Model, settings: FederatedSettings) -> None:
        regime = settings.regime
        if not isinstance(regime, FedAvg | FedSGD | FedProx | DPFedAvg):
            raise NotImplementedError(f"{type(regime).__name__} is not in the oracle")
        if isinstance(regime, FedAvg) and regime.aggregation != "mean":
            raise NotImplementedError(f"aggregation {regime.aggregation!r} is not in the oracle")
        if any(isinstance(node.layer, Dropout | BatchNorm) for node in model.architecture.nodes):
            raise NotImplementedError("the oracle has no layer that is another in training")
        self._architecture, self._regime, self.privacy = model.architecture, regime, settings.privacy
        self._task = model.task
        self._weights: Parts = {name: array.astype(np.float64) for name, array in model.weights.items()}
        self._velocity = self.zeros()
        self._clip = settings.privacy.clipping_norm if settings.privacy else 0.0
        self._planted: list[Parts] = []
        self._streams: dict[str, NoiseStream] = {}
        if settings.privacy is not None and not isinstance(settings.privacy.mechanism, IndependentNoise):
            strategy = settings.privacy.strategy(rounds=regime.rounds)
            for name, part in self._weights.items():
                self._streams[name] = NoiseStream(strategy, part.size, dtype=np.float64)
        self.generator = np.random.default_rng(settings.noise_seed)

    @property
    def choice(self) -> EngineChoice | None:
        """Nothing to choose."""
        return None

    def round(self, clients: Sequence[Client]) -> RoundOutcome:
        """Train the clients, aggregate, take the server's step."""
        updates = [self.update(client) for client in clients]
        norms = [norm_of(update) for update in updates]
        usable = [self.usable(norm) for norm in norms]
        kept = [update for update, good in zip(updates, usable, strict=True) if good]
        if self.privacy is None:
            sizes = [self._weight(client) for client, good in zip(clients, usable, strict=True) if good]
            total = sum(sizes)
            if total:
                self._step({name: sum_of(kept, name, sizes) / total for name in self._weights})
        else:
            self._step(self.private_mean([*kept, *self._planted], self.privacy))
            self._planted = []
            # What is left out counts as zero, and zero is not clipped.
            self.adapt(sum(not norm > self._clip for norm in norms), len(clients), self.privacy)
        seen = [norm for client, norm, good in zip(clients, norms, usable, strict=True) if client and good]
        return RoundOutcome(
            update_norm=math.fsum(seen) / len(seen) if seen else None, left_out=len(updates) - len(kept)
        )

    def plant(self, updates: Weights) -> None:
        """Add clients to the next round whose updates are given."""
        count = len(next(iter(updates.values())))
        self._planted += [{k: part[row].astype(np.float64) for k, part in updates.items()} for row in range(count)]

    def weights(self) -> Weights:
        """Present global weights, canonical."""
        return {name: part.astype(np.float32) for name, part in self._weights.items()}

    def clipping_norm(self) -> float:
        """Clipping norm of the next round; 0 without privacy."""
        return self._clip

    def zeros(self) -> Parts:
        """Give an update of zero."""
        return {name: np.zeros_like(part) for name, part in self._weights.items()}

    def update(self, client: Client) -> Parts:
        """Train one client from the global weights and give the change of its weights."""
        regime = self._regime
        optimizer = SGD(learning_rate=1.0) if isinstance(regime, FedSGD) else regime.client_optimizer
        present, velocity = dict(self._weights), self.zeros()
        with np.errstate(all="ignore"):
            for inputs, labels in client:
                gradient = mean_gradient(
                    self._architecture, present, inputs.astype(np.float64), labels, task=self._task
                )
                for name, slope in gradient.items():
                    if isinstance(regime, FedProx):
                        slope = slope + regime.proximal * (present[name] - self._weights[name])
                    velocity[name] = optimizer.momentum * velocity[name] + slope
                    present[name] = present[name] - optimizer.learning_rate * velocity[name]
            return {name: present[name] - start for name, start in self._weights.items()}

    def usable(self, norm: float) -> bool:
        """Whether an update of this norm counts at all."""
        return math.isfinite(norm)

    def private_mean(self, updates: Sequence[Parts], privacy: UserPrivacy) -> Parts:
        """Clip each update, sum, add noise once, divide by the declared number of clients."""
        total = self.zeros()
        for update in updates:
            for name, part in self.clipped(update).items():
                total[name] = total[name] + part
        noise = self.noise(privacy.drawn_noise_multiplier * self._clip)
        return {name: (part + noise[name]) / privacy.expected_clients for name, part in total.items()}

    def clipped(self, update: Parts) -> Parts:
        """Shorten one update to the clipping norm, where it is longer."""
        norm = norm_of(update)
        factor = min(1.0, self._clip / norm) if norm else 1.0
        return {name: factor * part for name, part in update.items()}

    def noise(self, deviation: float) -> Parts:
        """Draw noise for every weight."""
        drawn = {name: self.generator.normal(size=part.shape) for name, part in self._weights.items()}
        for name, stream in self._streams.items():
            made = np.asarray(stream.take(drawn[name].ravel()), np.float64)
            drawn[name] = made.reshape(drawn[name].shape)
        return {name: deviation * part for name, part in drawn.items()}

    def adapt(self, unclipped: int, clients: int, privacy: UserPrivacy) -> None:
        """Move the clipping norm towards the quantile (Andrew et al. 2021)."""
        if privacy.clip_learning_rate:
            count = unclipped - clients / 2 + privacy.count_noise * self.generator.normal()
            share = 0.5 + count / privacy.expected_clients
            self._clip *= math.exp(-privacy.clip_learning_rate * (share - privacy.quantile))

    def _weight(self, client: Client) -> int:
        uniform = isinstance(self._regime, LocalSpec) and self._regime.weighting == "uniform"
        return 1 if uniform else sum(len(labels) for _, labels in client)

    def _step(self, mean: Parts) -> None:
        regime = self._regime
        momentum = 0.0 if isinstance(regime, FedProx) else regime.server_momentum
        for name, part in mean.items():
            self._velocity[name] = momentum * self._velocity[name] + part
            self._weights[name] = self._weights[name] + regime.server_learning_rate * self._velocity[name]


def sum_of(updates: Sequence[Parts], name: str, sizes: Sequence[float]) -> Doubles:
    """Weighted sum of one weight over clients."""
    return np.sum([size * update[name] for update, size in zip(updates, sizes, strict=True)], axis=0)


def norm_of(update: Parts) -> float:
    """L2 norm over all weights together."""
    with np.errstate(all="ignore"):
        return math.sqrt(sum(float((part**2).sum()) for part in update.values()))


def mean_gradient(
    architecture: Architecture,
    weights: Parts,
    inputs: Doubles,
    labels: LabelArray,
    *,
    task: Task = DEFAULT_TASK,
) -> Parts:
    """Gradient of the mean loss of a batch: layer by layer backwards, or by differences in other networks."""
    if not all(isinstance(layer, Dense | ReLU | Flatten | Reshape) for layer in architecture.layers):
        return _by_differences(architecture, weights, inputs, labels, task)
    entered = []
    values = inputs
    for number, layer in enumerate(architecture.layers):
        entered.append(values)
        match layer:
            case Dense():
                values = values @ weights[f"{number}.kernel"] + weights.get(f"{number}.bias", 0.0)
            case ReLU():
                values = np.maximum(values, 0.0)
            case Reshape():
                values = values.reshape(len(values), *layer.shape)
            case _:
                values = values.reshape(len(values), -1)
    back = output_slopes(values, labels, task=task) / len(labels)
    gradient: Parts = {}
    for number, layer in reversed(list(enumerate(architecture.layers))):
        match layer:
            case Dense():
                rows, slopes = (part.reshape(-1, part.shape[-1]) for part in (entered[number], back))
                gradient[f"{number}.kernel"] = rows.T @ slopes
                if f"{number}.bias" in weights:
                    gradient[f"{number}.bias"] = slopes.sum(axis=0)
                back = back @ weights[f"{number}.kernel"].T
            case ReLU():
                back = back * (entered[number] > 0)
            case _:
                back = back.reshape(entered[number].shape)
    return {name: gradient[name] for name in weights}


def _by_differences(
    architecture: Architecture, weights: Parts, inputs: Doubles, labels: LabelArray, task: Task
) -> Parts:
    """Gradient of the mean loss by central differences over every weight, whatever the graph: for small networks."""

    def loss() -> float:
        model = Model(architecture=architecture, input_shape=inputs.shape[1:], weights=moved, task=task)
        return float(example_losses(logits(model, inputs), labels, task=task).mean())

    moved: dict[str, Any] = {name: part.copy() for name, part in weights.items()}
    gradient = {name: np.zeros_like(part) for name, part in weights.items()}
    for name, part in moved.items():
        for place in np.ndindex(part.shape):
            start = part[place]
            part[place] = start + _STEP
            above = loss()
            part[place] = start - _STEP
            gradient[name][place] = (above - loss()) / (2 * _STEP)
            part[place] = start
    return gradient
