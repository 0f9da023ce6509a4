"""Processor and memory of a run's workers over time, as a table and as charts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import altair as alt
import numpy as np
import pandas as pd

from trustml.record.schema import JobRecord
from trustml.record.store import RunDirectory
from trustml.record.usage import Usage, read_usage
from trustml.report.figures import backend_colour, backend_scale, top_legend

_BINS = 120
_LONGEST_PAUSE = 30.0
"""Seconds between jobs that are left out if it took longer: a run may have been gone on with days later."""
_PANELS = {"cores": "processor cores in use", "memory": "memory held, GiB"}


def has_usage(run: RunDirectory, records: Iterable[JobRecord]) -> bool:
    """Whether :func:`usage_frame` has anything to say; it reads no more than the first samples that it finds.

    Parameters
    ----------
    run : RunDirectory
    records : iterable of JobRecord
    """
    return any(_samples(run, records))


def usage_frame(run: RunDirectory, records: Iterable[JobRecord]) -> pd.DataFrame:
    """What the workers of each framework used together, over the time that any of them worked.

    Parameters
    ----------
    run : RunDirectory
    records : iterable of JobRecord

    Returns
    -------
    DataFrame
        Columns ``backend``, ``seconds`` (middle of a span of time), ``cores`` and ``memory`` (GiB), means over the
        span; without rows where no samples are at hand.
    """
    found = list(_samples(run, records))
    columns = ["backend", "seconds", "cores", "memory"]
    if not found:
        return pd.DataFrame(columns=columns)
    starts = _working_time([usage for _, usage in found])
    end = max(start + usage.seconds[-1] for start, (_, usage) in zip(starts, found, strict=True))
    edges = np.linspace(0.0, end, _BINS + 1)
    middles, width = (edges[:-1] + edges[1:]) / 2, end / _BINS
    together: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for start, (backend, usage) in zip(starts, found, strict=True):
        at = start + usage.seconds
        # What was used before the first look counts from the start of the worker.
        used = np.interp(edges, [start, *at], [0.0, *usage.cpu_seconds])
        held = np.interp(middles, at, usage.memory / 2**30, left=0.0, right=0.0)
        cores, memory = together.get(backend, (np.zeros(_BINS), np.zeros(_BINS)))
        together[backend] = (cores + np.diff(used) / width, memory + held)
    parts = [
        pd.DataFrame({"backend": backend, "seconds": middles, "cores": cores, "memory": memory})
        for backend, (cores, memory) in together.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _samples(run: RunDirectory, records: Iterable[JobRecord]) -> Iterator[tuple[str, Usage]]:
    """Framework and samples of each job of which there are several."""
    for record in records:
        usage = read_usage(run, record.id)
        if usage is not None and len(usage.seconds) > 1:
            yield record.backend, usage


def usage_lines(frame: pd.DataFrame) -> list[alt.Chart]:
    """Draw processor and memory over time, a line for each framework."""
    legend = top_legend(dict.fromkeys(frame.backend), lines=True)
    dash = alt.StrokeDash(
        "backend:N",
        title="framework",
        scale=backend_scale(frame.backend, lambda style: list(style.dash)),
        legend=legend,
    )
    return [
        alt.Chart(frame[["backend", "seconds", name]])
        .mark_line(interpolate="step", strokeWidth=2)
        .encode(
            x=alt.X("seconds:Q", title="seconds of work, pauses left out"),
            y=alt.Y(f"{name}:Q", title=title),
            color=backend_colour(frame.backend).legend(legend),
            strokeDash=dash,
            tooltip=[alt.Tooltip("backend"), alt.Tooltip("seconds", format=",.0f"), alt.Tooltip(name, format=".2f")],
        )
        .properties(height=220)
        for name, title in _PANELS.items()
    ]


def _working_time(usages: list[Usage]) -> list[float]:
    """When each began, in seconds since the first, less long pauses in which nobody worked."""
    starts = [0.0] * len(usages)
    shift, until = min(usage.started for usage in usages), 0.0
    for place in sorted(range(len(usages)), key=lambda one: usages[one].started):
        begun = usages[place].started - shift
        if begun - until > _LONGEST_PAUSE:
            shift, begun = shift + begun - until, until
        starts[place] = begun
        until = max(until, begun + float(usages[place].seconds[-1]))
    return starts
