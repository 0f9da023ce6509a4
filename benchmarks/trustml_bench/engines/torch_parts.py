"""Parts of steps and of integrated gradients in PyTorch: ``python -m trustml_bench.engines.torch_parts TURNS``.

Operators by PyTorch's profiler; phases of book-keeping by a clock around them; memory by what Linux says was resident,
and by what tensors hold.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psutil
import torch

from trustml.backends.settings import PrivateSettings
from trustml.backends.table import load_backend
from trustml.backends.torch import book_keeping as _book_keeping
from trustml.backends.torch.dp import OpacusTrainer
from trustml.scenario.optimizers import SGD
from trustml_bench.engine import Unit
from trustml_bench.engines import captum_attributions, own, torch_plain
from trustml_bench.parts import Part
from trustml_bench.serve import forget_high_water, high_water
from trustml_bench.workloads import (
    CLIPPING_NORM,
    LEARNING_RATE,
    NOISE_MULTIPLIER,
    Workload,
    make_model,
    make_own_batch,
)

SIZE, MEBIBYTE = 64, 2**20
book_keeping: Any = _book_keeping  # whose functions are timed by others in their place
Seconds = dict[str, float]
_OPERATORS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("lengths of gradients", ("vector_norm",)),
    ("noise", ("normal_", "random_")),
    ("norm layers", ("group_norm", "layer_norm")),
    ("attention", ("softmax", "attention")),
    ("matrix products", ("addmm", "bmm", "::mm", "linear", "matmul", "einsum", "::mv", "::dot")),
    ("copies and layouts", ("copy", "clone", "contiguous", "::cat", "stack", "unfold", "_pad", "repeat", "empty")),
    ("tables", ("embedding", "index", "scatter", "gather", "argmax")),
)
"""Kinds, and what names of operators hold; the first that fits counts."""


def main(arguments: list[str]) -> None:
    """Print the parts as JSON; after ``memory``, what a work of a network holds."""
    load_backend("torch").open_device("cpu", 0)
    if arguments[0] == "memory":
        sys.stdout.buffer.write(msgspec.json.encode(own_memory(*arguments[1:])))
        return
    (turns,) = map(int, arguments)
    parts: list[Part] = []
    for network in ("resnet20", "encoder"):
        parts += [*step_memory(network), *steps(network, turns)]
    parts += attributions(turns)
    sys.stdout.buffer.write(msgspec.json.encode(parts))


def steps(network: str, turns: int) -> list[Part]:
    """Operators of plain steps, the best of PyTorch's and ours, and of a private one; and phases of the last."""
    plain = Workload(kind="plain_step", network=network, size=SIZE)
    trainer, private = private_step(network, mode="book_keeping")
    units: dict[str, Unit] = {
        "PyTorch's plain step": torch_plain.plain_step(plain),
        "our plain step": own.plain_step("torch", plain),
        "our private step": private,
    }
    found = _of_turns(network, units, turns, operators)
    return found + _of_turns(
        network, {"phases of our private step": private}, turns, lambda unit: phases(unit, trainer)
    )


def attributions(turns: int) -> list[Part]:
    """Operators of integrated gradients of large images, 6 steps of them, and what they hold."""
    workload = Workload(kind="integrated_gradients", network="resnet18_224", size=4)
    engines: tuple[Any, ...] = (captum_attributions, own)
    for engine in engines:
        engine.IG_STEPS = 6
    units: dict[str, Unit] = {
        "Captum in batches of 8, 6 steps": captum_attributions.integrated_gradients_8(workload),
        "ours, 6 steps": own.explanation("torch", workload),
    }
    held: list[Part] = []
    for work, unit in units.items():
        forget_high_water()
        before, saved = high_water(), saved_bytes(unit)
        values = {
            "resident beyond what was there": high_water() - before,
            "kept for backward passes, most at once": saved,
            "weights": sum(array.nbytes for array in make_model(workload).weights.values()),
        }
        held += _memory("resnet18_224", work, values)
    return held + _of_turns("resnet18_224", units, turns, operators)


