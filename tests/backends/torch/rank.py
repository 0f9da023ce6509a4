"""One of two processes that train privately together: what each holds after a step, as arrays.

``python rank.py RANK STORE OUTPUT``: the two meet through the file STORE.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.distributed import DifferentiallyPrivateDistributedDataParallel as Replicated
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import (
    DistributedDPOptimizer,
    DistributedDPOptimizerFastGradientClipping,
    DPOptimizer,
    DPOptimizerFastGradientClipping,
)
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import Tensor, nn
from torch.nn import functional

PROCESSES = 2
CLIPPING_NORM, NOISE_MULTIPLIER, EXPECTED = 0.5, 3.0, 8
PARTS = {0: slice(0, 5), 1: slice(5, 8)}
"""Which examples each process has: uneven, as after Poisson sampling."""


def make_network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 10))


def make_batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(8, 20, generator=generator), torch.randint(10, (8,), generator=generator)


def private_step(
    module: GradSampleModule, optimizer: DPOptimizer, inputs: Tensor, labels: Tensor, *, size: float
) -> None:
    """One step; the losses are added up, and only Opacus divides."""
    optimizer.expected_batch_size = size
    optimizer.zero_grad(set_to_none=True)
    functional.cross_entropy(module(inputs), labels, reduction="sum").backward()
    optimizer.step()


def ghost_step(
    module: GradSampleModuleFastGradientClipping, optimizer: DPOptimizer, inputs: Tensor, labels: Tensor, *, size: float
) -> None:
    """One step by ghost clipping."""
    optimizer.expected_batch_size = size
    optimizer.zero_grad(set_to_none=True)
    criterion = nn.CrossEntropyLoss(reduction="sum")
    DPLossFastGradientClipping(module, optimizer, criterion, loss_reduction="sum")(module(inputs), labels).backward()
    optimizer.step()


def flat(tensors: list[Tensor]) -> np.ndarray:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).numpy().copy()


def make_pair(network: nn.Module, kind: type, *, noise: float, generator: torch.Generator, ghost: bool) -> tuple:
    """Opacus's wrapper and its optimizer."""
    wrap: Callable = GradSampleModule
    if ghost:
        wrap = GradSampleModuleFastGradientClipping
    extra = {"max_grad_norm": CLIPPING_NORM, "use_ghost_clipping": True} if ghost else {}
    module = wrap(network, loss_reduction="sum", **extra)
    optimizer = kind(
        torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9),
        noise_multiplier=noise,
        max_grad_norm=CLIPPING_NORM,
        expected_batch_size=EXPECTED,
        loss_reduction="sum" if ghost else "mean",
        generator=generator,
    )
    return module, optimizer


class NoiseOnEach(DistributedDPOptimizer):
    """A mistake that the tests must see: every process adds the noise."""

    def add_noise(self) -> None:
        DPOptimizer.add_noise(self)


def alone() -> dict[str, np.ndarray]:
    """What one process makes of the whole batch, without noise."""
    inputs, labels = make_batch()
    found = {}
    for name, kind, step in (
        ("sampled", DPOptimizer, private_step),
        ("ghost", DPOptimizerFastGradientClipping, ghost_step),
    ):
        network = make_network(seed=0)
        module, optimizer = make_pair(network, kind, noise=0.0, generator=torch.Generator(), ghost=name == "ghost")
        step(module, optimizer, inputs, labels, size=EXPECTED)
        found[name] = flat([parameter.grad for parameter in network.parameters()])
    return found


def together(rank: int) -> dict[str, np.ndarray]:
    """What this process holds of the same steps taken by two."""
    inputs, labels = (part[PARTS[rank]] for part in make_batch())
    found: dict[str, np.ndarray] = {}
    for name, kind, step in (
        ("sampled", DistributedDPOptimizer, private_step),
        ("ghost", DistributedDPOptimizerFastGradientClipping, ghost_step),
        ("mistaken", NoiseOnEach, private_step),
    ):
        for noise in (0.0, NOISE_MULTIPLIER):
            network = make_network(seed=rank)  # they start apart; Opacus's wrapper gives all the weights of the first
            generator = torch.Generator().manual_seed(11)  # the same everywhere, the worst case
            before = generator.get_state()
            replicated = Replicated(network)
            module, optimizer = make_pair(replicated, kind, noise=noise, generator=generator, ghost=name == "ghost")
            size = EXPECTED / PROCESSES  # the share of one process, as PrivacyEngine sets it
            step(module, optimizer, inputs, labels, size=size)
            case = f"{name}/{noise:g}"
            found[f"{case}/gradient"] = flat([parameter.grad for parameter in network.parameters()])
            found[f"{case}/drew"] = np.array(not torch.equal(before, generator.get_state()))
            if name == "sampled":  # a part without examples, then one more step
                none = rank == 1
                step(module, optimizer, *((inputs[:0], labels[:0]) if none else (inputs, labels)), size=size)
                step(module, optimizer, inputs, labels, size=size)
            found[f"{case}/weights"] = flat(list(network.parameters()))
    return found


def main(rank: int, store: str, output: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=PROCESSES, timeout=timedelta(seconds=60)
    )
    arrays = together(rank)
    if rank == 0:
        arrays |= {f"alone/{name}": array for name, array in alone().items()}
    torch.distributed.destroy_process_group()
    np.savez(output, **arrays)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
