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
        built = "sees no CUDA device" if torch.backends.cuda.is_built() else "was built without CUDA; install another"
        raise UsageError(f"execution.device: 'cuda' but PyTorch {torch.__version__} {built}; use cpu or auto")
    _chosen = torch.device("cuda" if available and device != "cpu" else "cpu")
    torch.set_float32_matmul_precision("highest")  # on a processor too, where it may mean bfloat16
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if threads:
        torch.set_num_threads(threads)
    name = torch.cuda.get_device_name(_chosen) if _chosen.type == "cuda" else "cpu"
    return Device(
        describe=lambda: name,
        synchronize=torch.cuda.synchronize if _chosen.type == "cuda" else lambda: None,
        packages=("torch", "opacus", "captum", "pfl", "numpy"),
        switches={
            "tf32": "off",
            "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
            "autocast": "on" if torch.is_autocast_enabled(_chosen.type) else "off",
            "threads": str(torch.get_num_threads()),
        },
        reduced_precision=_reduced_precision,
    )


def _reduced_precision() -> tuple[str, ...]:
    kind, found = _chosen.type, []
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        found.append(f"torch.autocast({kind!r}) is on with {dtype}; leave it before training")
    if torch.get_default_dtype() in (torch.float16, torch.bfloat16):
        found.append(f"torch.get_default_dtype() is {torch.get_default_dtype()}; set_default_dtype(torch.float32)")
    backends = torch.backends
    parts = {
        "cuda": {"cuda.matmul": backends.cuda.matmul, "cudnn.conv": backends.cudnn.conv},
        "cpu": {"mkldnn.matmul": backends.mkldnn.matmul, "mkldnn.conv": backends.mkldnn.conv},
    }
    for name, part in parts[kind].items():
        if part.fp32_precision not in ("none", "ieee"):
            found.append(f"torch.backends.{name}.fp32_precision is {part.fp32_precision!r}; set it to 'ieee'")
    return tuple(found)