def private_step(network: str, *, mode: Any) -> tuple[OpacusTrainer, Unit]:
    """A private trainer, and its step."""
    settings = PrivateSettings(
        optimizer=SGD(learning_rate=LEARNING_RATE),
        expected_batch_size=SIZE,
        noise_seed=own.NOISE_SEED,
        grad_sample_mode=mode,
    )
    workload = Workload(kind="private_step", network=network, size=SIZE)
    trainer = load_backend("torch").private(make_model(workload), settings, 0)
    assert isinstance(trainer, OpacusTrainer)
    inputs, labels = make_own_batch(workload)
    copies = inputs[:, None]

    def step() -> None:
        trainer.accumulate(copies, labels, clipping_norm=CLIPPING_NORM)
        trainer.update(clipping_norm=CLIPPING_NORM, noise_multiplier=NOISE_MULTIPLIER, learning_rate=LEARNING_RATE)

    return trainer, step


def operators(unit: Unit) -> Seconds:
    """Seconds of one call by kinds of operators, and of the whole."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        unit()
        whole = time.perf_counter() - start
    found: Seconds = defaultdict(float, {"whole": whole})
    for event in profiler.key_averages():
        if event.key.startswith("aten::"):
            found[operator_kind(event.key)] += event.self_cpu_time_total / 1e6
    found["Python, dispatch and waiting"] = whole - sum(seconds for name, seconds in found.items() if name != "whole")
    return found


def operator_kind(name: str) -> str:
    """Kind of an operator by its name."""
    if "conv" in name:
        return "convolutions, backward" if "backward" in name else "convolutions, forward"
    return next((kind for kind, words in _OPERATORS if any(word in name for word in words)), "element by element")


def phases(step: Unit, trainer: OpacusTrainer) -> Seconds:
    """Seconds of one step by phases of book-keeping, and kinds of layers."""
    found: Seconds = defaultdict(float)
    update = trainer.update

    def timed_update(*, clipping_norm: float, noise_multiplier: float, learning_rate: float) -> None:
        start = time.perf_counter()
        update(clipping_norm=clipping_norm, noise_multiplier=noise_multiplier, learning_rate=learning_rate)
        found["noise, division and step"] += time.perf_counter() - start

    trainer.update = timed_update  # type: ignore[method-assign]
    try:
        with _by_kind(found):
            whole = _seconds(step)
    finally:
        del trainer.update
    found["forward pass, loss and the rest"] = whole - sum(found.values())
    return {"whole": whole, **found}


def step_memory(network: str) -> list[Part]:
    """What is resident most and what tensors hold, each piece of work in a process of its own."""
    parts: list[Part] = []
    for work in STEPS:
        command = [sys.executable, "-W", "ignore", "-m", "trustml_bench.engines.torch_parts", "memory", network, work]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        parts += _memory(network, work, msgspec.json.decode(done.stdout, type=dict[str, int]))
    return parts


def own_memory(network: str, work: str) -> dict[str, int]:
    """Bytes of one piece of work in this process, which has done nothing else."""
    forget_high_water()
    before = psutil.Process().memory_info().rss
    unit = STEPS[work](network)
    made = high_water() - before
    for _ in range(3):
        unit()
    resident = high_water() - before
    written: list[int] = []
    with _written_bytes(written):
        saved = saved_bytes(unit)
    return {
        "resident most, its trainer made": made,
        "resident most, with steps": resident,
        "kept for the backward pass, most at once": saved,
        "gradients of examples, most at once": max(written, default=0),
        "weights": sum(array.nbytes for array in make_model(_plain(network)).weights.values()),
    }


def saved_bytes(unit: Unit) -> int:
    """Bytes of storages that autograd keeps for backward passes, most at once."""
    counts: dict[int, int] = defaultdict(int)
    held = most = 0

    class Kept:
        def __init__(self, tensor: torch.Tensor) -> None:
            nonlocal held, most
            storage = tensor.untyped_storage()
            self.tensor, self.place, self.size = tensor, storage.data_ptr(), storage.nbytes()
            held += 0 if counts[self.place] else self.size
            counts[self.place] += 1
            most = max(most, held)

        def __del__(self) -> None:
            nonlocal held
            counts[self.place] -= 1
            held -= 0 if counts[self.place] else self.size

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        unit()
    return most


def _plain(network: str) -> Workload:
    return Workload(kind="plain_step", network=network, size=SIZE)


STEPS: dict[str, Callable[[str], Unit]] = {
    "plain step": lambda network: own.plain_step("torch", _plain(network)),
    "private step by book-keeping": lambda network: private_step(network, mode="book_keeping")[1],
    "private step, its engine chosen": lambda network: private_step(network, mode="auto")[1],
}


def _memory(network: str, work: str, values: dict[str, int]) -> list[Part]:
    return [
        Part(network=network, work=work, name=name, unit="MiB", values=(size / MEBIBYTE,))
        for name, size in values.items()
    ]


def _of_turns(network: str, units: dict[str, Unit], turns: int, measure: Callable[[Unit], Seconds]) -> list[Part]:
    """Parts of several pieces of work that take turns, after one call of each."""
    found: dict[str, dict[str, list[float]]] = {work: defaultdict(list) for work in units}
    for unit in units.values():
        unit()
    for _ in range(turns):
        for work, unit in units.items():
            for name, seconds in measure(unit).items():
                found[work][name].append(1e3 * seconds)
    return [
        Part(network=network, work=work, name=name, unit="ms", values=tuple(values), whole=name == "whole")
        for work, parts in found.items()
        for name, values in sorted(parts.items(), key=lambda one: -sum(one[1]))
    ]


def _seconds(call: Unit) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@contextmanager
def _patched(gradients: Callable[..., Any], grad: Callable[..., Any] | None = None) -> Iterator[None]:
    """Put others in place of what book-keeping calls for gradients of a layer, and for the backward pass."""
    real = book_keeping.layer_gradients, torch.autograd.grad
    book_keeping.layer_gradients = gradients
    torch.autograd.grad = grad or real[1]
    try:
        yield
    finally:
        book_keeping.layer_gradients, torch.autograd.grad = real


@contextmanager
def _by_kind(kinds: Seconds) -> Iterator[None]:
    """Add up the seconds of book-keeping by kind of layer, and those of the backward pass."""
    real, real_grad = book_keeping.layer_gradients, torch.autograd.grad

    def gradients(layer: Any, inputs: torch.Tensor, outputs: torch.Tensor, *, copies: int) -> Any:
        start = time.perf_counter()
        made = real(layer, inputs, outputs, copies=copies)
        name = type(layer).__name__
        kinds[f"gradients of each example, {name}"] += time.perf_counter() - start
        return _Timed(made, name, kinds)

    def grad(loss: torch.Tensor, values: list[torch.Tensor]) -> Any:
        start = time.perf_counter()
        made = real_grad(loss, values)
        kinds["backward pass"] += time.perf_counter() - start
        return made

    with _patched(gradients, grad):
        yield


@contextmanager
def _written_bytes(written: list[int]) -> Iterator[None]:
    """Note how many bytes of written gradients lie beside each other in each block."""
    real, real_grad = book_keeping.layer_gradients, torch.autograd.grad

    def gradients(layer: Any, inputs: torch.Tensor, outputs: torch.Tensor, *, copies: int) -> Any:
        made = real(layer, inputs, outputs, copies=copies)
        each = getattr(made, "_each", [])
        written[-1] += sum(part.nbytes for part in ([each] if isinstance(each, torch.Tensor) else each))
        return made

    def grad(loss: torch.Tensor, values: list[torch.Tensor]) -> Any:
        written.append(0)
        return real_grad(loss, values)

    with _patched(gradients, grad):
        yield


class _Timed:
    """Gradients of a layer whose lengths and sums are timed."""

    def __init__(self, gradients: Any, name: str, kinds: Seconds) -> None:
        self._gradients, self._name, self._kinds = gradients, name, kinds

    def square_norms(self) -> Any:
        return self._call("lengths", self._gradients.square_norms)

    def weighted_sums(self, scales: Any) -> Any:
        return self._call("clipped sums", lambda: self._gradients.weighted_sums(scales))

    def _call(self, what: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        found = call()
        self._kinds[f"{what}, {self._name}"] += time.perf_counter() - start
        return found


if __name__ == "__main__":
    main(sys.argv[1:])
