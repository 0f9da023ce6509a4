"""A device as PyTorch sees it: its name, its memory, its ceilings."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

from trustml_bench.engine import Unit, device
from trustml_bench.engines.torch_network import settle

wait: Callable[[], None] = settle


def open_device() -> str:
    """Set precision to float32 and give the name of the device.

    Raises
    ------
    NotImplementedError
        If there is none.
    """
    if device() == "cuda" and not torch.cuda.is_available():
        raise NotImplementedError("PyTorch sees no GPU")
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return torch.cuda.get_device_name() if device() == "cuda" else "cpu"


def reset_peak() -> None:
    """Free what can be freed and begin to watch memory anew."""
    gc.collect()
    if device() == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> int | None:
    """Largest memory of the device in use since then, in bytes; None on a processor."""
    return int(torch.cuda.max_memory_allocated()) if device() == "cuda" else None


def product(side: int, precision: str) -> Unit:
    """Product of two square matrices."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = (torch.rand(side, side, device=device()).to(dtype) for _ in range(2))

    def unit() -> None:
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        a @ b
        torch.backends.cuda.matmul.allow_tf32 = False

    return unit


def stream(count: int) -> Unit:
    """Read and write as many float32 values."""
    a = torch.ones(count, device=device())
    b = torch.empty_like(a)
    return lambda: torch.mul(a, 1.5, out=b)
