"""Progress of a run that Python started: a line that is written over on a terminal, a bar in a notebook."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeAlias

from markupsafe import Markup

from trustml.errors import printable

Listener: TypeAlias = Callable[[dict[str, Any]], None]
_PAUSE = 0.2
"""Seconds between two looks, but for the ends of jobs."""


class Progress:
    """How far a run is, by its events.

    Parameters
    ----------
    show : callable
        Given this object whenever there is something new.
    """

    def __init__(self, show: Callable[[Progress], None]) -> None:
        self._show, self._shown = show, 0.0
        self.run, self.jobs, self.done, self.stages = "", 0, 0, dict[str, str]()
        self.problems: list[str] = []

    def listen(self, event: dict[str, Any]) -> None:
        """Take one event."""
        job = event.get("job", "")
        match event["event"]:
            case "run":
                self.run, self.jobs, self.done = str(event["run"]), int(event["jobs"]), int(event.get("finished", 0))
            case "job-start":
                self.stages[job] = "starting"
            case "stage":
                self.stages[job] = str(event["stage"])
            case "step":
                self.stages[job] = f"step {event['step']} of {event['steps']}"
            case "job-end":
                self.done += 1
                self.stages.pop(job, None)
                if event["status"] != "ok":
                    self.problems.append(f"{job} {event['status']}: {event.get('reason', '')}".rstrip(": "))
            case "warning":
                self.problems.append(f"warning: {event['warning']}")
        if event["event"] not in ("step", "stage") or time.monotonic() - self._shown > _PAUSE:
            self._shown = time.monotonic()
            self._show(self)

    @property
    def line(self) -> str:
        """In one line."""
        now = "; ".join(f"{job}: {stage}" for job, stage in self.stages.items())
        return printable(f"{self.run}: {self.done} of {self.jobs} jobs{f'; {now}' if now else ''}")

    @property
    def html(self) -> str:
        """As a bar, and what went wrong below it."""
        bar = Markup('<p><progress max="{}" value="{}"></progress> {}</p>').format(
            max(1, self.jobs), self.done, self.line
        )
        return bar + Markup("").join(
            Markup("<p>{}</p>").format(printable(text)) for text in dict.fromkeys(self.problems)
        )


@contextmanager
def shown_progress(wanted: bool | None = None, *, stream: IO[str] | None = None) -> Iterator[Listener]:
    """Give a listener that shows progress where somebody looks: in a notebook, or on a terminal.

    Parameters
    ----------
    wanted : bool, optional
        False shows nothing; True prints the ends of jobs also where nobody looks, such as into a file.
    stream : text stream, optional
        Standard error if left out.
    """
    out = stream or sys.stderr
    if wanted is False:
        yield lambda event: None
    elif (display := _notebook()) is not None:
        yield Progress(display).listen
    elif out.isatty():
        try:
            yield Progress(lambda progress: _write_over(progress.line, out)).listen
        finally:
            print(file=out, flush=True)
    elif wanted:
        yield Progress(_changes(out)).listen
    else:
        yield lambda event: None


def _write_over(line: str, out: IO[str]) -> None:
    width = shutil.get_terminal_size().columns - 1
    print(f"\r{line[:width]:{width}}", end="", file=out, flush=True)


def _changes(out: IO[str]) -> Callable[[Progress], None]:
    last = [-1]

    def show(progress: Progress) -> None:
        if progress.done != last[0]:
            last[0] = progress.done
            print(progress.line, file=out, flush=True)

    return show


def _notebook() -> Callable[[Progress], None] | None:
    """What shows progress in the cell of a notebook; None where this is none."""
    display = sys.modules.get("IPython.display")
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if display is None or getattr(shell, "kernel", None) is None:
        return None
    handle: list[Any] = []

    def show(progress: Progress) -> None:
        content = display.HTML(progress.html)
        if handle:
            handle[0].update(content)
        else:
            handle.append(display.display(content, display_id=True))

    return show
