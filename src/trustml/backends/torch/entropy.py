"""PyTorch generators that hold all the entropy they are given."""

from __future__ import annotations

import numpy as np
import torch

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
