"""PyTorch 2.13.0: `torch.Generator().manual_seed` keeps 32 bits of a seed on the CPU.

Two seeds that agree in them give the same noise, so noise that is seeded so (as with Opacus's `noise_generator`) is one
of four billion, which can all be tried.
"""

import sys

import torch

one, other = (torch.normal(0, 1, (8,), generator=torch.Generator().manual_seed(seed)) for seed in (7, 7 + 2**40))
same = bool((one == other).all())
print("seeds 7 and 7 + 2**40 give the same noise" if same else "the seeds give different noise")
sys.exit(3 if same else 0)
