"""What a place does, and what the scheduler is given of a job that runs there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trustml.launch.process import Ended
from trustml.launch.warm import WarmWorkers
from trustml.plan.job import Job
from trustml.record.provenance import NodeRecord
from trustml.record.schema import JobStatus
from trustml.record.store import RunDirectory
from trustml.scenario.places import Resources


@dataclass(frozen=True, kw_only=True)
class Work:
    """One job that is to be started.

    Attributes
    ----------
    run : RunDirectory
    job : Job
        Its ``job.json`` lies in the run.
    variables : dict
        For the environment of its worker, beside what its execution asks for.
    lock : int
        Descriptor of the run's lock, for places whose workers inherit it.
    compiled : Path
        Folder for programs that jobs of this run share, on this machine.
    warm : WarmWorkers, optional
        Forks the worker, where the job may be forked and the place is this machine.
    """

    run: RunDirectory
    job: Job
    variables: dict[str, str]
    lock: int
    compiled: Path
    warm: WarmWorkers | None = None


class Placed(Protocol):
    """A job that was started."""

    @property
    def pid(self) -> int:
        """Number of its process on this machine; 0 where it runs elsewhere."""
        ...

    @property
    def node(self) -> NodeRecord | None:
        """Where it runs; None as long as that is not known, and for processes of this machine."""
        ...

    def poll(self) -> Ended | None:
        """Look once, and tell how it ended if it did."""
        ...

    def ask_to_stop(self) -> None:
        """Say that it is to end, and wait for nothing; `stop` follows."""
        ...

    def stop(self, status: JobStatus, reason: str) -> Ended:
        """End it, with all that it started."""
        ...


class Place(Protocol):
    """Starts jobs. A job that was started once is never started again: another attempt is another release."""

    def start(self, work: Work) -> Placed:
        """Start a job.

        Raises
        ------
        UsageError, EnvironmentMissingError
            If it cannot be started, with what to do.
        """
        ...


class Engine(Protocol):
    """What runs one command on some node. Whatever one of these raises, the run goes on with its other jobs."""

    def submit(self, command: tuple[str, ...], *, name: str, resources: Resources, folder: Path) -> str:
        """Hand a command over and give what identifies it; what it prints may go into `folder`.

        Time is always told, and memory where there is a limit.
        """
        ...

    def is_there(self, identifier: str) -> bool:
        """Whether it waits or runs; an error where that cannot be asked, which tells nothing of the job."""
        ...

    def cancel(self, identifier: str) -> None:
        """End it."""
        ...
