"""All runs: filtered, sorted, and chosen to be looked at or compared."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st
from chosen_run import runs_folder
from page_parts import sortable

from trustml.errors import RecordError
from trustml.record.index import ListedRun, listed_runs
from trustml.record.notes import Notes, read_notes
from trustml.record.store import RunDirectory, made
from trustml.report.documents import Cell, plain_text

_ALL, _DAMAGED = "all", "damaged"


def facts_of(listed: ListedRun) -> dict[str, Any]:
    """What a list says of one run."""
    name, head = listed.directory.path.name, listed.head
    nothing: dict[str, Any] = {"data": [], "regimes": [], "frameworks": [], "epsilon": None, "created": "", "jobs": ""}
    if head is None:
        return {"run": name, "status": [_DAMAGED], **nothing}
    training = head.scenario.training
    epsilons = [one.epsilon for one in training if isinstance(one.epsilon, int | float)]
    return {
        "run": name,
        "status": [listed.directory.shown_status(head.status)],
        "data": [head.data.fingerprint[:8]],
        "regimes": [one.name or one.kind for one in training],
        "frameworks": list(head.scenario.backends),
        "epsilon": max(epsilons) if epsilons else None,
        "jobs": f"{sum(job.status == 'ok' for job in head.jobs)} of {len(head.jobs)}",
        "created": head.created[:16].replace("T", " "),
    }


def notes_of(run: RunDirectory) -> Notes:
    """What was noted of a run; nothing where that cannot be read."""
    try:
        return read_notes(run)
    except RecordError:
        return Notes()


def options(rows: list[dict[str, Any]], field: str) -> list[str]:
    """What a field holds in all runs, after the choice of all."""
    return [_ALL, *sorted({one for row in rows for one in row[field] if one})]


st.title("All runs")
rows = []
for one in sorted(listed_runs(runs_folder()), key=lambda one: made(one.directory), reverse=True):
    noted = notes_of(one.directory)
    written = {"tags": list(noted.tags), "note": noted.notes[-1].text if noted.notes else ""}
    rows.append(facts_of(one) | written)
with st.container(horizontal=True):
    wanted = st.text_input("Name or note holds", key="runs name")
    kept = {
        "status": st.selectbox("Status", options(rows, "status"), key="runs status"),
        "regimes": st.selectbox("Regime", options(rows, "regimes"), key="runs regime"),
        "data": st.selectbox("Data", options(rows, "data"), key="runs data", help="Start of its SHA-256"),
    }
    if any(row["tags"] for row in rows):
        kept["tags"] = st.selectbox("Tag", options(rows, "tags"), key="runs tag", help="Put on by `trustml note`")
    most = st.number_input(
        "Epsilon at most", min_value=0.0, value=None, key="runs epsilon", placeholder="any", width=150
    )
shown = [
    row
    for row in rows
    if wanted.lower() in f"{row['run']} {row['note']}".lower()
    and all(value in (_ALL, *row[field]) for field, value in kept.items())
    and (most is None or (row["epsilon"] is not None and row["epsilon"] <= most))
]
st.caption(plain_text(f"{len(shown)} of {len(rows)} runs"))
if shown:
    cells = {name: [", ".join(row[name]) for row in shown] for name in ("status", "data", "regimes", "frameworks")}
    told = {
        name: values
        for name, values in (
            ("tags", [", ".join(row["tags"]) for row in shown]),
            ("note", [row["note"] for row in shown]),
        )
        if any(values)
    }
    epsilons = [Cell("") if (e := row["epsilon"]) is None else Cell(f"{e:g}", e) for row in shown]
    sortable(
        pd.DataFrame(
            {
                "run": [row["run"] for row in shown],
                "status": cells["status"],
                **told,
                "jobs": [row["jobs"] for row in shown],
                "target epsilon": epsilons,
                "regimes": cells["regimes"],
                "frameworks": cells["frameworks"],
                "data": cells["data"],
                "created": [row["created"] for row in shown],
            }
        )
    )
names = [row["run"] for row in shown if row["status"] != [_DAMAGED]]
chosen = st.multiselect("Runs to compare", names, key="runs chosen", placeholder="Choose two or more")
if len(chosen) > 1:
    st.page_link("views/compare.py", label="Compare them", query_params={"runs": ",".join(chosen)})
elif len(chosen) == 1:
    st.page_link("views/overview.py", label="Open it", query_params={"run": chosen[0]})
