"""Settings that must be in the environment of a process before it starts, and that change its numbers.

The parent puts them into the worker's environment; the worker records what it finds.
"""

from __future__ import annotations

import os
from pathlib import Path

from trustml.frameworks.table import entry_of
from trustml.plan.job import CanaryJob, Job, TrainJob
from trustml.scenario.regimes import DPSGD
from trustml.scenario.spec import BackendName, Execution

_ALLOCATOR = {
    # glibc gives large blocks back to the system after every step and asks for them again; keeping them
    # makes steps up to twice as fast in all three frameworks, and their times comparable.
    "MALLOC_ARENA_MAX": "4",  # one makes threads that compute side by side wait for one another
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}
_FOREIGN_ALLOCATOR = ("LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_CONF")
_QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "ERROR",
    "PYTHONUNBUFFERED": "1",
    "PYTHONHASHSEED": "0",
}
_REPRODUCIBLE = {
    # MKL multiplies a row of a matrix in another way where its memory is not aligned, so that an example's gradient
    # depended on its place in the batch; this costs no measurable time.
    "MKL_CBWR": "AUTO,STRICT",
}
_COMPILED = "JAX_COMPILATION_CACHE_DIR"
_EIGEN, _PARTS = "--xla_cpu_multi_thread_eigen", "--xla_force_host_platform_device_count"
"""Whether one operation may use several threads; how many devices a processor is."""
ALLOCATOR_VARIABLES = tuple(_ALLOCATOR)
_COARSE_MATH = {"BF16", "F16", "TF32", "ANY"}
_REDUCING = {
    "NVIDIA_TF32_OVERRIDE": {"1"},
    "ONEDNN_DEFAULT_FPMATH_MODE": _COARSE_MATH,
    "DNNL_DEFAULT_FPMATH_MODE": _COARSE_MATH,
    "TF_SET_ONEDNN_FPMATH_MODE": _COARSE_MATH,
    "TF_ENABLE_AUTO_MIXED_PRECISION": {"1", "TRUE"},
}
"""Variables that let libraries compute float32 with fewer bits, whatever the program says, and values that do."""
_FAST_MATH = ("--xla_cpu_enable_fast_math", "--xla_gpu_enable_fast_min_max")


def job_variables(job: Job) -> dict[str, str]:
    """Environment variables for the worker of a job."""
    training = job.training if isinstance(job, CanaryJob) else job
    dealt_out = isinstance(training, TrainJob) and isinstance(training.regime, DPSGD)
    return switch_variables(job.execution, devices=job.execution.devices if dealt_out else 0)


def switch_variables(execution: Execution, *, devices: int = 0) -> dict[str, str]:
    """Environment variables for one worker; `devices` over which it deals a batch out."""
    found = {**_REPRODUCIBLE, **_QUIET}
    if execution.allocator == "tuned":
        found |= _ALLOCATOR
    if execution.compilation_cache == "off":
        found["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    if execution.threads:
        count = str(execution.threads)
        found |= {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count}
        found["XLA_FLAGS"] = _xla_flags(_EIGEN, "true" if execution.threads > 1 else "false")
    if devices > 1:  # parts of a processor, where JAX computes on one; GPUs are not told by it
        found["XLA_FLAGS"] = _xla_flags(_PARTS, str(devices), among=found.get("XLA_FLAGS"))
    if execution.device == "cpu":
        found["CUDA_VISIBLE_DEVICES"] = ""
    return found


def _xla_flags(name: str, value: str, *, among: str | None = None) -> str:
    """Flags, those of the caller unless others are given, with one of them set."""
    flags = os.environ.get("XLA_FLAGS", "") if among is None else among
    return " ".join([*(flag for flag in flags.split() if not flag.startswith(name)), f"{name}={value}"])


def reuse_compiled(folder: Path) -> dict[str, str]:
    """Environment variables with which JAX keeps what it compiled in a folder.

    A first call that is timed is another one then: :func:`compiled_programs` tells. The folder must be the caller's
    own: what is compiled in it is executed.
    """
    return {
        _COMPILED: str(folder),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def switches_in_force() -> dict[str, str]:
    """What of the above this process really runs under."""
    names = [*_ALLOCATOR, *_FOREIGN_ALLOCATOR, *_REPRODUCIBLE, "OMP_NUM_THREADS", "XLA_FLAGS", *_REDUCING]
    return {name: os.environ[name] for name in names if name in os.environ}


def compiled_programs(backend: BackendName) -> int:
    """Count the compiled programs that this process would find where it is told to look; only JAX keeps any."""
    on = os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "").lower() not in ("false", "0")
    folder = os.environ.get(_COMPILED) if entry_of(backend).compiled and on else None
    return sum(1 for _ in Path(folder).glob("*-cache")) if folder else 0


def reducing_variables() -> tuple[str, ...]:
    """Environment variables of this process under which float32 is not what it says, and how to take them back.

    XLA's fast mathematics takes it that nothing is infinite or not a number, so that broken gradients could pass.
    """
    found = [
        f"{name}={os.environ[name]}; unset {name}"
        for name, values in _REDUCING.items()
        if os.environ.get(name, "").upper() in values
    ]
    for flag in os.environ.get("XLA_FLAGS", "").split():
        name, _, value = flag.partition("=")
        if name in _FAST_MATH and value.lower() in ("", "true", "1"):
            found.append(f"XLA_FLAGS has {flag}; leave it out")
    return tuple(found)
