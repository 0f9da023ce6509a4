"""One table: what each regime costs in each framework."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st
from chosen_run import current, how_to_go_on, measures, seen, statements
from page_parts import draw, hand_on, notes, show_rows, sortable, text_table

from trustml.errors import RecordError
from trustml.measures.measure import MEASURES, leading, of_family
from trustml.models.tasks import in_words
from trustml.privacy.statement import at_most
from trustml.record.schema import task_of
from trustml.report import figures
from trustml.report.documents import plain_text
from trustml.report.parallel_coordinates import parallel_coordinates
from trustml.report.summary import summary, worded
from trustml.report.sweeps import sweep_charts
from trustml.report.tables import constant_lines, overview_frame

_ARROW = ":material/arrow_forward:"

run = current()
manifest = run.manifest
st.title(plain_text(manifest.scenario.get("name", "run")))
if description := manifest.scenario.get("description", ""):
    st.caption(plain_text(description))

try:
    noted = run.notes()
    if noted.tags:
        st.caption(plain_text(f"Tags: {', '.join(noted.tags)}"))
    for note in noted.notes[-3:]:
        st.caption(plain_text(f"Note of {note.written[:10]}: {note.text}"))
except RecordError as error:
    st.warning(plain_text(error))

failed = [record for record in manifest.jobs if record.status not in ("ok", "pending", "running")]
done = sum(record.status == "ok" for record in manifest.jobs)
if manifest.status == "success" and not failed:
    st.success(plain_text(f"All {len(manifest.jobs)} jobs ended well."))
elif manifest.status == "running":
    st.info(plain_text(f"Running: {done} of {len(manifest.jobs)} jobs are done. This page follows it."))
else:
    missing = f"{len(manifest.jobs) - done} of {len(manifest.jobs)} jobs are not done"
    st.warning(plain_text(f"{manifest.status.capitalize()}: {missing}. The Record page has them all. Go on with"))
    how_to_go_on()
reasons: dict[str, list[str]] = {}
for record in failed:
    if record.status not in ("blocked", "interrupted"):
        reasons.setdefault(record.reason, []).append(record.id)
for reason, jobs in reasons.items():
    more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
    st.error(plain_text(f"{jobs[0]}{more}: {reason}"))

data = manifest.data
with st.container(horizontal=True, gap="medium"):
    for label, number in (
        ("training examples", data.train_examples),
        ("held-out examples", data.test_examples),
        ("seeds", len(manifest.scenario["seeds"])),
        ("frameworks", len(manifest.scenario["backends"])),
    ):
        st.metric(plain_text(label), plain_text(f"{number:,}"), width="content")
    st.metric("task", plain_text(in_words(task_of(manifest), len(data.class_names))), width="content")

table = measures()


@st.cache_resource(max_entries=4, show_spinner=False)
def answered(path: str, seen: str) -> tuple[list[Any], pd.DataFrame]:
    """Answer what is asked first, and make the first table; anew when more is known."""
    return worded(summary(manifest, table, statements())), overview_frame(manifest, table)


answers_of_run, first_table = answered(str(run.path), seen(run))
for question, answers in answers_of_run:
    if page := answers[0].page:
        st.page_link(
            f"views/{page}.py",
            label="**" + plain_text(question) + "**",
            query_params={"run": run.path.name},
            icon=_ARROW,
        )
    else:
        st.markdown("**" + plain_text(question) + "**")
    for answer in answers:
        st.markdown(plain_text(answer.sentence))
first = leading(set(table.measure))
score = MEASURES[first].title[:1].upper() + MEASURES[first].title[1:]
st.subheader("What each regime costs in each framework")
sortable(first_table)
st.caption(
    plain_text(
        f"{score}: 95 % interval, or smallest and largest over seeds. Step time: median and quartiles after the first "
        "step; a federated step is a whole round. Epsilon 'none': trained without privacy, no finite epsilon holds; "
        "'(user)': for all examples of a client together, never to be ranked with an epsilon for examples."
    )
)
for line in constant_lines(table)[0]:
    st.caption(plain_text(f"{line[:1].upper()}{line[1:]}."))
lines = [f"Epsilon: {note}." for note in table[table.measure == "epsilon"].dropna(subset="value").note]
for row in table[table.measure == "epsilon_all_releases"].itertuples():
    lines.append(f"Epsilon of all releases together: {at_most(row.value, 2)} ({row.note}).")
notes(lines)

st.subheader(plain_text(score))
if (table[table.measure == first].value.notna()).any():
    draw(figures.accuracy_points(table))
else:
    st.info("No model has one yet." if manifest.status == "running" else "No model has one.")
for chart in (*sweep_charts(manifest, table), *parallel_coordinates(manifest, table)):
    draw(chart)
show_rows(table[table.measure.isin(list(of_family("accuracy")))])

if manifest.skips:
    st.subheader("Not run")
    text_table([{"framework": s.backend, "regime or method": s.cell, "why": s.reason} for s in manifest.skips])
for warning in dict.fromkeys((*manifest.warnings, *data.notes)):
    st.warning(plain_text(warning))
machine = manifest.hardware
st.caption(
    plain_text(
        f"{machine.get('processor')}, {machine.get('cores')} cores, {machine.get('memory_gib')} GiB; {run.path.name}"
    )
)
if manifest.status != "running":
    hand_on([run.directory])
