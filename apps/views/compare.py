"""Runs side by side: in what they differ, then what each measured."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from chosen_run import runs_folder
from page_parts import draw, hand_on, sortable, text_table

import trustml
from trustml.compare.run_differences import run_differences
from trustml.errors import TrustmlError
from trustml.measures.measure import leading
from trustml.record.store import RunDirectory, newest_first
from trustml.report import figures
from trustml.report.documents import plain_text
from trustml.report.tables import constant_lines, overview_frame

_KEY, _ADDRESSED = "compared", "runs in the address"

st.title("Compare")
names = [run.path.name for run in newest_first(runs_folder())]
asked = st.query_params.get("runs", "")
if asked and asked != st.session_state.get(_ADDRESSED):
    st.session_state[_KEY] = [name for name in asked.split(",") if name in names]
chosen = st.multiselect("Runs", names, key=_KEY, placeholder="Choose two or more")
st.query_params["runs"] = st.session_state[_ADDRESSED] = ",".join(chosen)
if len(chosen) < 2:
    st.info("Choose two runs or more.")
    st.stop()

loaded, shown = [], []
for name in chosen:
    run = trustml.Run(RunDirectory(runs_folder() / name))
    try:
        if run.status == "running":
            st.warning(plain_text(f"{name} is left out. It is running, and measured when it ends."))
            continue
        loaded.append((run.manifest, run.measures()))
        shown.append(run.directory)
    except TrustmlError as error:
        st.warning(plain_text(f"{name} is left out. {error}"))
if len(loaded) < 2:
    st.stop()
manifests = [manifest for manifest, _ in loaded]
for directory, manifest in zip(shown, manifests, strict=True):
    status, done = directory.shown_status(manifest.status), sum(one.status == "ok" for one in manifest.jobs)
    if status != "success":
        jobs = f"{done} of {len(manifest.jobs)} jobs are done"
        st.warning(plain_text(f"{manifest.run} is {status}: {jobs}, and what is missing is not compared."))

st.subheader("In what they differ")
differences = run_differences(manifests)
parts = list(dict.fromkeys(one.part for one in differences))
if not differences:
    st.success("Asked the same, of the same data, with the same versions on the same machine.")
elif parts != ["scenario"]:
    st.caption(
        plain_text(f"They differ in {', '.join(parts)}: what they measured may differ for any of these reasons.")
    )
for part in parts:
    text_table(
        [
            {part: one.field, **{manifest.run: value for manifest, value in zip(manifests, one.values, strict=True)}}
            for one in differences
            if one.part == part
        ],
        fold=False,
    )

for manifest, table in loaded:
    for line in constant_lines(table)[1]:
        st.error(plain_text(f"{manifest.run}: {line}."))
st.subheader("What each regime costs in each framework")
by_score: dict[str, list[int]] = {}
for number, (_, table) in enumerate(loaded):
    by_score.setdefault(leading(set(table.measure)), []).append(number)
for score, numbers in by_score.items():
    frames = []
    for number in numbers:
        manifest, table = loaded[number]
        frame = overview_frame(manifest, table)
        frame.insert(0, "run", manifest.run)
        frames.append(frame)
    sortable(pd.concat(frames, ignore_index=True))
    together = pd.concat(
        [loaded[n][1].assign(regime=loaded[n][1].regime + f" ({chr(65 + n)})") for n in numbers], ignore_index=True
    )
    st.caption(plain_text("; ".join(f"{chr(65 + n)}: {loaded[n][0].run}" for n in numbers)))
    if together[together.measure == score].value.notna().any():
        draw(figures.accuracy_points(together))
hand_on(shown)
