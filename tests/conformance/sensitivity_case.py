"""Search ways to clip of one backend, in its environment: ``BACKEND MODE[,MODE] SECONDS SEED [FAULT ...]``.

One line for each way is printed, and then one for each fault that is put into the last of them. Each search has a
process of its own, forked where the backend is imported, which takes longer than to find a fault.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict

import numpy as np

from tests import WHOLE
from tests.conformance.known_moves import KNOWN, SHORT
from tests.conformance.sensitivity import ClippedSum, Move, search_sensitivity
from tests.conformance.trials import Network, draw_networks, labels_of, of_task
from tests.conformance.unguarded import FAULTS
from trustml.backends.contract import Model, PrivateTrainer
from trustml.backends.settings import EngineChoice, PrivateSettings
from trustml.backends.table import load_backend
from trustml.data.dataset import Floats, Ints
from trustml.models.layer_types import WITHOUT_EXPANDED_WEIGHTS, WITHOUT_FUNCTORCH
from trustml.models.tasks import DEFAULT_TASK, Binary, Labels, NextToken, Regression, Task
from trustml.models.token_layers import Unembedding
from trustml.models.weights import Weights, initial_weights
from trustml.scenario.optimizers import SGD
from trustml.worker.private import accumulate_finite

SAMPLED = ("hooks", "functorch", "ew")
ASKED: tuple[Task, ...] = (Regression(), DEFAULT_TASK, Labels(), Binary(), Regression(loss="absolute"), NextToken())


def make_sum(backend: str, mode: str) -> object:
    """From a network to the compiled sum of the trainer that users get, in blocks of the network's size."""

    def make(network: Network) -> ClippedSum:
        start = initial_weights(network.architecture, network.input_shape, generator=np.random.default_rng(0))
        model = Model(
            architecture=network.architecture, input_shape=network.input_shape, weights=start, task=network.task
        )
        settings = PrivateSettings(
            optimizer=SGD(learning_rate=0.1),
            expected_batch_size=network.block,
            micro_batch_size=network.block,
            per_layer=network.per_layer,
            multiplicity=network.copies,
            noise_seed=(1, 2, 3, 4),
            grad_sample_mode=mode if backend == "torch" else "auto",
        )
        trainer: PrivateTrainer = load_backend(backend).private(model, settings, 0)
        assert backend == "jax" or trainer.choice.name == mode

        def clipped_sum(weights: Weights, inputs: Floats, labels: Ints, *, clipping_norm: float) -> Weights:
            trainer.restore(weights, trainer.state())
            given = labels_of(network.task, labels)
            for begin in range(0, len(labels), network.block):
                part = slice(begin, begin + network.block)
                accumulate_finite(trainer, inputs[part], given[part], clipping_norm=clipping_norm)
            found = {name: part.copy() for name, part in trainer.clipped_sum().items()}
            trainer.update(clipping_norm=clipping_norm, noise_multiplier=0.0, learning_rate=0.0)  # forgets the sum
            return found

        return clipped_sum

    return make


WITHOUT = {"ew": WITHOUT_EXPANDED_WEIGHTS, "functorch": WITHOUT_FUNCTORCH}
"""Layers that these ways of Opacus are refused for."""


def suitable_networks(seed: int, *, mode: str, single: bool) -> Iterator[Network]:
    """Networks that a way can clip, or of one row for each example.

    They are asked for everything in turn, but where a search is for a fault: that of classes is known to show it.
    """
    turns = itertools.repeat(DEFAULT_TASK) if single else itertools.cycle(ASKED)
    for network in draw_networks(np.random.default_rng(seed)):
        refused = any(isinstance(node.layer, WITHOUT.get(mode, ())) for node in network.architecture.nodes)
        refused |= mode in SAMPLED and any(isinstance(node.layer, Unembedding) for node in network.architecture.nodes)
        if not refused and not (single and network.copies > 1):
            yield of_task(network, next(turns))


def force_tensorflow(mode: str) -> None:
    from trustml.backends.tensorflow import dp

    dp.choose_mode = lambda *_: EngineChoice(name=mode, seconds={}, refused={})


class FoundError(Exception):
    """Ends the search for a fault that is there: its first move too far."""

    def __init__(self, move: Move) -> None:
        self.move = move


def search(backend: str, mode: str, *, seconds: float, seed: int, broken: bool) -> dict[str, object]:
    """What the search of one way came to; where it is broken, it ends with the first move too far."""
    if backend == "tensorflow":
        force_tensorflow(mode)

    def tell(move: Move) -> None:
        print(f"{mode}: {move.moved:.7f} of {move.allowed:.7f}", file=sys.stderr, flush=True)
        if broken and not move.passes:
            raise FoundError(move)

    short = SHORT if backend == "torch" else SHORT[:1]
    known = () if mode == "ew" else KNOWN if WHOLE else short
    drawn = suitable_networks(seed, mode=mode, single=broken)
    try:
        found = search_sensitivity(
            make_sum(backend, mode),
            seconds=seconds,
            seed=seed,
            known=known,
            networks=drawn if WHOLE or not known else iter(()),  # in short the draws would always be the same few
            tell=tell,
        )
        worst, trials = found.worst, found.trials
    except FoundError as error:
        worst, trials = error.move, 0
    return {
        "moved": worst.moved,
        "allowed": worst.allowed,
        "trials": trials,
        "network": repr(worst.network),
        "trial": asdict(worst.trial),
    }


def search_broken(backend: str, mode: str, fault: str, *, seed: int) -> dict[str, object]:
    """What the search of a way with one of its guards taken out came to."""
    FAULTS[fault]()
    return search(backend, mode, seconds=0.1, seed=seed, broken=True)


def print_of_child(work: Callable[[], object]) -> None:
    """Print what comes of it in a fork, with which all that it changed is gone."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            print(json.dumps(work()), flush=True)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        sys.exit("a search failed")


if __name__ == "__main__":
    name, ways, length, start = sys.argv[1], sys.argv[2].split(","), float(sys.argv[3]), int(sys.argv[4])
    warnings.simplefilter("ignore")
    importlib.import_module(f"trustml.backends.{name}.dp")
    if name == "tensorflow":  # where this is forked, it was told to optimise nothing
        sys.modules[name].config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    for way in ways:
        print_of_child(lambda way=way: search(name, way, seconds=length, seed=start, broken=False))
    for one in sys.argv[5:]:
        print_of_child(lambda one=one: search_broken(name, ways[-1], one, seed=start))
