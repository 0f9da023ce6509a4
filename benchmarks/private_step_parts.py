"""What a private step in JAX is made of, beside the best plain step: why some bars of its speed are not met.

``python benchmarks/private_step_parts.py``. Parts take turns in one process. *In a step* they are timed as a step
calls them, one after the other; *alone* again and again, with everything in the cache. Noise is a normal number for
every weight, whatever the size of the batch. Writes ``benchmarks/results/private_step_parts.md``.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

from trustml.backends.jax.dp import DPTrainer
from trustml.backends.jax.noise import noise_key, standard_noise
from trustml.backends.settings import PrivateSettings
from trustml.scenario.optimizers import SGD
from trustml_bench.engines import jax_plain, own
from trustml_bench.workloads import CLIPPING_NORM, LEARNING_RATE, Workload, make_batch, make_model

RESULT = Path(__file__).resolve().parent / "results" / "private_step_parts.md"
TURNS, SECONDS = 15, 0.1
CASES = (("mlp", 256), ("mlp", 1024), ("cnn", 256), ("cnn", 1024))


def main() -> None:
    """Time every case and write the table."""
    lines = ["| network, batch | part | ms | quartiles | of the best plain step |", "|---|---|---|---|---|"]
    for network, size in CASES:
        found = timed(network, size)
        middle = {name: 1e3 * float(np.median(seconds)) for name, seconds in found.items()}
        best = min(milliseconds for name, milliseconds in middle.items() if name.startswith("plain"))
        for name, seconds in found.items():
            low, high = 1e3 * np.quantile(seconds, [0.25, 0.75])
            share = middle[name] / best
            lines.append(f"| {network}, {size} | {name} | {middle[name]:.2f} | {low:.2f}-{high:.2f} | {share:.2f} |")
        print(network, size, {name: round(milliseconds, 2) for name, milliseconds in middle.items()}, flush=True)
    malloc = ", ".join(f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("MALLOC_"))
    head = (
        "# Parts of a private step in JAX\n\nMade by `benchmarks/private_step_parts.py`: medians and quartiles of "
        f"calls, {TURNS} turns. jax {version('jax')}, {os.cpu_count()} cores; {malloc or 'allocator of glibc'}.\n"
    )
    RESULT.write_text("\n".join([head, *lines, ""]))


def timed(network: str, size: int) -> dict[str, list[float]]:
    """Seconds of every call of every part."""
    found: dict[str, list[float]] = defaultdict(list)
    rounds = calls_of(network, size)
    for turn in range(TURNS + 1):
        for calls in rounds:
            end = time.perf_counter() + SECONDS
            while time.perf_counter() < end:
                for name, call in calls.items():
                    start = time.perf_counter()
                    call()
                    if turn:  # the first compiles
                        found[name].append(time.perf_counter() - start)
    return found


def calls_of(network: str, size: int) -> list[dict[str, Callable[[], object]]]:
    """Calls that belong together, by name."""
    plain, private = (Workload(kind=kind, network=network, size=size) for kind in ("plain_step", "private_step"))
    model, (inputs, labels) = make_model(private), make_batch(private)
    copies = inputs[:, None]
    settings = PrivateSettings(optimizer=SGD(), expected_batch_size=size, noise_seed=(1, 2, 3, 4))
    trainer, other = (DPTrainer(model, settings=settings, dropout_seed=0) for _ in range(2))
    draw, key = jax.jit(lambda key: standard_noise(key, like=model.weights)), noise_key((1, 2, 3, 4))

    def clip(trainer: DPTrainer) -> None:
        trainer._sums = []  # so that nothing is added up
        trainer.accumulate(copies, labels, clipping_norm=CLIPPING_NORM)

    def update() -> None:
        trainer.update(clipping_norm=CLIPPING_NORM, noise_multiplier=1.0, learning_rate=LEARNING_RATE)

    whole = own.private_step("jax", private)
    return [
        {"plain step, best of JAX as its users write it": jax_plain.plain_step(plain)},
        {"plain step, trustml": own.plain_step("jax", plain)},
        {"private step, whole": whole},
        {"clipped sum, in a step": lambda: clip(trainer), "noise and update, in a step": update},
        {"clipped sum, alone": lambda: clip(other)},
        {"noise, alone": lambda: jax.block_until_ready(draw(key))},
    ]


if __name__ == "__main__":
    main()
