"""A device as JAX sees it: its name, its memory, its ceilings."""

from __future__ import annotations

import gc

import jax
import jax.numpy as jnp

from trustml_bench.engine import Unit, device


def open_device() -> str:
    """Set precision to float32 and give the name of the device.

    Raises
    ------
    NotImplementedError
        If there is none.
    """
    jax.config.update("jax_platforms", device())
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        found = jax.devices()[0]
    except (RuntimeError, AssertionError):
        raise NotImplementedError(f"JAX sees no {device()} device") from None
    return str(found.device_kind) if device() == "cuda" else "cpu"


def wait() -> None:
    """Wait until the device has done all work."""
    jax.block_until_ready(jax.live_arrays())


def reset_peak() -> None:
    """Free what can be freed; JAX cannot begin to watch memory anew."""
    gc.collect()


def peak() -> int | None:
    """Of the device in this process so far, so sizes must ascend; None on a processor."""
    stats = jax.devices()[0].memory_stats() if device() == "cuda" else None
    return int(stats["peak_bytes_in_use"]) if stats else None


def product(side: int, precision: str) -> Unit:
    """Product of two square matrices."""
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    a, b = (jax.random.uniform(jax.random.key(k), (side, side)).astype(dtype) for k in range(2))
    asked = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "default"}[precision]
    program = jax.jit(lambda a, b: jnp.matmul(a, b, precision=asked))
    return lambda: program(a, b).block_until_ready()


def stream(count: int) -> Unit:
    """Read and write as many float32 values."""
    program, a = jax.jit(lambda a: a * 1.5), jnp.ones(count)
    return lambda: program(a).block_until_ready()
