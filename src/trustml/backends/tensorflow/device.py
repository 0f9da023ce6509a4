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
        raise UsageError(f"execution.device: 'cuda' but {_why_none()}; or use cpu or auto")
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
        # On a processor a step has ended when its call returns.
        synchronize=tf.test.experimental.sync_devices if graphics else lambda: None,
        packages=("tensorflow", "keras", "tensorflow-federated", "tf-explain", "xplique", "numpy"),
        switches={
            "tf32": "off",
            "keras_policy": tf.keras.mixed_precision.global_policy().name,
            "auto_mixed_precision": "on" if _automatic() else "off",
            "threads": str(threads or "all"),
            "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        },
        reduced_precision=_reduced_precision,
    )


def _why_none() -> str:
    build = tf.sysconfig.get_build_info()
    if not build.get("is_cuda_build"):
        return f"TensorFlow {tf.__version__} was built without CUDA"
    return (
        f"TensorFlow {tf.__version__} sees no GPU: it needs the libraries of CUDA {build['cuda_version']} and cuDNN "
        f"{build['cudnn_version']}, newer ones do not serve, and on a machine with a driver "
        "`trustml doctor` says how to get them"
    )


def _reduced_precision() -> tuple[str, ...]:
    found = []
    policy = tf.keras.mixed_precision.global_policy()
    if {policy.compute_dtype, policy.variable_dtype} & {"float16", "bfloat16"}:
        found.append(f"the global Keras policy is {policy.name!r}; set_global_policy('float32')")
    if tf.keras.backend.floatx() in ("float16", "bfloat16"):
        found.append(f"Keras's floatx is {tf.keras.backend.floatx()!r}; set_floatx('float32')")
    found += [f"tf.config.optimizer option {name!r} is on; set it to False" for name in _automatic()]
    if tf.config.get_visible_devices("GPU") and tf.config.experimental.tensor_float_32_execution_enabled():
        found.append("tensor_float_32_execution is on; enable_tensor_float_32_execution(False)")
    return tuple(found)


def _automatic() -> list[str]:
    """Rewrites of the graph to fewer bits that are on."""
    options = tf.config.optimizer.get_experimental_options()
    return [name for name, on in options.items() if name.startswith("auto_mixed_precision") and on]
