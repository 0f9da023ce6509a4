"""Search networks of the zoo for an example that moves a clipped sum too far.

``BACKEND MODE TRIALS SECONDS LIMIT [NAME ...]``, in the environment of the backend. One line of JSON for each network,
with what keeps a way from clipping it. After SECONDS of processor on a network no further example is tried, and a
network that takes LIMIT with one ends the process.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tests.conformance.sensitivity import ClippedSum, Move, excess, try_one
from tests.conformance.sensitivity_case import force_tensorflow, make_sum
from tests.conformance.trials import Network, Trial, draw_trial, mutated
from tests.conformance.zoo_networks import ZOO
from trustml.backends.contract import Model
from trustml.backends.settings import PrivateSettings
from trustml.models.weights import initial_weights
from trustml.scenario.optimizers import SGD

_MOST = 7
"""Others in a batch: these networks are large, and what an example adds does not hang on how many others there are."""


def why_not(backend: str, mode: str, network: Network) -> str:
    """Why a backend refuses a way for a network, in its own words."""
    if backend == "jax":
        return ""  # it has one way
    start = initial_weights(network.architecture, network.input_shape, generator=np.random.default_rng(0))
    model = Model(architecture=network.architecture, input_shape=network.input_shape, weights=start, task=network.task)
    clipping = importlib.import_module(f"trustml.backends.{backend}.clipping")
    settings = PrivateSettings(optimizer=SGD(learning_rate=0.1), expected_batch_size=network.block, noise_seed=(0,))
    _, refused = clipping.possible_modes(*((model, settings) if backend == "torch" else (model,)))
    return refused.get(mode, "")


def worst_move(network: Network, clipped_sum: ClippedSum, *, trials: int, seconds: float) -> tuple[Move, int]:
    """Try as many examples as there is time for, the second half of them near the worst so far; and how many it was."""
    generator, end = np.random.default_rng(0), time.process_time() + seconds
    worst = try_one(network, _small(draw_trial(generator)), clipped_sum)
    done = 1
    while done < trials and time.process_time() < end:
        trial = draw_trial(generator) if done < trials // 2 else mutated(worst.trial, generator)
        worst = max(worst, try_one(network, _small(trial), clipped_sum), key=excess)
        done += 1
    return worst, done


def _small(trial: Trial) -> Trial:
    return replace(trial, batch=min(trial.batch, _MOST))


def main(backend: str, mode: str, trials: int, seconds: float, limit: int, names: Sequence[str]) -> None:
    importlib.import_module(f"trustml.backends.{backend}.dp")
    if backend == "tensorflow":
        force_tensorflow(mode)
    for name in names or ZOO:
        network = ZOO[name]
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + limit, resource.RLIM_INFINITY))
        told: dict[str, object] = {"network": name, "refused": why_not(backend, mode, network)}
        if not told["refused"]:
            begun = time.process_time()
            move, done = worst_move(network, make_sum(backend, mode)(network), trials=trials, seconds=seconds)
            told |= {"moved": move.moved, "allowed": move.allowed, "trials": done, "passes": move.passes}
            told["seconds"] = round(time.process_time() - begun, 1)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]), sys.argv[6:])
