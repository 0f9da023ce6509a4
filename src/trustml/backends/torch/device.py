"""Choice of device, threads and precision for PyTorch."""

from __future__ import annotations

import torch

from trustml.backends.contract import Device
from trustml.errors import UsageError

_chosen = torch.device("cpu")


def current_device() -> torch.device:
    """Device that :func:`open_device` chose."""
    return _chosen


def open_device(device: str, *, threads: int) -> Device:
    """Choose the device; turn TF32 off, so that float32 means float32."""
    global _chosen
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UsageError("execution.device: 'cuda' but PyTorch sees no CUDA device; use cpu or auto")
    _chosen = torch.device("cuda" if available and device != "cpu" else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if threads:
        torch.set_num_threads(threads)
    name = torch.cuda.get_device_name(_chosen) if _chosen.type == "cuda" else "cpu"
    return Device(
        describe=lambda: name,
        synchronize=torch.cuda.synchronize if _chosen.type == "cuda" else lambda: None,
        packages=("torch", "opacus", "captum", "pfl", "numpy"),
        switches={"tf32": "off", "threads": str(torch.get_num_threads())},
    )
