"""Slurm, by submitit. What it pickles is a command; what jobs return is never read."""

from __future__ import annotations

import math
import shlex
import subprocess
from pathlib import Path
from typing import Any

from trustml.errors import EnvironmentMissingError
from trustml.scenario.places import Resources, Slurm

_MORE_MINUTES = 5


class SlurmEngine:
    """See :class:`trustml.launch.places.contract.Engine`."""

    def __init__(self, spec: Slurm) -> None:
        self._spec = spec
        self._jobs: dict[str, Any] = {}

    def submit(self, command: tuple[str, ...], *, name: str, resources: Resources, folder: Path) -> str:
        """Hand the command to ``sbatch``; its output goes beside the ticket."""
        executor = _submitit().AutoExecutor(folder=folder, cluster=self._spec.cluster, **interpreter(self._spec))
        executor.update_parameters(**parameters(self._spec, resources, name=name, cluster=executor.cluster))
        job = executor.submit(subprocess.call, list(command))
        self._jobs[str(job.job_id)] = job
        return str(job.job_id)

    def is_there(self, identifier: str) -> bool:
        """Whether Slurm has not ended it."""
        return not self._jobs[identifier].done(force_check=True)

    def cancel(self, identifier: str) -> None:
        """Cancel it."""
        self._jobs[identifier].cancel()


def interpreter(spec: Slurm) -> dict[str, str]:
    """Argument of submitit's executor: what reads the command on the node, which needs submitit there as well."""
    return {"slurm_python": shlex.quote(spec.python)} if spec.python and spec.cluster == "slurm" else {}


def parameters(spec: Slurm, resources: Resources, *, name: str, cluster: str) -> dict[str, Any]:
    """Arguments of submitit's ``update_parameters``."""
    found: dict[str, Any] = {"name": name.replace(".", "-")}
    if resources.cores:
        found["cpus_per_task"] = resources.cores
    if resources.memory:
        found["mem_gb"] = resources.memory
    if resources.gpus:
        found["gpus_per_node"] = resources.gpus
    # Longer than the node gives the worker: submitit ends a job a minute and a half before its time.
    found["timeout_min"] = math.ceil(resources.time) + _MORE_MINUTES
    if cluster == "slurm":
        found["slurm_additional_parameters"] = {"no_requeue": True}  # another attempt is another release
        for option in ("partition", "account"):
            if value := getattr(spec, option):
                found[f"slurm_{option}"] = value
        if spec.setup:
            found["slurm_setup"] = list(spec.setup)
    return found


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise EnvironmentMissingError(
            "execution.place: submitit is missing; run `pip install 'trustml[slurm]'`"
        ) from None
    return submitit
