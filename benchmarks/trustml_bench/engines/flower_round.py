"""Flower's simulation on Ray as its documentation drives it. Needs its own environment, with PyTorch in it."""

from __future__ import annotations

import logging
import threading
from functools import cache
from queue import Empty, Queue
from typing import TypeAlias

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import Tensor
from torch.nn.functional import cross_entropy

from trustml.models.weights import Weights
from trustml_bench.engine import Work
from trustml_bench.engines.torch_network import build, canonical, tensors
from trustml_bench.workloads import LEARNING_RATE, Workload, make_clients, make_model

_Batches: TypeAlias = list[list[tuple[Tensor, Tensor]]]


def federated_round(workload: Workload) -> Work:
    """A round with every client, one local epoch each: one actor on every core.

    The simulation runs beside us and waits for the word before each round; every answer is the weights after it.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)
    asked: Queue[None] = Queue()
    answers: Queue[ArrayRecord | BaseException] = Queue()
    server, client = ServerApp(), ClientApp()
    model = make_model(workload)

    @server.main()
    def serve(grid: Grid, context: Context) -> None:
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=workload.size, min_available_nodes=workload.size)
        arrays = ArrayRecord(build(model).state_dict())
        while threading.main_thread().is_alive():  # else the process would never end
            try:
                asked.get(timeout=1)
            except Empty:
                continue
            arrays = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=1).arrays
            answers.put(arrays)

    @client.train()
    def train(message: Message, context: Context) -> Message:
        return _train(workload, message, context)

    def simulate() -> None:
        resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
        try:
            run_simulation(server, client, num_supernodes=workload.size, backend_config=resources)
        except BaseException as error:
            answers.put(error)
            raise

    threading.Thread(target=simulate, daemon=True).start()
    held: list[ArrayRecord] = []

    def unit() -> None:
        asked.put(None)
        answer = answers.get()
        if isinstance(answer, BaseException):
            raise answer
        held[:] = [answer]

    def weights() -> Weights:
        module = build(model)
        module.load_state_dict(held[0].to_torch_state_dict())
        return canonical(module, model)

    return Work(unit=unit, outcome=weights)


def _train(workload: Workload, message: Message, context: Context) -> Message:
    """What a client does: start from the given weights, one epoch, send back weights and how many examples."""
    arrays = message.content["arrays"]
    module = build(make_model(workload))
    module.load_state_dict(arrays.to_torch_state_dict())
    batches = _clients(workload)[int(context.node_config["partition-id"])]
    optimizer = torch.optim.SGD(module.parameters(), LEARNING_RATE)
    for inputs, labels in batches:
        optimizer.zero_grad()
        cross_entropy(module(inputs), labels).backward()
        optimizer.step()
    examples = sum(len(labels) for _, labels in batches)
    content = RecordDict(
        {"arrays": ArrayRecord(module.state_dict()), "metrics": MetricRecord({"num-examples": examples})}
    )
    return Message(content=content, reply_to=message)


@cache
def _clients(workload: Workload) -> _Batches:
    """Batches of all clients, made once in each process."""
    return [[tensors(*batch) for batch in client] for client in make_clients(workload)]
