"""Gaussian noise with both tails, on any device.

``torch.normal`` in float32 makes a radius of 24 bits, so that no number lies beyond 5.77, and in float64 one of 53, for
8.57. Here it is Box and Muller's transform still, with a radius of 63 bits, and 63 more for the one that needs them.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from trustml.privacy.noise_strategy import NoiseStrategy

Words: TypeAlias = torch.Generator | np.random.Generator | None
"""Where random words come from: a generator of the device, or numpy's on a processor; None is PyTorch's global one."""
_PARTS = 2.0**-63
_RADIUS = 2**63 - 1
_AT_ONCE = 1 << 17
"""Numbers of a tile on a processor: what is in between stays in its cache, and several cores share it."""


def standard_normal(size: int, *, generator: Words, device: torch.device) -> Tensor:
    """Draw independent standard normal numbers, float32 of shape (size,).

    Parameters
    ----------
    size : int
        Fewer than 2**32.
    generator : torch.Generator or numpy.random.Generator, optional
        The first of that device, the second for a processor; None takes PyTorch's global one.
    device : device
    """
    assert size < 2**32
    at_once = _AT_ONCE if device.type == "cpu" else size
    drawn = torch.empty(size, device=device)
    for part in drawn.split(max(1, at_once)):
        half = (len(part) + 1) // 2
        words = _draw_words(half + 1 + (half + 1) // 2, generator=generator, device=device)
        radius = words[: half + 1].bitwise_and_(_RADIUS)
        fill_with_normal(part, radius[:-1], words[half + 1 :].view(torch.int32)[:half], beyond=radius[-1])
    return drawn


def fill_with_normal(out: Tensor, radius: Tensor, angle: Tensor, *, beyond: Tensor) -> None:
    """Turn random words into normal numbers by Box and Muller's transform: all cosines, then all sines.

    Parameters
    ----------
    out : float32 tensor of shape (2 * h,) or (2 * h - 1,)
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
    cosines, sines = out[: len(radius)], out[len(radius) :]
    torch.cos(turn, out=cosines).mul_(length)
    torch.sin(turn[: len(sines)], out=sines).mul_(length[: len(sines)])


def _draw_words(size: int, *, generator: Words, device: torch.device) -> Tensor:
    """Draw 64 random bits a word, int64 of shape (size,)."""
    if isinstance(generator, np.random.Generator):
        return torch.from_numpy(generator.bit_generator.random_raw(size).view(np.int64))
    return torch.empty(size, dtype=torch.int64, device=device).random_(-(2**63), None, generator=generator)


def add_noise(sums: list[Tensor], *, deviation: float, generator: Words) -> list[Tensor]:
    """Add noise of one standard deviation to every coordinate, independently; without any drawing where it is zero."""
    if not deviation:
        return [total.clone() for total in sums]
    drawn = standard_normal(sum(total.numel() for total in sums), generator=generator, device=sums[0].device)
    parts = drawn.split([total.numel() for total in sums])
    return [
        total.add(part.view_as(total).to(total.dtype), alpha=deviation) for total, part in zip(sums, parts, strict=True)
    ]


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

    def __init__(self, strategy: NoiseStrategy, *, size: int, generator: Words, device: torch.device) -> None:
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


def noise_words(seed: tuple[int, int, int, int], device: torch.device) -> Words:
    """Make what noise is drawn from: numpy's SFC64 on a processor, four times as fast as PyTorch's own generator."""
    if device.type != "cpu":
        return noise_generator(seed, device)
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(list(seed))))


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
