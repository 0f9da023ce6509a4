"""Asking a network of somebody's own code what it is, in a process of its backend's environment."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from trustml.errors import UsageError
from trustml.launch.environments import find_environment
from trustml.launch.module_process import run_module
from trustml.models.native import ANSWER, REQUEST, TRUST_VARIABLE, Answer, Request, native_of, start_file
from trustml.models.weights import Weights, read_weights
from trustml.scenario.federated import SiloDPFedAvg
from trustml.scenario.regimes import DPSGD
from trustml.scenario.spec import Scenario


def look_at_model(scenario: Scenario, input_shape: tuple[int, ...]) -> tuple[Scenario, dict[int, Weights]]:
    """Fill in what the code tells of the network, and give the starting weights that it draws for each seed.

    A model that is an architecture is left as it is.

    Raises
    ------
    UsageError
        If the network cannot be trained as the scenario wants it.
    """
    own = native_of(scenario.model)
    if own is None:
        return scenario, {}
    request = Request(
        network=own,
        input_shape=input_shape,
        task=scenario.task,
        seeds=scenario.seeds,
        private=any(isinstance(regime, DPSGD | SiloDPFedAvg) for regime in scenario.training),
    )
    with tempfile.TemporaryDirectory(prefix="trustml-") as name:
        folder = Path(name)
        (folder / REQUEST).write_bytes(msgspec.json.encode(request))
        environment = find_environment(own.backend)
        ended = run_module(
            "trustml.worker.own_network",
            name,
            environment=environment,
            folder=folder,
            timeout=scenario.execution.timeout,
            variables={TRUST_VARIABLE: "1"},
        )
        if not (folder / ANSWER).is_file():
            raise UsageError(f"model: the process that looks at {own.module} {ended}; fix it")
        answer = msgspec.json.decode((folder / ANSWER).read_bytes(), type=Answer)
        if answer.network is None:
            raise UsageError(answer.problem)
        starts = {seed: read_weights(folder / start_file(seed)) for seed in scenario.seeds}
    model = msgspec.structs.replace(scenario.model, layers=(answer.network,))
    return msgspec.structs.replace(scenario, model=model), starts
