"""Gaussian noise with both tails, on any device.

``torch.normal`` in float32 makes a radius of 24 bits, so that no number lies beyond 5.77, and in float64 one of 53, for
8.57. Here it is Box and Muller's transform still, with a radius of 63 bits, and 63 more for the one that needs them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from trustml.privacy.noise_strategy import NoiseStrategy

_PARTS = 2.0**-63
_AT_ONCE = 1 << 16
"""Numbers of a tile on a processor: what is in between stays in its cache, and needs no new pages."""


def standard_normal(size: int, *, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Draw independent standard normal numbers, float32 of shape (size,).

    Parameters
    ----------
    size : int
        Fewer than 2**32.
    generator : Generator, optional
        Of that device; None takes PyTorch's global one.
    device : device
    """
    assert size < 2**32
    at_once = _AT_ONCE if device.type == "cpu" else size
    drawn = torch.empty(size, device=device)
    for part in drawn.split(max(1, at_once)):
        half = (len(part) + 1) // 2
        radius = torch.empty(half + 1, dtype=torch.int64, device=device).random_(generator=generator)
        angle = torch.empty((half + 1) // 2, dtype=torch.int64, device=device)
        angle.random_(-(2**63), None, generator=generator)
        part.copy_(normal_of_words(radius[:-1], angle.view(torch.int32)[:half], beyond=radius[-1])[: len(part)])
    return drawn


def normal_of_words(radius: Tensor, angle: Tensor, *, beyond: Tensor) -> Tensor:
    """Turn random words into normal numbers by Box and Muller's transform: all cosines, then all sines.

    Parameters
    ----------
    radius : int64 tensor of shape (h,)
        From 0 to 2**63 - 1; over 2**63 the probability of a larger radius.
    angle : int32 tensor of shape (h,)
    beyond : int64 tensor without a shape
        Of the same kind: where in the outermost of those 2**63 parts a radius lies that falls there. One is enough for
        a draw: two radii of it are out there with probability 2**-126 a pair.
    """
    within = beyond.double().add(0.5).mul(_PARTS)
    # a radius of 0 is alone below `within`, and takes its place
    length = radius.double().clamp_(min=within).mul_(_PARTS).log_().float().mul_(-2).sqrt_()
    turn = angle.float().mul_(2 * math.pi * 2.0**-32)
    drawn = length.new_empty((2, len(length)))
    torch.cos(turn, out=drawn[0])
    torch.sin(turn, out=drawn[1])
    return drawn.mul_(length).flatten()


def add_noise(sums: list[Tensor], *, deviation: float, generator: torch.Generator | None) -> list[Tensor]:
    """Add noise of one standard deviation to every coordinate, independently; without any drawing where it is zero."""
    if not deviation:
        return [total.clone() for total in sums]
    drawn = standard_normal(sum(total.numel() for total in sums), generator=generator, device=sums[0].device)
    parts = drawn.mul_(deviation).split([total.numel() for total in sums])
    return [total + part.view_as(total).to(total.dtype) for total, part in zip(sums, parts, strict=True)]


class CorrelatedNoise:
    """Noise that is made of the vectors of several steps, as a strategy says, and what it keeps of them.

    Parameters
    ----------
    strategy : NoiseStrategy
    size : int
        Numbers of a vector.
    generator : Generator, optional
        As in :func:`standard_normal`.
    device : device
    """

    def __init__(
        self, strategy: NoiseStrategy, *, size: int, generator: torch.Generator | None, device: torch.device
    ) -> None:
        self._strategy, self._generator, self._step = strategy, generator, 0
        self._kept = torch.zeros((strategy.kept, size), device=device)

    def add(self, sums: list[Tensor], *, deviation: float) -> list[Tensor]:
        """Add the noise of the next step; as without correlation, none is drawn where the deviation is zero."""
        if not deviation:
            return [total.clone() for total in sums]
        table = self._strategy.table(self._step)
        self._step += 1
        device = self._kept.device
        drawn = standard_normal(self._kept.shape[1], generator=self._generator, device=device)
        weights = torch.tensor(table.weights, dtype=torch.float32, device=device)
        made = torch.addmm(torch.outer(weights[:, 0], drawn), weights[:, 1:], self._kept)
        self._kept[list(table.slots)] = made[1:]
        parts = made[0].mul(deviation).split([total.numel() for total in sums])
        return [total + part.view_as(total).to(total.dtype) for total, part in zip(sums, parts, strict=True)]


_MT_WORDS = 624
_MT_OFFSET = 24  # bytes of torch's CPU generator state before the Mersenne Twister's words


def noise_generator(seed: tuple[int, int, int, int], device: torch.device) -> torch.Generator:
    """Make a generator that really holds the entropy of `seed`.

    ``manual_seed`` keeps only 32 bits on the CPU, few enough to try them all, so there the whole state of
    the Mersenne Twister is filled instead. On CUDA the generator takes 64 bits.
    """
    generator = torch.Generator(device=device)
    words = np.random.SeedSequence(list(seed)).generate_state(_MT_WORDS)
    if device.type != "cpu":
        return generator.manual_seed(int(words[0]) << 32 | int(words[1]))
    generator.manual_seed(0)
    state = generator.get_state().numpy().copy()
    state[_MT_OFFSET : _MT_OFFSET + 8 * _MT_WORDS].view(np.uint64)[:] = words
    generator.set_state(torch.from_numpy(state))
    return generator
