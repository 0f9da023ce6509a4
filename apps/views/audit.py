"""The audit of the chosen run: verdict, findings, evidence, and what to hand on."""

from __future__ import annotations

import streamlit as st
from chosen_run import current, how_to_go_on
from findings import show_audit

from trustml.auditing.result import AuditRecord
from trustml.auditing.run_audit import audit_run
from trustml.errors import RecordError
from trustml.record.store import MEASURES
from trustml.report.documents import plain_text

st.title("Audit")
run = current()


@st.cache_data(max_entries=8, show_spinner="Judging every claim of the run")
def judged(path: str, written: float) -> AuditRecord:
    """Audit a run from what is recorded, in memory; anew when it was measured anew."""
    return audit_run(run.directory)


if not (run.path / MEASURES).is_file():
    st.info("Its claims are judged when the run is measured.")
    if run.status != "running":
        how_to_go_on()
    st.stop()
try:
    record = judged(str(run.path), (run.path / MEASURES).stat().st_mtime)
except RecordError as error:
    st.warning(plain_text(f"It cannot be audited. {error}"))
    st.stop()
st.caption("Judged from what is recorded: nothing was trained or attacked for it. `trustml audit` keeps it in the run.")
show_audit(record, key=run.path.name)
