"""Choice of device and precision for JAX."""

from __future__ import annotations

import jax

from trustml.backends.contract import Device
from trustml.errors import UsageError

_FULL = ("highest", "float32")


def open_device(device: str, *, threads: int) -> Device:
    """Choose the platform; ask for full float32 precision in products.

    Threads are set by the environment of the process (see :mod:`trustml.plan.switches`): JAX has no call.
    """
    if device != "auto":
        jax.config.update("jax_platforms", device)
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        devices = jax.local_devices()
    except (RuntimeError, AssertionError):  # JAX 0.10 asserts where it found no platform at all
        raise UsageError(_not_there(device)) from None
    chosen = devices[0]
    if device != "auto" and (chosen.platform == "cpu") != (device == "cpu"):
        # Once JAX has computed anything, it keeps its platform and ignores what it is told.
        raise UsageError(f"execution.device: {device!r} but JAX already computes on {chosen.platform}; use auto")
    name = "cpu" if chosen.platform == "cpu" else str(chosen.device_kind)
    return Device(
        describe=lambda: name if len(devices) == 1 else f"{len(devices)} x {name}",
        synchronize=_wait,
        packages=("jax", "jaxlib", "numpy"),
        switches={
            "matmul_precision": "highest",
            "threads": str(threads or "all"),
            "devices": str(len(devices)),
        },
        reduced_precision=_reduced_precision,
    )


def _wait() -> None:
    """Wait for every array that there is; JAX has no call for a device."""
    jax.block_until_ready(jax.live_arrays())


def _reduced_precision() -> tuple[str, ...]:
    # Read as the next computation would: a context manager of the caller goes before what `open_device` set.
    precision = jax.config.jax_default_matmul_precision
    if precision in _FULL:
        return ()
    return (f"jax_default_matmul_precision is {precision!r}; set it to 'highest'",)


def _not_there(device: str) -> str:
    fix = "pip install 'jax[cuda12]', or use cpu or auto" if device == "cuda" else "use cpu or auto"
    return f"execution.device: {device!r} but JAX sees no such device; {fix}"
