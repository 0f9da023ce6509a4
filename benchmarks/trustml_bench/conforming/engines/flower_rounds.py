"""Flower's wrappers for differential privacy around ``FedAvg``, given the clients' answers as the server gets them.

Clipping, averaging and noise are Flower's; its network between server and clients is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp.mod import fixedclipping_mod
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
)
from flwr.supercore.task_identity import TaskIdentity

from trustml.conformance.rounds import Client, FederatedFactory, RoundSettings
from trustml.data.dataset import Floats
from trustml_bench.conforming.federation import trained, zeros

_KERNEL = "kernel"


def server_side() -> FederatedFactory:
    """The server clips what clients send."""
    return lambda settings: _Training(settings, DifferentialPrivacyServerSideFixedClipping, clips=False)


def client_side() -> FederatedFactory:
    """Clients clip what they send."""
    return lambda settings: _Training(settings, DifferentialPrivacyClientSideFixedClipping, clips=True)


class _Nodes:
    """As many connected clients as a round shall have."""

    def __init__(self) -> None:
        self.count = 0

    def get_node_ids(self) -> list[int]:
        return list(range(1, self.count + 1))


class _Training:
    def __init__(self, settings: RoundSettings, wrapper: Callable[..., Any], *, clips: bool) -> None:
        logging.getLogger("flwr").setLevel(logging.CRITICAL)
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1  # messages carry them
        np.random.seed(settings.seed)  # Flower's noise has no other seed
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=0, min_available_nodes=0)
        self._strategy = wrapper(strategy, settings.noise_multiplier, settings.clipping_norm, settings.expected_clients)
        self._norm, self._clips, self._nodes, self._round = settings.clipping_norm, clips, _Nodes(), 0
        self._arrays = _record(zeros())

    def round(self, clients: Sequence[Client], /) -> None:
        self._round += 1
        self._nodes.count = len(clients)
        sent = list(self._strategy.configure_train(self._round, self._arrays, ConfigRecord(), self._nodes))
        answers = [self._answer(message, client) for message, client in zip(sent, clients, strict=True)]
        found, _ = self._strategy.aggregate_train(self._round, answers)
        if found is not None:  # else the weights stay
            self._arrays = found

    def _answer(self, message: Message, client: Client) -> Message:
        def train(asked: Message, context: Context) -> Message:
            start = next(iter(asked.content.array_records.values())).to_numpy_ndarrays()[0]
            count = sum(len(labels) for _, labels in client)
            content = RecordDict(
                {"arrays": _record(trained(start, client)), "metrics": MetricRecord({"num-examples": count})}
            )
            return Message(content=content, reply_to=asked)

        context: Any = None
        return fixedclipping_mod(message, context, train) if self._clips else train(message, context)

    def weights(self) -> Mapping[str, Floats]:
        return {_KERNEL: self._arrays.to_numpy_ndarrays()[0]}

    def clipping_norm(self) -> float:
        return self._norm


def _record(kernel: Floats) -> ArrayRecord:
    return ArrayRecord([kernel])
