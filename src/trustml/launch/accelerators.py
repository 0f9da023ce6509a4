"""What keeps a framework from a GPU that is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trustml.scenario.spec import BackendName

_DRIVER = Path("/proc/driver/nvidia/version")

_CUDA_11 = (
    "nvidia-cublas-cu11==11.11.3.6",
    "nvidia-cuda-cupti-cu11==11.8.87",
    "nvidia-cuda-nvcc-cu11==11.8.89",
    "nvidia-cuda-runtime-cu11==11.8.89",
    "nvidia-cudnn-cu11==8.7.0.84",
    "nvidia-cufft-cu11==10.9.0.58",
    "nvidia-curand-cu11==10.3.0.86",
    "nvidia-cusolver-cu11==11.4.1.48",
    "nvidia-cusparse-cu11==11.7.5.86",
)
"""What ``tensorflow[and-cuda]==2.14.1`` names but TensorRT, of which there is no such version for Python 3.11: because
of it that extra cannot be installed."""

_FIX: dict[BackendName, tuple[str, str]] = {
    "torch": ("PyTorch sees no GPU: it was built without CUDA, or for a newer driver", "pip install torch==2.13.0"),
    "jax": ("JAX sees no GPU: its CUDA plugin is not installed, or too new", "pip install 'jax[cuda12]==0.10.2'"),
    "tensorflow": (
        "TensorFlow 2.14 sees no GPU: it needs the libraries of CUDA 11.8 and cuDNN 8, newer ones do not serve",
        f"pip install --no-deps {' '.join(_CUDA_11)}",
    ),
}


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
    problem, fix = _FIX[backend]
    return f"{problem}; run `{python} -m {fix}`"
