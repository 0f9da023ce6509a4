"""What a private step of a network of real size is made of, in PyTorch and in JAX: why some bars are not met.

``python benchmarks/large_step_parts.py``. Parts take turns in one process for each framework. In PyTorch the clipped
sum is taken apart by kinds of layers: what writes out the gradients of the examples, takes their norms and adds them
up. Writes ``benchmarks/results/large_step_parts.md``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from trustml.backends.settings import PrivateSettings
from trustml.backends.table import load_backend
from trustml.scenario.optimizers import SGD
from trustml.scenario.spec import BackendName
from trustml_bench.engines import own
from trustml_bench.workloads import CLIPPING_NORM, LEARNING_RATE, Workload, WorkloadKind, make_model, make_own_batch

RESULT = Path(__file__).resolve().parent / "results" / "large_step_parts.md"
TURNS, SIZE = 7, 64
KINDS: tuple[WorkloadKind, ...] = ("plain_step", "noise", "private_step")
NETWORKS = ("resnet20", "encoder", "encoder_lora")


def main(arguments: list[str]) -> None:
    """Time both frameworks, each in a process of its own, and write the table."""
    if arguments:
        (backend,) = arguments
        found = {network: timed(backend, network) for network in NETWORKS}
        sys.stdout.buffer.write(msgspec.json.encode(found))
        return
    lines = ["| framework | network | part | ms | quartiles | of our plain step |", "|---|---|---|---|---|---|"]
    for backend in ("torch", "jax"):
        done = subprocess.run([sys.executable, __file__, backend], stdout=subprocess.PIPE, check=True)
        networks = msgspec.json.decode(done.stdout, type=dict[str, dict[str, list[float]]])
        for network, parts in networks.items():
            plain = float(np.median(parts["plain step"]))
            for name, seconds in parts.items():
                low, middle, high = 1e3 * np.quantile(seconds, [0.25, 0.5, 0.75])
                share = middle / plain / 1e3
                lines.append(f"| {backend} | {network} | {name} | {middle:.1f} | {low:.1f}-{high:.1f} | {share:.2f} |")
    head = (
        f"# Parts of a private step of networks of real size\n\nMade by `benchmarks/large_step_parts.py`: medians and "
        f"quartiles of {TURNS} calls, batches of {SIZE}. Parts with a dash belong to the part above them.\n"
    )
    RESULT.write_text("\n".join([head, *lines, ""]))


def timed(backend: BackendName, network: str) -> dict[str, list[float]]:
    """Seconds of every call of every part."""
    plain, noise, private = (Workload(kind=kind, network=network, size=SIZE) for kind in KINDS)
    step, draw = own.plain_step(backend, plain), own.noise(backend, noise)
    loaded = load_backend(backend)
    mode = "book_keeping" if backend == "torch" else "auto"
    settings = PrivateSettings(
        optimizer=SGD(learning_rate=LEARNING_RATE), expected_batch_size=SIZE, noise_seed=(1, 2, 3, 4),
        grad_sample_mode=mode,
    )  # fmt: skip
    trainer = loaded.private(make_model(private), settings, 0)
    inputs, labels = make_own_batch(private)
    copies = inputs[:, None]
    found: dict[str, list[float]] = defaultdict(list)

    def clip() -> None:
        trainer.accumulate(copies, labels, clipping_norm=CLIPPING_NORM)

    def update() -> None:
        trainer.update(clipping_norm=CLIPPING_NORM, noise_multiplier=1.0, learning_rate=LEARNING_RATE)

    for turn in range(TURNS + 2):
        kinds: dict[str, float] = defaultdict(float)
        seconds = {"plain step": _seconds(step), "noise alone": _seconds(draw)}
        with _by_kind(kinds) if backend == "torch" else _nothing():
            seconds["clipped sum"] = _seconds(clip)
        seconds |= {f"- {name}": each for name, each in sorted(kinds.items())}
        seconds["noise and update"] = _seconds(update)
        if turn > 1:  # the first compile, and bring data into the cache
            for name, each in seconds.items():
                found[name].append(each)
    return dict(found)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _by_kind(kinds: dict[str, float]) -> Iterator[None]:
    """Add up the seconds of book-keeping by kind of layer, and those of the two passes."""
    import torch

    from trustml.backends.torch import book_keeping

    real, grad = book_keeping.layer_gradients, torch.autograd.grad

    def gradients(layer: Any, *given: Any, **more: Any) -> Any:
        name = type(layer).__name__
        start = time.perf_counter()
        made = real(layer, *given, **more)
        kinds[f"{name}: gradients of each example"] += time.perf_counter() - start
        return _Timed(made, name, kinds)

    def backward(*given: Any, **more: Any) -> Any:
        start = time.perf_counter()
        made = grad(*given, **more)
        kinds["backward pass"] += time.perf_counter() - start
        return made

    book_keeping.layer_gradients, torch.autograd.grad = gradients, backward
    try:
        yield
    finally:
        book_keeping.layer_gradients, torch.autograd.grad = real, grad


class _Timed:
    """Gradients of a layer whose norms and sums are timed."""

    def __init__(self, gradients: Any, name: str, kinds: dict[str, float]) -> None:
        self._gradients, self._name, self._kinds = gradients, name, kinds

    def square_norms(self) -> Any:
        return self._call("norms", self._gradients.square_norms)

    def weighted_sums(self, scales: Any) -> Any:
        return self._call("sums", lambda: self._gradients.weighted_sums(scales))

    def _call(self, what: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        found = call()
        self._kinds[f"{self._name}: {what}"] += time.perf_counter() - start
        return found


if __name__ == "__main__":
    main(sys.argv[1:])
