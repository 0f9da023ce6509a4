"""Search every network of the zoo for an example that moves a clipped sum too far: ``BACKEND MODE TRIALS [NAME ...]``.

In the environment of the backend. One line of JSON for each network, with what keeps a way from clipping it.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tests.conformance.sensitivity import Move, try_one
from tests.conformance.sensitivity_case import SAMPLED, WITHOUT, force_tensorflow, make_sum
from tests.conformance.trials import Network, draw_trial, mutated
from tests.conformance.zoo_networks import ZOO
from trustml.models.token_layers import Unembedding

_MOST = 7
"""Others in a batch: these networks are large, and what an example adds does not hang on how many others there are."""


def why_not(network: Network, mode: str) -> str:
    """Why a way cannot clip a network."""
    layers = {type(node.layer) for node in network.architecture.nodes}
    unfit = {layer for layer in layers if issubclass(layer, WITHOUT.get(mode, ()))}
    unfit |= {layer for layer in layers if mode in SAMPLED and issubclass(layer, Unembedding)}
    return ", ".join(sorted(layer.__name__ for layer in unfit))


def worst_move(backend: str, mode: str, network: Network, *, trials: int) -> Move:
    """Try as many examples, the second half of them near the worst so far."""
    generator, clipped_sum = np.random.default_rng(0), make_sum(backend, mode)(network)
    worst: Move | None = None
    for turn in range(trials):
        fresh = worst is None or turn < trials // 2
        trial = draw_trial(generator) if fresh else mutated(worst.trial, generator)
        move = try_one(network, replace(trial, batch=min(trial.batch, _MOST)), clipped_sum)
        if worst is None or not move.moved - move.allowed <= worst.moved - worst.allowed:
            worst = move
    assert worst is not None
    return worst


def main(backend: str, mode: str, trials: int, names: Sequence[str]) -> None:
    importlib.import_module(f"trustml.backends.{backend}.dp")
    if backend == "tensorflow":
        force_tensorflow(mode)
    for name in names or ZOO:
        told: dict[str, object] = {"network": name, "mode": mode, "refused": why_not(ZOO[name], mode)}
        if not told["refused"]:
            begun = time.process_time()
            move = worst_move(backend, mode, ZOO[name], trials=trials)
            told |= {"moved": move.moved, "allowed": move.allowed, "trials": trials, "passes": move.passes}
            told["seconds"] = round(time.process_time() - begun, 1)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
