"""Choice of device and precision for JAX."""

from __future__ import annotations

import jax

from trustml.backends.contract import Device
from trustml.errors import UsageError


def open_device(device: str, *, threads: int) -> Device:
    """Choose the platform; ask for full float32 precision in products.

    Threads are set by the environment of the process (see :mod:`trustml.worker.switches`): JAX has no call.
    """
    if device != "auto":
        jax.config.update("jax_platforms", device)
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        chosen = jax.devices()[0]
    except (RuntimeError, AssertionError):  # JAX 0.10 asserts where it found no platform at all
        raise UsageError(f"execution.device: {device!r} but JAX sees no such device; use cpu or auto") from None
    return Device(
        describe=lambda: "cpu" if chosen.platform == "cpu" else str(chosen.device_kind),
        synchronize=lambda: None,  # every step waits for its own result
        packages=("jax", "jaxlib", "numpy"),
        switches={"matmul_precision": "highest", "threads": str(threads or "all")},
    )
