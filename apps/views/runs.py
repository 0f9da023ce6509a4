"""All runs: filtered, sorted, and chosen to be looked at or compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
from chosen_run import runs_folder
from page_parts import sortable

from trustml.errors import RecordError, RunNotFoundError
from trustml.record.notes import Notes, read_notes
from trustml.record.store import RunDirectory, newest_first
from trustml.report.documents import Cell, plain_text

_ALL, _DAMAGED = "all", "damaged"


@st.cache_data(max_entries=2000, show_spinner=False)
def facts_of(path: str, written: float) -> dict[str, Any]:
    """What a list says of one run; its record is read again when it was written again."""
    run = RunDirectory(Path(path))
    nothing: dict[str, Any] = {"data": [], "regimes": [], "frameworks": [], "epsilon": None, "created": "", "jobs": ""}
    try:
        manifest = run.manifest()
    except (RecordError, RunNotFoundError):
        return {"run": run.path.name, "status": [_DAMAGED], **nothing}
    training = manifest.scenario.get("training", ())
    epsilons = [regime["epsilon"] for regime in training if isinstance(regime.get("epsilon"), int | float)]
    return {
        "run": run.path.name,
        "status": [run.shown_status(manifest.status)],
        "data": [manifest.data.fingerprint[:8]],
        "regimes": [str(regime.get("name") or regime.get("kind")) for regime in training],
        "frameworks": list(manifest.scenario.get("backends", ())),
        "epsilon": max(epsilons) if epsilons else None,
        "jobs": f"{sum(job.status == 'ok' for job in manifest.jobs)} of {len(manifest.jobs)}",
        "created": manifest.created[:16].replace("T", " "),
    }


def notes_of(run: RunDirectory) -> Notes:
    """What was noted of a run; nothing where that cannot be read."""
    try:
        return read_notes(run)
    except RecordError:
        return Notes()


def modified(run: RunDirectory) -> float:
    """When the record was written; 0 where there is none."""
    try:
        return (run.path / "manifest.json").stat().st_mtime
    except OSError:
        return 0.0


def options(rows: list[dict[str, Any]], field: str) -> list[str]:
    """What a field holds in all runs, after the choice of all."""
    return [_ALL, *sorted({one for row in rows for one in row[field] if one})]


st.title("All runs")
rows = []
for run in newest_first(runs_folder()):
    noted = notes_of(run)
    written = {"tags": list(noted.tags), "note": noted.notes[-1].text if noted.notes else ""}
    rows.append(facts_of(str(run.path), modified(run)) | written)
with st.container(horizontal=True):
    wanted = st.text_input("Name or note holds", key="runs name")
    kept = {
        "status": st.selectbox("Status", options(rows, "status"), key="runs status"),
        "regimes": st.selectbox("Regime", options(rows, "regimes"), key="runs regime"),
        "data": st.selectbox("Data", options(rows, "data"), key="runs data", help="Start of its SHA-256"),
    }
    if any(row["tags"] for row in rows):
        kept["tags"] = st.selectbox("Tag", options(rows, "tags"), key="runs tag", help="Put on by `trustml note`")
    most = st.number_input("Epsilon at most", min_value=0.0, value=None, key="runs epsilon", placeholder="any")
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
