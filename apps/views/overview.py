"""One table: what each regime costs in each framework."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from chosen_run import current, measures, show_rows

from trustml.measures.measure import MEASURES, leading, of_family
from trustml.models.tasks import in_words
from trustml.privacy.statement import at_most
from trustml.record.schema import task_of
from trustml.report import figures
from trustml.report.tables import overview_frame

run = current()
manifest = run.manifest
st.title(manifest.scenario.get("name", "run"))
st.caption(manifest.scenario.get("description", ""))

failed = [record for record in manifest.jobs if record.status not in ("ok", "pending", "running")]
if run.status == "success":
    st.success(f"All {len(manifest.jobs)} jobs ended well.")
elif run.status == "running":
    done = sum(record.status == "ok" for record in manifest.jobs)
    st.info(f"Running: {done} of {len(manifest.jobs)} jobs are done. The Record page follows it.")
else:
    st.warning(f"{run.status.capitalize()}: {len(failed)} of {len(manifest.jobs)} jobs did not end well.")
    st.markdown(f"Go on with `trustml run --resume {manifest.run}`.")
    for reason in dict.fromkeys(record.reason for record in failed if record.status != "blocked"):
        st.markdown(f"- {reason}")

table = measures()
data, score = manifest.data, MEASURES[leading(set(table.measure))].title
score = score[:1].upper() + score[1:]
columns = st.columns(5)
columns[0].metric("training examples", f"{data.train_examples:,}")
columns[1].metric("held-out examples", f"{data.test_examples:,}")
columns[2].metric("task", in_words(task_of(manifest), len(data.class_names)))
columns[3].metric("seeds", len(manifest.scenario["seeds"]))
columns[4].metric("frameworks", len(manifest.scenario["backends"]))

st.subheader("What each regime costs in each framework")
st.dataframe(overview_frame(manifest, table), hide_index=True, width="stretch")
st.caption(
    f"{score}: 95 % interval, or smallest and largest over seeds. Step time: median and quartiles after the first "
    "step; a federated step is a whole round. Epsilon 'none': trained without privacy, no finite epsilon holds; "
    "'(user)': for all examples of a client together, never to be ranked with an epsilon for examples."
)
for note in dict.fromkeys(table[table.measure == "epsilon"].dropna(subset="value").note):
    st.caption(f"Epsilon: {note}.")
for row in table[table.measure == "epsilon_all_releases"].itertuples():
    st.caption(f"Epsilon of all releases together: {at_most(row.value, 2)} ({row.note}).")

st.subheader(score)
st.altair_chart(figures.accuracy_points(table), width="stretch")
show_rows(table[table.measure.isin(list(of_family("accuracy")))])

if manifest.skips:
    st.subheader("Not run")
    st.dataframe(
        pd.DataFrame([{"framework": s.backend, "regime or method": s.cell, "why": s.reason} for s in manifest.skips]),
        hide_index=True,
    )
for warning in (*manifest.warnings, *data.notes):
    st.warning(warning)
machine = manifest.hardware
st.caption(f"{machine.get('processor')}, {machine.get('cores')} cores, {machine.get('memory_gib')} GiB; {manifest.run}")
