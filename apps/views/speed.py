"""How long a step takes, how much memory it holds, how long an explanation takes."""

from __future__ import annotations

from typing import Any

import streamlit as st
from chosen_run import current, measures, runs_folder, seen
from page_parts import draw, show_rows

from trustml.launch.benchmarks import bench_module
from trustml.measures.measure import shown_in
from trustml.report.documents import plain_text
from trustml.report.speed import figures
from trustml.report.speed.tables import load_words

st.title("Speed")
table = measures()


@st.cache_resource(max_entries=50, show_spinner=False)
def bars(path: str, seen: str, name: str) -> list[Any]:
    """Charts of one measure; anew when more is known."""
    return list(figures.measure_bars(table, name))


manifest = current().manifest
devices = sorted({record.result.device for record in manifest.jobs if record.result and record.result.device})
beside = any(record.concurrent for record in manifest.jobs)
st.caption(
    plain_text(
        f"Device: {', '.join(devices) or 'unknown'} · {manifest.hardware.get('processor')}, "
        f"{manifest.hardware.get('cores')} cores. "
        + ("Other jobs ran beside some of these: do not read small differences." if beside else "One job at a time.")
    )
)
# What a step takes comes first; what explanations take belongs to another family of measures.
for text in load_words(table):
    st.warning(plain_text(text[:1].upper() + text[1:]))
for name, measure in sorted(shown_in("speed page").items(), key=lambda one: one[1].family != "speed"):
    rows = table[table.measure == name].dropna(subset="value")
    if rows.empty:
        continue
    st.subheader(plain_text(measure.title.capitalize()))
    st.caption(plain_text(measure.meaning))
    if measure.spread == "quartiles":
        st.caption(
            "Median, and quartiles as a black line. Each regime has its own axis: a federated step is a whole round."
        )
    for chart in bars(str(current().path), seen(current()), name):
        draw(chart)
    show_rows(rows)
panels = bench_module("panels")  # no part of an installation
if panels is not None and st.toggle("Show what `trustml bench` measured of trustml beside other libraries"):
    panels.show_benchmark(runs_folder())
