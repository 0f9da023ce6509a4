"""Exported models: whether what is deployed still is what was audited."""

from __future__ import annotations

import shlex

import streamlit as st
from chosen_run import current, measures, runs_folder
from page_parts import show_rows

from trustml.measures.measure import MEASURES, of_family
from trustml.record.exports import read_exports
from trustml.report.deployed.frames import PARTS, deployed_frame
from trustml.report.deployed.tables import failure_of
from trustml.report.documents import plain_text

st.title("Deployment")
table = measures()
frame = deployed_frame(table)
if frame.empty:
    trained = [record.id for record in current().manifest.jobs if record.kind == "train" and record.status == "ok"]
    st.info("No model of this run was exported." + (" This command does it." if trained else ""))
    if trained:
        run, model, runs = map(shlex.quote, (current().path.name, trained[0], str(runs_folder())))
        st.code(f"trustml export {run} {model} --to onnx --runs {runs}", language=None, wrap_lines=True)
    st.stop()
st.caption(
    "Each file was opened in a fresh process of its own runtime and asked what the audited model was asked. One that "
    "was not rounded must differ by no more than the order of sums; a rounded one is another model, by as much as "
    "stands here."
)
for exported in read_exports(current().directory):
    of_file = table[(table.job == exported.model) & (table.subject == exported.title)]
    if not of_file.empty and (problem := failure_of(exported, of_file)):
        st.error(plain_text(f"Not to be deployed as the model that was audited: {problem}"))
for title, names in PARTS.items():
    shown = [MEASURES[name] for name in names if MEASURES[name].head in frame]
    if not shown:
        continue
    st.subheader(title)
    heads = ["model", "file", *(one.head for one in shown)]
    how = ["attributions by"] if "deployed_attribution_agreement" in names else []
    st.dataframe(frame[heads + how], hide_index=True, width="stretch")
    st.caption("  \n".join(plain_text(f"{one.head}: {one.meaning}") for one in shown))
show_rows(table[table.measure.isin([*of_family("deployed"), *of_family("deployed attacks")])])
