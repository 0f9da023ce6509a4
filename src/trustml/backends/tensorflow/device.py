"""Choice of device, threads and precision for TensorFlow."""

from __future__ import annotations

import os

import tensorflow as tf

from trustml.backends.contract import Device
from trustml.errors import UsageError


def open_device(device: str, *, threads: int) -> Device:
    """Choose the device; turn TF32 off, so that float32 means float32."""
    graphics = tf.config.list_physical_devices("GPU")
    if device == "cuda" and not graphics:
        raise UsageError("execution.device: 'cuda' but TensorFlow sees no GPU; use cpu or auto")
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
        graphics = []
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    name = tf.config.experimental.get_device_details(graphics[0]).get("device_name", "gpu") if graphics else "cpu"
    return Device(
        describe=lambda: name,
        synchronize=lambda: None,  # every step reads its own result back
        packages=("tensorflow", "keras", "tensorflow-federated", "tf-explain", "xplique", "numpy"),
        switches={
            "tf32": "off",
            "threads": str(threads or "all"),
            "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        },
    )
