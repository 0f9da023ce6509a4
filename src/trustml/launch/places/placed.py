"""A job on some node, as its launcher sees it: by the files of its ticket, and by what its engine says."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec

from trustml.launch.places import ticket as files
from trustml.launch.places.contract import Engine, Work
from trustml.launch.places.local import job_limits, resources_of
from trustml.launch.places.ticket import Answer, EndedOnNode, Listener, Pulse, Ticket
from trustml.launch.process import Ended
from trustml.plan.job import promises_privacy
from trustml.plan.switches import job_variables
from trustml.record.files import UNREADABLE, plain_bytes
from trustml.record.provenance import NodeRecord, trustml_version
from trustml.record.schema import JobStatus, WorkerResult

ASK_SECONDS = 5.0
"""Between two questions to an engine, each of which may be a command."""
_LOOK_SECONDS = 0.25
NEWS_SECONDS = 30.0
"""For which a file that was written elsewhere may not be seen here yet."""
STOP_SECONDS = 10.0


class PlacedWorker:
    """See :class:`trustml.launch.places.contract.Placed`.

    Parameters
    ----------
    engine : Engine
    identifier : str
        What the engine knows the job by.
    ticket : Ticket
    folder : Path
        Of the ticket.
    result : Path
        The worker's ``result.json``.
    news_seconds : float
        How long to wait for files of a job that its engine no longer has.
    """

    pid = 0

    def __init__(
        self, engine: Engine, identifier: str, ticket: Ticket, *, folder: Path, result: Path, news_seconds: float
    ) -> None:
        self._engine, self._identifier, self._ticket = engine, identifier, ticket
        self._folder, self._result, self._news = folder, result, news_seconds
        self._pulse, self._ear = Pulse(folder / files.LAUNCHER_BEAT), Listener(folder / files.NODE_BEAT)
        self._started = self._asked = self._looked = time.monotonic()
        self._gone: float | None = None
        self._node: NodeRecord | None = None
        self._pulse.beat()

    @property
    def node(self) -> NodeRecord | None:
        """Where it runs, once the node has answered with the ticket's token."""
        return self._node

    def poll(self) -> Ended | None:
        """Look at the files, now and then ask the engine; what neither knows any more is lost, and not started anew."""
        self._pulse.beat()
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return None
        self._looked = now
        if self._node is None:
            answer = files.read(self._folder / files.ANSWER, Answer)
            self._node = answer.node if answer is not None and answer.token == self._ticket.token else None
        told = files.read(self._folder / files.ENDED, EndedOnNode)
        if told is not None:
            return self._ended(told)
        why = self._why_lost(now)
        return self._lost(why) if why else None

    def _why_lost(self, now: float) -> str:
        """Say why the job is given up; empty as long as it is not."""
        silence = self._ear.silence()
        # A node that makes its environment beats as well; one that has not begun yet may wait as long as it likes.
        if self._node is not None and silence > files.LOST_SECONDS:
            return f"it gave no sign for {files.LOST_SECONDS:.0f} s"
        if now - self._asked >= min(ASK_SECONDS, self._news):
            self._asked = now
            if self._engine.is_there(self._identifier):
                self._gone = None
            elif self._gone is None:
                self._gone = now
        gone = self._gone is not None and now - self._gone > self._news
        return "its engine no longer has the job" if gone and silence > self._news else ""

    def stop(self, status: JobStatus, reason: str) -> Ended:
        """Ask the node to end the worker, then the engine to end the job."""
        (self._folder / files.STOP).touch()
        begun = not files.claim(self._folder)
        patience = time.monotonic() + STOP_SECONDS
        told = None
        while begun and told is None and time.monotonic() < patience:
            time.sleep(0.1)
            told = files.read(self._folder / files.ENDED, EndedOnNode)
        self._engine.cancel(self._identifier)
        told = told or EndedOnNode(status=status, reason=reason)
        return self._ended(msgspec.structs.replace(told, status=status, reason=reason))

    def _lost(self, why: str) -> Ended:
        (self._folder / files.STOP).touch()  # where it is cut off from the engine alone
        unused = files.claim(self._folder)
        self._engine.cancel(self._identifier)
        if unused or self._node is None:
            said = _last_line(self._folder)
            return self._ended(
                EndedOnNode(
                    status="error",
                    reason="the job ended before its node had read the run directory, which must lie on storage that "
                    f"nodes and launcher share (--runs){': ' + said if said else ''}",
                )
            )
        name = self._node.name
        return self._ended(
            EndedOnNode(
                status="error",
                reason=f"node {name} vanished ({why}); nothing is started again by itself: `trustml run --resume` does",
            )
        )

    def _ended(self, told: EndedOnNode) -> Ended:
        if not (self._folder / files.ENDED).is_file():
            files.write(self._folder / files.ENDED, told)  # so that nobody waits for it again
        try:
            result = msgspec.json.decode(plain_bytes(self._result), type=WorkerResult)
        except UNREADABLE:
            result = None
        return Ended(
            status=told.status,
            reason=told.reason,
            seconds=told.seconds or time.monotonic() - self._started,
            peak_memory=told.peak_memory,
            exit_code=told.exit_code,
            stderr_tail=told.stderr_tail,
            samples=told.samples,
            result=result,
        )


class EnginePlace:
    """A :class:`trustml.launch.places.contract.Place` of an engine: the command of a job is all that it is given.

    Parameters
    ----------
    engine : Engine
    python : str
        Interpreter on the node; the one of this process where it is empty.
    news_seconds : float
        See :class:`PlacedWorker`.
    """

    def __init__(self, engine: Engine, *, python: str = "", news_seconds: float = NEWS_SECONDS) -> None:
        self._engine, self._python, self._news = engine, python or sys.executable, news_seconds

    def start(self, work: Work) -> PlacedWorker:
        """Write a ticket, and hand the command that uses it to the engine."""
        job, run = work.job, work.run
        limits, result = job_limits(job), run.job_folder(job.id) / "result.json"
        result.unlink(missing_ok=True)
        ticket = Ticket(
            token=files.new_token(),
            version=trustml_version(),
            job=job.id,
            backend=job.backend,
            private=promises_privacy(job),
            variables=job_variables(job) | work.variables,
            timeout=limits.timeout,
            memory=limits.memory,
        )
        folder = files.issue(run, ticket)
        Pulse(folder / files.LAUNCHER_BEAT).beat()
        identifier = self._engine.submit(
            node_command(self._python, folder, ticket),
            name=f"trustml-{job.id}",
            resources=msgspec.structs.replace(
                resources_of(job), time=limits.timeout / 60, memory=limits.memory / 2**30
            ),
            folder=folder,
        )
        return PlacedWorker(self._engine, identifier, ticket, folder=folder, result=result, news_seconds=self._news)


def node_command(python: str, folder: Path, ticket: Ticket) -> tuple[str, ...]:
    """Command of one ticket: a path and a fingerprint, nothing of the run."""
    return (python, "-P", "-m", "trustml.launch.places.node", str(folder), files.fingerprint(ticket.token))


def _last_line(folder: Path) -> str:
    """Last line of what the command of a ticket printed, where its engine keeps that beside the ticket."""
    lines: list[str] = []
    for path in sorted(folder.glob("*.err")):
        try:
            lines += plain_bytes(path).decode(errors="replace").strip().splitlines()
        except OSError:
            continue
    return lines[-1][:300] if lines else ""
