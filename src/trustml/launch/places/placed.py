"""A job on some node, as its launcher sees it: by the files of its ticket, and by what its engine says."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from trustml.errors import TrustmlError, UsageError
from trustml.launch.places import ticket as files
from trustml.launch.places.contract import Engine, Work
from trustml.launch.places.local import job_limits, resources_of
from trustml.launch.places.ticket import HEART, Answer, EndedOnNode, Listener, Pulse, Ticket
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
QUESTION_SECONDS = 20.0
UNASKED_SECONDS = 600.0
"""For which an engine may fail to answer, as long as no node is heard of."""


class Question:
    """Something asked of an engine in a thread of its own, as it may take long or never come back."""

    def __init__(self, ask: Callable[[], bool | None]) -> None:
        self._ask, self.begun, self.problem = ask, time.monotonic(), ""
        self.answer: bool | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.answer = self._ask()
        except Exception as error:
            self.problem = first_line(error)

    def done(self, *, within: float = 0.0) -> bool:
        """Whether it was answered, or could not be."""
        self._thread.join(within)
        return not self._thread.is_alive()


def first_line(error: Exception) -> str:
    """What a library's error says, in one line."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


class PlacedWorker:
    """See :class:`trustml.launch.places.contract.Placed`.

    Parameters
    ----------
    engine : Engine
    identifier : str
        What the engine knows the job by.
    ticket : Ticket
    pulse : Pulse
        The launcher's, which beats by itself.
    folder : Path
        Of the ticket.
    result : Path
        The worker's ``result.json``.
    news_seconds : float
        How long to wait for files of a job that its engine no longer has.
    """

    pid = 0

    def __init__(
        self,
        engine: Engine,
        identifier: str,
        ticket: Ticket,
        *,
        pulse: Pulse,
        folder: Path,
        result: Path,
        news_seconds: float,
    ) -> None:
        self._engine, self._identifier, self._ticket, self._pulse = engine, identifier, ticket, pulse
        self._folder, self._result, self._news = folder, result, news_seconds
        self._ear = Listener(folder / files.NODE_BEAT)
        self._started = self._asked = self._looked = time.monotonic()
        self._question: Question | None = None
        self._gone: float | None = None
        self._unasked: float | None = None
        self._stopping: float | None = None
        self._unused = False
        self._problem = ""
        self._node: NodeRecord | None = None

    @property
    def node(self) -> NodeRecord | None:
        """Where it runs, once the node has answered with the ticket's token."""
        return self._node

    def poll(self) -> Ended | None:
        """Look at the files, now and then ask the engine; what neither knows any more is lost, and not started anew."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return None
        self._looked = now
        if self._node is None:
            answer = files.read(self._folder / files.ANSWER, Answer)
            if answer is not None and answer.token == self._ticket.token:
                self._node, self._ear = answer.node, Listener(self._folder / files.NODE_BEAT)
                with suppress(OSError):
                    self._pulse.beat(at_once=True)  # which it waits for
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
        self._ask(now)
        if self._gone is not None and now - self._gone > self._news and silence > self._news:
            return "its engine no longer has the job"
        if self._unasked is not None and min(now - self._unasked, silence) > UNASKED_SECONDS:
            return f"its engine could not be asked for {UNASKED_SECONDS:.0f} s: {self._problem}"
        return ""

    def _ask(self, now: float) -> None:
        """Ask the engine, or look whether it has answered; nothing is concluded of what could not be asked."""
        question = self._question
        if question is None:
            if now - self._asked >= min(ASK_SECONDS, self._news):
                self._asked, self._question = now, Question(lambda: self._engine.is_there(self._identifier))
            return
        late = now - question.begun > QUESTION_SECONDS
        if question.done():
            self._question = None
        elif not late:
            return
        if question.answer is None:
            self._gone, self._unasked = None, self._unasked or now
            self._problem = question.problem or "it gave no answer"
            return
        self._unasked = None
        self._gone = None if question.answer else self._gone or now

    def ask_to_stop(self) -> None:
        """Ask the node to end the worker; storage that fails leaves it to find its launcher silent."""
        if self._stopping is None:
            self._stopping = time.monotonic()
            with suppress(OSError):
                files.mark(self._folder / files.STOP)
                self._unused = files.take_back(self._folder)

    def stop(self, status: JobStatus, reason: str) -> Ended:
        """Ask the node to end the worker, then the engine to end the job."""
        self.ask_to_stop()
        told = None
        while not self._unused and told is None and self._patience() > 0:
            time.sleep(0.1)
            told = files.read(self._folder / files.ENDED, EndedOnNode)
        self._cancel()
        told = told or EndedOnNode(status=status, reason=reason)
        return self._ended(msgspec.structs.replace(told, status=status, reason=reason))

    def _patience(self) -> float:
        return (self._stopping or 0.0) + STOP_SECONDS - time.monotonic()

    def _cancel(self) -> None:
        """Have the engine end the job, if it can; many are waited for together."""
        Question(lambda: self._engine.cancel(self._identifier)).done(within=max(1.0, self._patience()))

    def _lost(self, why: str) -> Ended:
        self.ask_to_stop()  # where it is cut off from the engine alone
        self._cancel()
        if self._unused and self._unasked is not None:
            return self._ended(EndedOnNode(status="error", reason=f"taken back before a node had begun: {why}"))
        if self._unused or self._node is None:
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
        HEART.leave_out(self._pulse)
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
        pulse = HEART.add(folder / files.LAUNCHER_BEAT)
        resources = msgspec.structs.replace(resources_of(job), time=limits.timeout / 60, memory=limits.memory / 2**30)
        try:
            identifier = self._engine.submit(
                node_command(self._python, folder, ticket),
                name=f"trustml-{job.id}",
                resources=resources,
                folder=folder,
            )
        except BaseException as error:  # the engine may have taken it all the same
            HEART.leave_out(pulse)
            with suppress(OSError):
                files.mark(folder / files.STOP)
                files.take_back(folder)
            if isinstance(error, TrustmlError) or not isinstance(error, Exception):
                raise
            raise UsageError(f"execution.place: cannot hand a job over ({first_line(error)})") from None
        return PlacedWorker(
            self._engine, identifier, ticket, pulse=pulse, folder=folder, result=result, news_seconds=self._news
        )


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
