"""A Ray cluster: each job is a task that starts a command and waits. No data goes into Ray's object store."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from trustml.errors import EnvironmentMissingError, UsageError
from trustml.scenario.places import Ray, Resources


def start(command: tuple[str, ...], output: str) -> int:
    """Run the command of one ticket on whatever node this is; what it prints goes beside the ticket."""
    try:
        with open(output, "wb") as stream:
            return subprocess.call(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    except OSError:  # the node does not see the run directory: no ticket either
        return 3


class RayEngine:
    """See :class:`trustml.launch.places.contract.Engine`."""

    def __init__(self, spec: Ray) -> None:
        self._spec = spec
        self._tasks: dict[str, Any] = {}

    def submit(self, command: tuple[str, ...], *, name: str, resources: Resources, folder: Path) -> str:
        """Start a task that Ray does not try again."""
        ray = _connected(self._spec.address)
        task = ray.remote(max_retries=0)(start).options(**options(self._spec, resources, name=name))
        reference = task.remote(command, str(folder / "node.err"))
        identifier = str(reference.hex())
        self._tasks[identifier] = reference
        return identifier

    def is_there(self, identifier: str) -> bool:
        """Whether Ray has not ended it; a task of a node that died has ended."""
        done, _ = _connected(self._spec.address).wait([self._tasks[identifier]], timeout=0)
        return not done

    def cancel(self, identifier: str) -> None:
        """Cancel it, and the process that it started."""
        _connected(self._spec.address).cancel(self._tasks[identifier], force=True)


def options(spec: Ray, resources: Resources, *, name: str) -> dict[str, Any]:
    """Options of a task."""
    found: dict[str, Any] = {"name": name, "num_cpus": resources.cores or 1, "num_gpus": resources.gpus}
    if resources.memory:
        found["memory"] = int(resources.memory * 2**30)
    if spec.node_resources:
        found["resources"] = dict(spec.node_resources)
    return found


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise EnvironmentMissingError("execution.place: ray is missing; run `pip install 'trustml[ray]'`") from None
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error")
        except (ConnectionError, ValueError, RuntimeError) as error:
            line = (str(error).strip().splitlines() or ["no answer"])[0]
            raise UsageError(f"execution.place.address: no Ray cluster at {address!r} ({line}); start one") from None
    return ray
