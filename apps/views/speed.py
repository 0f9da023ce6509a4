"""How long a step takes, how much memory it holds, how long an explanation takes."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st
from chosen_run import current, measures, runs_folder, seen
from page_parts import beside, draw, show_rows

from trustml.launch.benchmarks import bench_module
from trustml.measures.entry import Measure
from trustml.measures.measure import MEASURES, shown_in
from trustml.report.documents import plain_text
from trustml.report.speed import figures
from trustml.report.speed.tables import load_words
from trustml.report.speed.usage import has_usage, usage_frame, usage_lines

EXPLANATIONS, OVER_TIME = "Explanations", "Processor and memory over time"

st.title("Speed")
table = measures()


@st.cache_resource(max_entries=50, show_spinner=False)
def bars(path: str, seen: str, name: str) -> list[Any]:
    """Charts of one measure; anew when more is known."""
    return list(figures.measure_bars(table, name))


@st.cache_resource(max_entries=8, show_spinner=False)
def used(path: str, seen: str, job: str) -> pd.DataFrame:
    """What workers used over time, of all jobs or one; anew when more is known."""
    return usage_frame(run.directory, [one for one in run.manifest.jobs if job in ("", one.id)])


@st.cache_resource(max_entries=4, show_spinner=False)
def sampled(path: str, seen: str) -> bool:
    """Whether it is at hand what workers used over time; anew when more is known."""
    return has_usage(run.directory, manifest.jobs)


def part_of(name: str) -> str:
    """Name the part of the page that a measure belongs to."""
    if (table[table.measure == name].method != "").all():  # of a library's explanations
        return EXPLANATIONS
    return "Memory" if MEASURES[name].unit == "bytes" else title_of(MEASURES[name])


def title_of(measure: Measure) -> str:
    """Name a measure over its charts."""
    return measure.title.capitalize()


def show_measure(name: str) -> None:
    """Draw one measure, a chart for each regime."""
    measure, rows = MEASURES[name], table[table.measure == name].dropna(subset="value")
    if part_of(name) != title_of(measure):
        st.subheader(plain_text(title_of(measure)))
    st.caption(plain_text(measure.meaning))
    if measure.spread == "quartiles":
        st.caption(
            "Bar and number are the median, and the line goes from quartile to quartile. Each regime has its own axis: "
            "a federated step is a whole round."
        )
    elif part_of(name) == EXPLANATIONS:
        st.caption("Bar and number are the median over models, and the line goes from the smallest to the largest.")
    for chart in bars(*known, name):
        draw(chart)
    show_rows(rows)


def show_usage() -> None:
    """Draw processor and memory over time."""
    jobs = ["", *(one.id for one in manifest.jobs if one.status == "ok")]
    chosen = st.selectbox("Workers of", jobs, format_func=lambda one: one or "all jobs", key="usage job")
    frame = used(*known, chosen)
    if frame.empty:
        st.info("That job ended before two samples of it were taken.")
        return
    beside(usage_lines(frame), columns=2)
    st.caption(
        "Workers and what they start, sampled while they run; those of a framework together. Read from private/: times "
        "of steps follow the data."
    )


run = current()
manifest, known = run.manifest, (str(run.path), seen(run))
devices = sorted({record.result.device for record in manifest.jobs if record.result and record.result.device})
disturbed = any(record.concurrent for record in manifest.jobs)
st.caption(
    plain_text(
        f"Device: {', '.join(devices) or 'unknown'} · {manifest.hardware.get('processor')}, "
        f"{manifest.hardware.get('cores')} cores. "
        + ("Other jobs ran beside some of these: do not read small differences." if disturbed else "One job at a time.")
    )
)
for text in load_words(table):
    st.warning(plain_text(text[:1].upper() + text[1:]))
measured = set(table[table.value.notna()].measure)
places: dict[str, list[str]] = {}
for name in sorted(shown_in("speed page"), key=lambda one: MEASURES[one].family != "speed"):
    if name in measured:
        places.setdefault(part_of(name), []).append(name)
parts = [*places, *([OVER_TIME] if sampled(*known) else [])]
if parts:
    # Of the others nothing is drawn: charts that nobody sees would keep the browser busy.
    for place, part in zip(
        st.tabs([plain_text(name) for name in parts], key="speed tab", on_change="rerun"), parts, strict=True
    ):
        if place.open:
            with place:
                for name in places.get(part, ()):
                    show_measure(name)
                if part == OVER_TIME:
                    show_usage()
panels = bench_module("panels")  # no part of an installation
if panels is not None and st.toggle("Show what `trustml bench` measured of trustml beside other libraries"):
    panels.show_benchmark(runs_folder())
