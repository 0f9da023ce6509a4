"""How long a step takes, how much memory it holds, how long an explanation takes."""

from __future__ import annotations

import streamlit as st
from chosen_run import current, measures, runs_folder, show_rows

from trustml.launch.benchmarks import bench_module
from trustml.report.speed import figures

st.title("Speed")
table = measures()
manifest = current().manifest
devices = sorted({record.result.device for record in manifest.jobs if record.result and record.result.device})
beside = any(record.concurrent for record in manifest.jobs)
st.caption(
    f"Device: {', '.join(devices) or 'unknown'} · {manifest.hardware.get('processor')}, "
    f"{manifest.hardware.get('cores')} cores. "
    + ("Other jobs ran beside some of these: do not read small differences." if beside else "One job at a time.")
)
charts = {
    "step_time_median": ("Steady step", figures.step_times),
    "step_time_first": ("First step: tracing and compiling", figures.first_steps),
    "examples_per_second": ("Throughput", figures.throughput),
    "peak_memory": ("Memory", figures.memory),
    "explain_time": ("Explaining", figures.explanation_times),
    "explain_passes": ("Integrated gradients at the error asked for", figures.explanation_passes),
}
for measure, (title, chart) in charts.items():
    rows = table[table.measure == measure].dropna(subset="value")
    if rows.empty:
        continue
    st.subheader(title)
    if measure == "step_time_median":
        st.caption(
            "Median, and quartiles as a black line. Each regime has its own axis: a federated step is a whole round."
        )
    st.altair_chart(chart(table), width="content")
    show_rows(rows)
panels = bench_module("panels")  # no part of an installation
if panels is not None:
    panels.show_benchmark(runs_folder())
