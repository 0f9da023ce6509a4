"""Runs the jobs of a run directory in order, keeps the manifest true, and tells what happens."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from trustml.errors import EnvironmentMissingError, RecordError, UsageError
from trustml.launch.compiled import folder_of_run
from trustml.launch.finished import FinishedJobs
from trustml.launch.places.contract import Place, Placed, Work
from trustml.launch.places.table import make_place
from trustml.launch.prepare import now
from trustml.launch.process import Ended
from trustml.launch.warm import NotReadyError, WarmWorkers
from trustml.models.native import TRUST_VARIABLE
from trustml.plan.attack_files import events_file, logs_folder
from trustml.plan.forking import may_be_forked
from trustml.plan.job import ExplainJob, Job, TrainJob, checkpoint_file, job_needs, promises_privacy
from trustml.record.files import sha256
from trustml.record.running import EventTail
from trustml.record.schema import JobRecord, Manifest, RunStatus, failed_methods
from trustml.record.store import RunDirectory
from trustml.record.usage import write_usage

Event: TypeAlias = dict[str, Any]
Listener: TypeAlias = Callable[[Event], None]

_LOOK_SECONDS = 0.05
_SAVE_SHARE = 0.2
"""Of the time, for writing the manifest; of few jobs that is over before anybody looks again."""
_OUTPUTS = (
    "weights.safetensors",
    "predictions.npz",
    "attributions.npz",
    "probes.npz",
    "history.npz",
    "rounds.npz",
    "timings.npz",
    "ledger.jsonl",
)


class JobScheduler:
    """One execution of the jobs that are not done.

    Parameters
    ----------
    run : RunDirectory
        With a manifest and every job's ``job.json``.
    listener : callable
        Gets every event; events also go to the private file of events, and starts and ends to the public one.
    lock : int
        Descriptor of the run's lock, which every worker holds too.
    trust_code : bool
        Whether workers may import code that the record names.
    reuse : bool
        Whether plain jobs are taken over from runs of the folder in which the same was done, and offered to later ones.
    """

    def __init__(
        self, run: RunDirectory, *, listener: Listener, lock: int, trust_code: bool = False, reuse: bool = False
    ) -> None:
        self._trusted = {TRUST_VARIABLE: "1"} if trust_code else {}
        self._run, self._listener, self._lock = run, listener, lock
        self._manifest = run.manifest()
        self._records = {record.id: record for record in self._manifest.jobs}
        self._jobs: dict[str, Job] = {name: run.job(name) for name in self._records}
        self._running: dict[str, tuple[Placed, EventTail]] = {}
        self._places: dict[bytes, Place] = {}
        self._compiled = Path()
        self._finished = FinishedJobs(run) if reuse else None
        self._changed = True
        self._unsaved, self._save_after = False, 0.0
        self._after_save: list[Callable[[], None]] = []
        self._warm = WarmWorkers()
        self._forked = self._to_fork()

    def _to_fork(self) -> frozenset[str]:
        """Jobs that are left and may be forked, where a backend has several: for one alone nothing is gained."""
        if not all(isinstance(job, TrainJob | ExplainJob) for job in self._jobs.values()):  # models are attacked
            return frozenset()
        may = {
            name: job.backend
            for name, job in self._jobs.items()
            if self._records[name].status != "ok" and may_be_forked(job, self._jobs.get(getattr(job, "subject", "")))
        }
        often = Counter(may.values())
        return frozenset(name for name, backend in may.items() if often[backend] > 1)

    def execute(self) -> Manifest:
        """Run until nothing is left; on Ctrl-C stop the workers and keep what is finished.

        No worker outlives this call: whatever is raised in it, a listener's error say, stops them and goes on.
        """
        # Not in the run directory: what lies here is executed, and a run directory may come from anywhere.
        with folder_of_run() as self._compiled, contextlib.closing(self._warm):
            return self._execute()

    def _execute(self) -> Manifest:
        waiting = [name for name, record in self._records.items() if record.status != "ok"]
        jobs = {"jobs": len(self._jobs), "finished": len(self._jobs) - len(waiting)}
        self._tell({"event": "run", "run": self._run.path.name, "path": str(self._run.path), **jobs})
        if self._finished is not None and any(map(promises_privacy, self._jobs.values())):
            self._warn(_RELEASED_AGAIN)
        for warning in (*self._manifest.warnings, *self._run.private_warnings()):
            self._tell({"event": "warning", "warning": warning})
        try:
            while waiting or self._running:
                # Among thousands of jobs looking costs more than a look at what runs.
                if self._changed or self._warm.has_news():
                    self._changed = False
                    waiting = self._start_ready(waiting)
                self._look()
                self._save_if_due()
                if not self._changed:  # else others can be started now, or nothing is left
                    time.sleep(_LOOK_SECONDS)
        except KeyboardInterrupt:
            self._interrupt("stopped by the user")
            return self._finish("interrupted")
        except BaseException as error:
            self._give_up(f"stopped because the run's own process failed with {type(error).__name__}")
            raise
        finally:
            self._stop_all("stopped by the user")  # a second Ctrl-C, or an error while the first was recorded
        done = all(record.status == "ok" and not failed_methods(record) for record in self._records.values())
        any_done = any(record.status == "ok" for record in self._records.values())
        return self._finish("success" if done else "partial" if any_done else "failed")

    def _start_ready(self, waiting: list[str]) -> list[str]:
        """Start what can be; what waits for an import keeps its place among the jobs that run at once."""
        left, importing = [], 0
        for number, name in enumerate(waiting):
            job = self._jobs[name]
            needs = [self._records[need] for need in job_needs(job)]
            failed = [record for record in needs if record.status not in ("ok", "pending", "running")]
            if failed:
                reason = f"needs {failed[0].id}, which ended {failed[0].status}"
                self._update(replace(self._records[name], status="blocked", reason=reason))
                self._tell_saved({"event": "job-end", "job": name, "status": "blocked", "reason": reason})
            elif len(self._running) + importing < job.execution.parallel_jobs and all(r.status == "ok" for r in needs):
                if not self._start(name):
                    importing += 1
                    left.append(name)
            else:
                left.append(name)
            if len(self._running) + importing >= job.execution.parallel_jobs:  # of thousands that wait none can start
                return [*left, *waiting[number + 1 :]]
        return left

    def _start(self, name: str) -> bool:
        """Start a job, or record why it cannot be; False where what it is forked from is not ready."""
        job, record = self._jobs[name], self._records[name]
        if self._finished is not None and (taken := self._finished.take_over(job, record)) is not None:
            self._update(taken)
            self._tell_saved({"event": "job-end", "job": name, "status": "ok"})
            return True
        events = self._run.file(events_file(name))
        events.unlink(missing_ok=True)
        work = Work(
            run=self._run,
            job=job,
            variables=self._trusted,
            lock=self._lock,
            compiled=self._compiled,
            warm=self._warm if name in self._forked else None,
        )
        try:
            worker = self._place(job).start(work)
        except NotReadyError:
            return False
        except (EnvironmentMissingError, UsageError) as error:
            self._update(replace(self._records[name], status="error", reason=str(error), attempt=record.attempt + 1))
            self._tell_saved({"event": "job-end", "job": name, "status": "error", "reason": str(error)})
            return True
        self._running[name] = (worker, EventTail(events))
        self._update(replace(record, status="running", reason="", attempt=record.attempt + 1, node=None))
        self._note_nodes()
        self._tell({"event": "job-start", "job": name, "backend": job.backend, "pid": worker.pid})
        return True

    def _place(self, job: Job) -> Place:
        """Where a job runs; jobs of one place share it."""
        key = msgspec.json.encode(job.execution.place)
        if key not in self._places:
            self._places[key] = make_place(job.execution.place)
        return self._places[key]

    def _note_nodes(self) -> None:
        """Record where jobs run, and which share a machine and so disturb one another's times."""
        machines = {}
        for name, (worker, _) in self._running.items():
            if worker.pid or worker.node is not None:
                machines[name] = worker.node
        names = [node.name if node else "" for node in machines.values()]
        for name, node in machines.items():
            record = self._records[name]
            shared = record.concurrent or names.count(node.name if node else "") > 1
            if (record.node, record.concurrent) != (node, shared):
                self._update(replace(record, node=node, concurrent=shared))

    def _look(self) -> None:
        self._warm.rest()
        self._note_nodes()
        for name, (worker, tail) in list(self._running.items()):
            ended = worker.poll()
            for event in tail.read():
                self._tell({**event, "job": name})
            if ended is not None:
                self._note_nodes()
                del self._running[name]
                self._record_end(name, _as_released(ended, self._jobs[name]))

    def _record_end(self, name: str, ended: Ended) -> None:
        self._update(self._ended(name, ended))
        # Not before the manifest knows the model: a kill in between would lose it, and its epsilon with it.
        self._after_save.append(lambda: self._settle(name, ended))
        if promises_privacy(self._jobs[name]):  # its budget is spent: it is not done once more
            self._save_after = 0.0

    def _settle(self, name: str, ended: Ended) -> None:
        """Do what follows from an end that is on disk: what was told to have ended well is never run again."""
        job = self._jobs[name]
        if self._finished is not None and ended.status == "ok":
            self._finished.offer(job, self._records[name])
        if ended.status == "ok" and isinstance(job, TrainJob):
            self._run.file(checkpoint_file(job)).unlink(missing_ok=True)
        self._tell_end(name, ended)

    def _ended(self, name: str, ended: Ended) -> JobRecord:
        folder = self._run.job_folder(name)
        write_usage(self._run, name, ended.samples, started=time.time() - ended.seconds)
        artifacts = {output: sha256(folder / output) for output in _OUTPUTS if (folder / output).is_file()}
        return replace(
            self._records[name],
            status=ended.status,
            reason=ended.reason,
            seconds=round(ended.seconds, 3),
            peak_memory=ended.peak_memory,
            exit_code=ended.exit_code,
            stderr_tail=ended.stderr_tail,
            result=ended.result,
            artifacts=artifacts,
            warm=ended.warm,
        )

    def _tell_end(self, name: str, ended: Ended) -> None:
        event: Event = {
            "event": "job-end",
            "job": name,
            "status": ended.status,
            "seconds": round(ended.seconds, 3),
        }
        if ended.reason:
            event["reason"] = ended.reason
        self._tell(event)

    def _stop_all(self, reason: str) -> dict[str, Ended]:
        """End every worker before anything is written or told, which may fail; all are asked first, then waited for."""
        ended = {}
        for worker, _ in self._running.values():
            with contextlib.suppress(Exception):
                worker.ask_to_stop()
        for name, (worker, _) in list(self._running.items()):
            try:
                stopped = worker.stop("interrupted", reason)
            except Exception as error:
                stopped = _not_told(f"{reason}, and could not be told so ({type(error).__name__})")
            ended[name] = _as_released(stopped, self._jobs[name])
            del self._running[name]
        return ended

    def _interrupt(self, reason: str) -> None:
        stopped = self._stop_all(reason)
        for name, record in self._records.items():
            if name in stopped:
                self._records[name] = self._ended(name, stopped[name])
            elif record.status in ("pending", "running"):
                self._records[name] = replace(record, status="interrupted", reason=f"{reason} before it began")
        self._save(status="running")
        for name, ended in stopped.items():
            self._tell_end(name, ended)

    def _give_up(self, reason: str) -> None:
        """Stop and record what can be recorded; whoever listens has failed, or the disk is full."""
        self._listener = _ignore
        try:
            self._interrupt(reason)
            self._finish("interrupted")
        except (OSError, RecordError):
            pass

    def _update(self, record: JobRecord) -> None:
        self._records[record.id] = record
        self._changed = self._unsaved = True

    def _save_if_due(self) -> None:
        """Write what has changed, but for a part of the time at most: of thousands of jobs the manifest is long."""
        if self._unsaved and time.monotonic() >= self._save_after:
            self._save(status="running")

    def _save(self, *, status: RunStatus) -> None:
        began = time.monotonic()
        jobs: tuple[JobRecord, ...] = tuple(self._records.values())
        self._manifest = replace(self._manifest, status=status, jobs=jobs)
        self._run.write_manifest(self._manifest)
        now = time.monotonic()
        self._unsaved, self._save_after = False, now + (now - began) / _SAVE_SHARE
        while self._after_save:
            self._after_save.pop(0)()

    def _finish(self, status: RunStatus) -> Manifest:
        self._manifest = replace(self._manifest, ended=now())
        self._save(status=status)
        return self._manifest

    def _warn(self, warning: str) -> None:
        told = dict.fromkeys((*self._manifest.warnings, warning))  # once, however often a run is resumed
        self._manifest = replace(self._manifest, warnings=tuple(told))

    def _tell_saved(self, event: Event) -> None:
        """Tell of an end once it is on disk."""
        self._after_save.append(lambda: self._tell(event))

    def _tell(self, event: Event) -> None:
        self._run.append_event(event)
        self._listener({"time": round(time.time(), 3), **event})


_RELEASED_AGAIN = (
    "private models are trained anew, also where an earlier run did the same: each is a release of its own, and who is "
    "given both is given the epsilon of both"
)


def _ignore(event: Event) -> None:
    """Listen to nothing."""


def _not_told(reason: str) -> Ended:
    return Ended(
        status="interrupted", reason=reason, seconds=0.0, peak_memory=0, exit_code=None, stderr_tail=(), result=None
    )


def _as_released(ended: Ended, job: Job) -> Ended:
    """Leave out what a private job printed: messages of libraries may hold values of the data.

    Where no worker ended, the reason is our own.
    """
    if not promises_privacy(job):
        return ended
    reason = ended.reason
    if ended.status == "error" and ended.result is None and ended.exit_code is not None:
        reason = f"the worker ended with code {ended.exit_code} and no result; see {logs_folder(job.id)}/stderr.txt"
    return dataclasses.replace(ended, reason=reason, stderr_tail=())
