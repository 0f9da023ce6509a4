"""Progress of a run: a bar for each job on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeAlias

Listener: TypeAlias = Callable[[dict[str, Any]], None]


@contextmanager
def show_progress(stream: IO[str]) -> Iterator[Listener]:
    """Give a listener for events that shows them on `stream`."""
    if stream.isatty():
        with _bars(stream) as listener:
            yield listener
    else:
        yield _lines(stream)


def _lines(stream: IO[str]) -> Listener:
    done = [0, 0]

    def listener(event: dict[str, Any]) -> None:
        match event["event"]:
            case "run":
                done[:] = [int(event.get("finished", 0)), int(event["jobs"])]
                print(f"run {event['run']}: {event['jobs']} jobs", file=stream, flush=True)
            case "warning":
                print(f"warning: {event['warning']}", file=stream, flush=True)
            case "job-start":
                print(f"  {event['job']} ...", file=stream, flush=True)
            case "job-end":
                done[0] += 1
                tail = f" in {event['seconds']:.1f} s" if "seconds" in event else ""
                reason = f": {event['reason']}" if event.get("reason") else ""
                counter = f"[{done[0]}/{done[1]}]"
                print(f"  {counter} {event['job']} {event['status']}{tail}{reason}", file=stream, flush=True)

    return listener


@contextmanager
def _bars(stream: IO[str]) -> Iterator[Listener]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from trustml.cli.terminal import PlainConsole
    from trustml.errors import printable

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[stage]}", markup=False),
    )
    with Progress(*columns, console=PlainConsole(stream), transient=False) as progress:
        tasks: dict[str, Any] = {}

        def listener(event: dict[str, Any]) -> None:
            job = event.get("job", "")
            match event["event"]:
                case "run":
                    of_run = {"total": event["jobs"], "completed": event.get("finished", 0)}
                    tasks[""] = progress.add_task(printable(event["run"]), **of_run, stage="")
                case "warning":
                    progress.console.print(f"warning: {event['warning']}", soft_wrap=True)
                case "job-start":
                    tasks[job] = progress.add_task(job, total=None, stage="starting")
                case "stage":
                    progress.update(tasks[job], stage=event["stage"])
                case "step":
                    progress.update(tasks[job], total=event["steps"], completed=event["step"])
                case "job-end":
                    progress.advance(tasks[""])
                    if job in tasks and event["status"] == "ok":
                        progress.remove_task(tasks.pop(job))
                    elif job in tasks:
                        progress.stop_task(tasks[job])
                        progress.update(tasks[job], stage=event["status"])

        yield listener
