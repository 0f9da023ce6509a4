"""How every job ended and why, and what the results depend on."""

from __future__ import annotations

import msgspec
import pandas as pd
import streamlit as st
from chosen_run import current, how_to_go_on
from page_parts import text_table

from trustml.compare.run_differences import fields_of
from trustml.plan.attack_files import logs_folder
from trustml.record.schema import JobRecord
from trustml.record.store import ALL_EVENTS, EVENTS
from trustml.report.documents import plain_text

st.title("Record")


@st.fragment(run_every="2s" if current().status == "running" else None)
def progress() -> None:
    """Show how far a running run is; its last events tell."""
    run = current()
    manifest = run.manifest
    done = sum(record.status not in ("pending", "running") for record in manifest.jobs)
    st.progress(
        done / max(1, len(manifest.jobs)), text=plain_text(f"{run.status}: {done} of {len(manifest.jobs)} jobs ended")
    )
    if run.status != "running":
        return
    try:
        path = run.path / ALL_EVENTS
        lines = (path if path.is_file() else run.path / EVENTS).read_bytes().splitlines()[-200:]
    except OSError:
        return
    steps: dict[str, str] = {}
    for line in lines:
        event = msgspec.json.decode(line)
        if event["event"] == "step":
            steps[event["job"]] = f"step {event['step']} of {event['steps']}"
    for record in manifest.jobs:
        if record.status == "running":
            st.caption(plain_text(f"{record.id}: {steps.get(record.id, 'starting')}"))


def printed(record: JobRecord) -> str:
    """Last lines that a job printed: of a private one they are not in the record, but at hand for whoever ran it."""
    lines = list(record.stderr_tail)
    path = current().path / logs_folder(record.id) / "stderr.txt"
    if not lines and path.is_file():
        lines = path.read_bytes()[-20_000:].decode("utf-8", errors="replace").splitlines()[-20:]
    return "\n".join(lines)


def show_facts(facts: dict[str, str]) -> None:
    """Show facts by their names, one a line."""
    text_table([{"": name, "value": one} for name, one in facts.items()], fold=False)


progress()
run = current()
manifest = run.manifest
failed = [record for record in manifest.jobs if record.status not in ("ok", "pending", "running")]
if failed:
    st.subheader("What failed, and why")
    told_of: set[str] = set()
    for record in failed:
        first_of_its_reason = record.status != "blocked" and record.reason not in told_of
        told_of.add(record.reason)
        with st.expander(plain_text(f"{record.id}: {record.status}: {record.reason}"), expanded=first_of_its_reason):
            code = "no exit code" if record.exit_code is None else f"exit code {record.exit_code}"
            lines = printed(record)
            told = f"{code}, attempt {record.attempt}, {record.seconds:.1f} s" + (
                "" if lines else ", nothing on stderr"
            )
            st.caption(plain_text(told))
            if lines:
                st.code(lines, language=None)
if failed and manifest.status != "running":
    st.caption("What is missing is done by this command.")
    how_to_go_on()

st.subheader("Jobs")
st.dataframe(
    pd.DataFrame(
        [
            {
                "job": record.id,
                "status": record.status,
                "library": record.result.library if record.result else "",
                "seconds": round(record.seconds, 1),
                "peak MiB": round(record.peak_memory / 2**20) or None,
                "attempt": record.attempt,
                "reason": record.reason,
            }
            for record in manifest.jobs
        ]
    ),
    hide_index=True,
    width="stretch",
)
if manifest.skips:
    st.subheader("Cells that no library fills")
    text_table([{"framework": s.backend, "regime or method": s.cell, "why": s.reason} for s in manifest.skips])
data = manifest.data
st.subheader("Data")
show_facts(
    {
        "examples": f"{data.train_examples:,} to train on, {data.test_examples:,} held out",
        "shape of an input": " x ".join(map(str, data.input_shape)),
        **{f"note {number}": note for number, note in enumerate(data.notes, start=1)},
    }
)
st.caption(plain_text(f"SHA-256 {data.fingerprint}"))  # in a table it would be cut off
with st.expander("How it was prepared"):
    st.json(msgspec.to_builtins(data.preparation))
st.subheader("Machine and versions")
machine = {**manifest.hardware, **{f"source {name}": one for name, one in manifest.source.items()}}
show_facts({name.replace("_gib", " GiB").replace("_", " "): one for name, one in machine.items()})
versions = {"measured by": manifest.versions}
versions |= {record.backend: record.result.versions for record in manifest.jobs if record.result}
packages = sorted(set().union(*versions.values()))
text_table(
    [{"package": one, **{where: found.get(one, "") for where, found in versions.items()}} for one in packages],
    fold=False,
)
st.subheader("Scenario")
show_facts(dict(fields_of(manifest.scenario)))
with st.expander("All of its fields"):
    st.json(manifest.scenario)
