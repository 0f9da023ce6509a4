"""Parts of steps and of integrated gradients in JAX: ``python -m trustml_bench.engines.jax_parts TURNS``.

Steps by a clock around calls of compiled programs; memory by what XLA says of these (``memory_analysis``).
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from typing import Any

import jax
import msgspec
import numpy as np

from trustml.attribution.passes import rows_of_pass
from trustml.backends.jax import gradient_methods
from trustml.backends.jax.dp import DPTrainer
from trustml.backends.jax.network import to_params
from trustml.backends.jax.straight_paths import path_points
from trustml.backends.jax.tiling import Share, Tiling, at_most, deal
from trustml.backends.jax.training import PlainTrainer
from trustml.backends.settings import PrivateSettings
from trustml.backends.table import load_backend
from trustml.scenario.methods import IntegratedGradients
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import Plain
from trustml_bench.engine import Unit
from trustml_bench.engines import own
from trustml_bench.parts import Part
from trustml_bench.workloads import (
    CLIPPING_NORM,
    IG_STEPS,
    LEARNING_RATE,
    NOISE_MULTIPLIER,
    Workload,
    make_model,
    make_own_batch,
    trained_numbers,
)

SIZE, MEBIBYTE = 64, 2**20


def main(arguments: list[str]) -> None:
    """Print the parts as JSON."""
    (turns,) = map(int, arguments)
    load_backend("jax").open_device("cpu", 0)
    parts = [part for network in ("resnet20", "encoder") for part in steps(network, turns)]
    parts += [part for network in ("encoder_8k", "encoder_64k") for part in step_memory(network)]
    parts += attribution_memory()
    sys.stdout.buffer.write(msgspec.json.encode(parts))


def steps(network: str, turns: int) -> list[Part]:
    """Plain step as it is and in one call of the whole batch, and private step: their programs one by one."""
    plain, private = plain_trainer(network), private_trainer(network)
    inputs, labels = make_own_batch(Workload(kind="plain_step", network=network, size=SIZE))
    whole_batch = deal(inputs, labels, Tiling(small=SIZE, large=SIZE, shares=1, uniform=True), capacity=SIZE)
    copies, words = inputs[:, None], plain._words

    def gradient(share: Share) -> Any:
        return jax.block_until_ready(plain._gradient(plain._params, share, words, np.int32(0)))

    units: dict[str, dict[str, Unit]] = {
        f"our plain step, tiles of {plain._tiling.small} in {plain._tiling.shares} calls at once": {
            "whole": lambda: plain.step(inputs, labels, learning_rate=LEARNING_RATE),
        },
        "the gradient of a plain step in one call": {
            "whole": lambda: gradient(whole_batch[0]),
        },
        f"our private step, tiles of {private._tiling.small} in {private._tiling.shares} calls at once": {
            "clipped sum": lambda: private.accumulate(copies, labels, clipping_norm=CLIPPING_NORM),
            "noise, division and step": lambda: private.update(
                clipping_norm=CLIPPING_NORM, noise_multiplier=NOISE_MULTIPLIER, learning_rate=LEARNING_RATE
            ),
        },
    }
    found: dict[str, dict[str, list[float]]] = {work: defaultdict(list) for work in units}
    for turn in range(turns + 2):
        for work, parts in units.items():
            seconds = {name: _seconds(unit) for name, unit in parts.items()}
            seconds.setdefault("whole", sum(seconds.values()))
            if turn > 1:  # the first compile
                for name, each in seconds.items():
                    found[work][name].append(1e3 * each)
    return [
        Part(network=network, work=work, name=name, unit="ms", values=tuple(values), whole=name == "whole")
        for work, parts in found.items()
        for name, values in parts.items()
    ]


def step_memory(network: str) -> list[Part]:
    """What the programs of a private step hold."""
    trainer = private_trainer(network)
    workload = Workload(kind="private_step", network=network, size=SIZE)
    inputs, labels = make_own_batch(workload)
    shares = deal(inputs[:, None], labels, trainer._tiling, capacity=trainer._capacity)
    given = trainer._params, shares[0], np.float32(1.0), trainer._dropout_words, np.int32(0)
    clip = trainer._clip.lower(*given).compile().memory_analysis()
    trainer.accumulate(inputs[:, None], labels, clipping_norm=CLIPPING_NORM)
    sums, taken = trainer._sum(), []

    def noted(*given: Any) -> Any:
        taken.append(trainer_update.lower(*given).compile().memory_analysis())
        return trainer_update(*given)

    trainer_update, trainer._update = trainer._update, noted
    trainer.update(clipping_norm=CLIPPING_NORM, noise_multiplier=1.0, learning_rate=LEARNING_RATE)
    (update,) = taken
    values = {
        "weights": 4 * trained_numbers(workload),
        "sum of clipped gradients": sum(part.nbytes for part in jax.tree.leaves(sums)),
        f"a call for a clipped sum: scratch (of {len(shares)} at once)": clip.temp_size_in_bytes,
        "a call for a clipped sum: results": clip.output_size_in_bytes,
        "noise, division and step: scratch": update.temp_size_in_bytes,
        "noise, division and step: results that do not replace weights": max(
            0, update.output_size_in_bytes - update.alias_size_in_bytes
        ),
    }
    return _memory(network, "private step", values)


def attribution_memory() -> list[Part]:
    """What the program of integrated gradients holds, of which each core has a call."""
    workload = Workload(kind="integrated_gradients", network="resnet18_224", size=4)
    model, (inputs, labels) = make_model(workload), make_own_batch(workload)
    rows = rows_of_pass(model.architecture, model.input_shape)
    params = to_params(model.weights)
    given = inputs[:2], labels[:2], np.zeros_like(inputs[:2])
    with at_most(rows):
        program = gradient_methods._program.lower(
            model.architecture, IntegratedGradients(), params, path_points(IG_STEPS), *given
        )
    found = program.compile().memory_analysis()
    values = {
        "weights": sum(array.nbytes for array in model.weights.values()),
        f"a call of {rows} rows: scratch (of 2 at once)": found.temp_size_in_bytes,
        "a call: results": found.output_size_in_bytes,
        "a call: code": found.generated_code_size_in_bytes,
    }
    return _memory("resnet18_224", "integrated gradients", values)


def plain_trainer(network: str) -> PlainTrainer:
    """A plain trainer."""
    model = make_model(Workload(kind="plain_step", network=network, size=SIZE))
    regime = Plain(epochs=1, batch_size=SIZE, optimizer=SGD(learning_rate=LEARNING_RATE))
    return PlainTrainer(model, regime=regime, dropout_seed=0)


def private_trainer(network: str) -> DPTrainer:
    """A private trainer."""
    settings = PrivateSettings(
        optimizer=SGD(learning_rate=LEARNING_RATE), expected_batch_size=SIZE, noise_seed=own.NOISE_SEED
    )
    return DPTrainer(
        make_model(Workload(kind="private_step", network=network, size=SIZE)), settings=settings, dropout_seed=0
    )


def _memory(network: str, work: str, values: dict[str, int]) -> list[Part]:
    return [
        Part(network=network, work=work, name=name, unit="MiB", values=(size / MEBIBYTE,))
        for name, size in values.items()
    ]


def _seconds(call: Unit) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(sys.argv[1:])
