"""What keeps a framework from a GPU that is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trustml.frameworks.table import entry_of
from trustml.scenario.spec import BackendName

_DRIVER = Path("/proc/driver/nvidia/version")


def driver_loaded() -> bool:
    """Tell whether this machine runs NVIDIA's driver."""
    return _DRIVER.exists()


def unused_gpu(backend: BackendName, devices: Sequence[str], *, python: str) -> str:
    """Say why a backend computes on the processor of a machine with a GPU, and what to do; empty where it need not be.

    Parameters
    ----------
    backend : str
    devices : sequence of str
        What the framework sees, as :func:`trustml.launch.environments.probe` gives it.
    python : str
        Interpreter of the backend's environment.
    """
    if not driver_loaded() or not devices or any(device != "cpu" for device in devices):
        return ""
    known = entry_of(backend).unused_gpu
    if not known:
        return ""
    problem, fix = known
    return f"{problem}; run `{python} -m {fix}`"
