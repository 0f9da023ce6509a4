"""PyTorch without privacy or explanations: the floors. Every way that might be the fastest is tried."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trustml.backends.torch.noise import noise_words, standard_normal
from trustml.models.weights import Weights
from trustml_bench.engine import Unit, Work, device
from trustml_bench.engines.fastest import fastest
from trustml_bench.engines.torch_network import batch, like_input, settle, start, tensors, weights_of
from trustml_bench.workloads import IG_STEPS, LEARNING_RATE, Workload, make_clients, patch_count

Way = Callable[[], Work]


def plain_step(workload: Workload) -> Work:
    """A step of SGD: all threads or one, the optimizer's loop fused or not, images channels-first or -last."""
    layouts = ("channels first", "channels last") if workload.network.endswith("cnn") else ("",)
    ways: dict[str, Way] = {}
    for layout in layouts:
        for threads in _thread_counts():
            for fused in (False, True):
                name = ", ".join(part for part in (layout, f"{threads} threads", "fused" if fused else "") if part)
                ways[name] = _step_way(workload, layout=layout, threads=threads, fused=fused)
    return fastest(ways, wait=settle)


def noisy_step(workload: Workload) -> Work:
    """A plain step, and a normal number for every weight by PyTorch's own draw: the least of a private step."""
    step = plain_step(workload)
    count = sum(parameter.numel() for parameter in start(workload).parameters())

    def unit() -> None:
        step()
        torch.randn(count, device=device())

    return Work(unit=unit, outcome=step.outcome, note=step.note)


def own_noise(weights: Weights) -> Unit:
    """As many numbers as there are weights, drawn as trustml's private trainer draws them."""
    where = torch.device(device())
    generator = noise_words((1, 2, 3, 4), where)
    count = sum(array.size for array in weights.values())
    return lambda: standard_normal(count, generator=generator, device=where)


def compiled_step(workload: Workload) -> Work:
    """A step whose network and loss went through ``torch.compile``."""
    module, (inputs, labels) = start(workload), batch(workload)
    compiled = torch.compile(lambda x, y: cross_entropy(module(x), y))
    step = _step(module, lambda: compiled(inputs, labels), fused=False)
    return Work(unit=step, outcome=lambda: weights_of(module, workload))


def input_gradients(workload: Workload) -> Work:
    """As many forward and backward passes of the whole batch as integrated gradients have steps."""
    module, (inputs, labels) = start(workload).requires_grad_(False), batch(workload)
    found: list[Tensor] = []

    def passes(threads: int) -> Way:
        def unit() -> None:
            torch.set_num_threads(threads)
            for _ in range(IG_STEPS):
                leaf = inputs.detach().requires_grad_()
                chosen = module(leaf).gather(1, labels[:, None]).sum()
                found[:] = torch.autograd.grad(chosen, leaf)

        return lambda: Work(unit=unit, outcome=lambda: {"gradients": like_input(found[0])})

    return fastest({f"{threads} threads": passes(threads) for threads in _thread_counts()}, wait=settle)


def forward_passes(workload: Workload) -> Work:
    """As many forward passes of the whole batch as occlusion has patches, and one."""
    module, (inputs, _) = start(workload), batch(workload)
    count = patch_count(workload) + 1
    found: list[Tensor] = []

    def passes(threads: int) -> Way:
        def unit() -> None:
            torch.set_num_threads(threads)
            with torch.inference_mode():
                for _ in range(count):
                    found[:] = [module(inputs)]

        return lambda: Work(unit=unit, outcome=lambda: {"logits": found[0].cpu().numpy()})

    return fastest({f"{threads} threads": passes(threads) for threads in _thread_counts()}, wait=settle)


def epoch(workload: Workload) -> Work:
    """One centralised epoch over the examples of all clients of a round, in the same batches."""
    batches = [tensors(inputs, labels) for client in make_clients(workload) for inputs, labels in client]

    def way(*, threads: int, fused: bool) -> Way:
        def made() -> Work:
            module = start(workload)
            optimizer = torch.optim.SGD(module.parameters(), LEARNING_RATE, fused=fused)

            def unit() -> None:
                torch.set_num_threads(threads)
                for inputs, labels in batches:
                    optimizer.zero_grad()
                    cross_entropy(module(inputs), labels).backward()
                    optimizer.step()

            return Work(unit=unit, outcome=lambda: weights_of(module, workload))

        return made

    return fastest(
        {
            f"{threads} threads{', fused' if fused else ''}": way(threads=threads, fused=fused)
            for threads in _thread_counts()
            for fused in (False, True)
        },
        wait=settle,
    )


def _thread_counts() -> list[int]:
    count = torch.get_num_threads()
    return sorted({1, count}) if device() == "cpu" else [count]


def _step_way(workload: Workload, *, layout: str, threads: int, fused: bool) -> Way:
    def made() -> Work:
        module, (inputs, labels) = start(workload), batch(workload)
        if layout == "channels last":
            module = module.to(memory_format=torch.channels_last)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        step = _step(module, lambda: cross_entropy(module(inputs), labels), fused=fused)

        def unit() -> None:
            torch.set_num_threads(threads)
            step()

        return Work(unit=unit, outcome=lambda: weights_of(module, workload))

    return made


def _step(module: nn.Module, loss: Callable[[], Tensor], *, fused: bool) -> Callable[[], None]:
    optimizer = torch.optim.SGD(module.parameters(), LEARNING_RATE, fused=fused)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step
