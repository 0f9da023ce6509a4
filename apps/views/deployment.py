"""Exported models: whether what is deployed still is what was audited."""

from __future__ import annotations

import shlex

import streamlit as st
from chosen_run import current, measures, runs_folder
from page_parts import show_rows

from trustml.measures.measure import of_family
from trustml.record.exports import read_exports
from trustml.report.deployed.frames import SAME, deployed_frame, deployed_parts
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
for title, of_part in deployed_parts().items():
    part = [one for one in of_part if one.head in frame]
    if not part:
        continue
    st.subheader(plain_text(title))
    how = ["attributions by"] if title == SAME else []
    st.dataframe(frame[["model", "file", *(one.head for one in part), *how]], hide_index=True, width="stretch")
    for one in part:
        st.caption(plain_text(f"{one.head}: {one.meaning}"))
show_rows(table[table.measure.isin([*of_family("deployed"), *of_family("deployed attacks")])])
