"""Shadow models in PyTorch: one after another, with a loader or without, and side by side under ``torch.func.vmap``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from trustml.backends.contract import Model
from trustml_bench.engine import Work, device
from trustml_bench.engines.fastest import fastest
from trustml_bench.engines.shadow_models import Shadows, make_shadows
from trustml_bench.engines.torch_network import build
from trustml_bench.workloads import LEARNING_RATE, NETWORKS, Workload

_TRIED = 45
"""Steps in which ways are tried."""


def eager(workload: Workload) -> Work:
    """The smallest loop: tensors made once, batches as slices; threads and implementation of SGD by trial."""
    whole = make_shadows(workload)
    few = replace(whole, models=replace(whole.models, rows=whole.models.rows[:1, :_TRIED]))

    def work(made: Shadows, threads: int, foreach: bool | None, fused: bool) -> Work:
        inputs, labels = torch.from_numpy(made.inputs), torch.from_numpy(made.labels)
        indices = [[torch.from_numpy(row[row >= 0].astype(np.int64)) for row in model] for model in made.models.rows]

        def batches(number: int) -> Iterator[tuple[Tensor, Tensor]]:
            return ((inputs[chosen], labels[chosen]) for chosen in indices[number])

        def optimizer(module: nn.Module) -> torch.optim.Optimizer:
            return torch.optim.SGD(module.parameters(), LEARNING_RATE, foreach=foreach, fused=fused or None)

        return _one_after_another(workload, made, batches, optimizer, threads=threads)

    choices = {
        f"{threads} threads, {name}": (threads, foreach, fused)
        for threads in sorted({1, torch.get_num_threads()})
        for name, foreach, fused in (("default", None, False), ("fused", None, True), ("for loop", False, False))
    }
    best = fastest({name: partial(work, few, *choice) for name, choice in choices.items()}).note
    return replace(work(whole, *choices[best]), note=best)


def with_loader(workload: Workload) -> Work:
    """With a ``DataLoader`` over a ``TensorDataset`` for each model, as tutorials have it."""
    made = make_shadows(workload)
    data = TensorDataset(torch.from_numpy(made.inputs), torch.from_numpy(made.labels))
    rows = [[row[row >= 0].tolist() for row in model] for model in made.models.rows]

    def optimizer(module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(module.parameters(), LEARNING_RATE)

    return _one_after_another(
        workload,
        made,
        lambda number: iter(DataLoader(data, batch_sampler=rows[number])),
        optimizer,
        threads=torch.get_num_threads(),
    )


def side_by_side(workload: Workload) -> Work:
    """All models in every step, by ``torch.func``: gradients by ``vmap(grad)``, batches filled up and masked."""
    made = make_shadows(workload)
    inputs, labels = (torch.from_numpy(part).to(device()) for part in (made.inputs, made.labels))
    architecture, shape, _ = NETWORKS[workload.network]
    modules = [build(_start(workload, made, number)) for number in range(len(made.models))]
    skeleton = build(Model(architecture=architecture, input_shape=shape, weights={})).to("meta")
    starts = {
        name: torch.stack([module.get_parameter(name).detach() for module in modules]).to(device())
        for name, _ in skeleton.named_parameters()
    }
    steps = torch.from_numpy(made.models.rows.astype(np.int64)).transpose(0, 1).contiguous().to(device())

    def loss(params: dict[str, Tensor], x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        losses = cross_entropy(functional_call(skeleton, params, (x,)), y, reduction="none")
        return (losses * mask).sum() / mask.sum()

    gradients = vmap(grad(loss))
    found: list[Tensor] = []

    def unit() -> None:
        params = dict(starts)
        for chosen in steps:
            rows = chosen.clamp(min=0)
            gradient = gradients(params, inputs[rows], labels[rows], (chosen >= 0).float())
            params = {name: value - LEARNING_RATE * gradient[name] for name, value in params.items()}
        with torch.no_grad():
            found[:] = [vmap(lambda held: functional_call(skeleton, held, (inputs,)))(params)]

    return Work(unit=unit, outcome=lambda: {"logits": found[0].cpu().numpy()})


def _one_after_another(
    workload: Workload,
    made: Shadows,
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]],
    optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    *,
    threads: int,
) -> Work:
    inputs = torch.from_numpy(made.inputs)
    found: list[Tensor] = []

    def train(number: int) -> Tensor:
        module = build(_start(workload, made, number))
        steps = optimizer(module)
        for x, y in batches(number):
            steps.zero_grad()
            cross_entropy(module(x), y).backward()
            steps.step()
        with torch.no_grad():
            return module(inputs)

    def unit() -> None:
        torch.set_num_threads(threads)
        found[:] = [train(number) for number in range(len(made.models))]

    return Work(unit=unit, outcome=lambda: {"logits": torch.stack(found).numpy()})


def _start(workload: Workload, made: Shadows, number: int) -> Model:
    architecture, shape, _ = NETWORKS[workload.network]
    weights = {name: array[number] for name, array in made.models.weights.items()}
    return Model(architecture=architecture, input_shape=shape, weights=weights)
