"""Start a scenario of the operator's folder: a form, what it would do, and the runs that are executed now."""

from __future__ import annotations

from typing import Any

import msgspec
import streamlit as st
from chosen_run import runs_folder
from launching import (
    FormField,
    ask,
    form_fields,
    go_on,
    overrides_of,
    read_choice,
    scenario_files,
    scenarios_folder,
    unfinished,
)
from page_parts import text_table

from trustml.errors import RecordError, UsageError
from trustml.launch.forecast import Together, together_line
from trustml.record.running import ask_to_end, executed_now
from trustml.record.store import RunDirectory, list_runs
from trustml.report.documents import plain_text
from trustml.scenario.spec import Scenario

st.title("Launch")
folder = scenarios_folder()
assert folder is not None  # else there is no such page


def asked_for(field: FormField) -> Any:
    """Show one field, and give what it says."""
    key = f"field {field.path}"
    if field.kind == "choice":
        return st.selectbox(plain_text(field.path), field.choices, index=field.choices.index(str(field.value)), key=key)
    if field.kind == "flag":
        return st.checkbox(plain_text(field.path), value=bool(field.value), key=key)
    if field.kind == "whole number":
        return st.number_input(plain_text(field.path), value=int(field.value), step=1, key=key)
    return st.number_input(plain_text(field.path), value=float(field.value), format="%g", key=key)


def by_part(fields: list[FormField], scenario: Scenario) -> list[tuple[str, list[FormField]]]:
    """Give the fields of each regime together, under its name; before them those of no regime."""
    parts: dict[int, list[FormField]] = {}
    for field in fields:
        kind, number, *_ = field.path.split(".")
        parts.setdefault(int(number) if kind == "training" else -1, []).append(field)
    return [("" if number < 0 else scenario.training[number].title, group) for number, group in parts.items()]


names = scenario_files(folder)
if not names:
    st.info(plain_text(f"There are no scenarios (.py, .toml) in {folder}."))
else:
    name = st.selectbox("Scenario", names, key="scenario")
    try:
        scenario = read_choice(folder, name)
    except UsageError as error:
        st.error(plain_text(error))
        st.stop()
    if scenario.description:
        st.caption(plain_text(scenario.description))
    fields = form_fields(scenario)
    with st.form("launch"):
        backends = st.multiselect("frameworks", scenario.backends, default=scenario.backends)
        seeds = st.number_input("seeds", min_value=1, max_value=100, value=len(scenario.seeds), step=1)
        asked: dict[str, Any] = {}
        for head, group in by_part(fields, scenario):
            if head:
                st.markdown("**" + plain_text(head) + "**")
            for first in range(0, len(group), 3):  # columns of a line each: on a small screen they keep their order
                for field, place in zip(group[first : first + 3], st.columns(3), strict=False):
                    with place:
                        asked[field.path] = asked_for(field)
        more = st.text_area("Other fields, one a line, as FIELD=VALUE; several values make a sweep", key="more")
        plan = st.form_submit_button("Say what it would do")
        start = st.form_submit_button("Start", type="primary")
    if plan or start:
        settings = [*overrides_of(asked, fields), *filter(None, map(str.strip, more.splitlines()))]
        options = [f"--backend={backend}" for backend in backends]
        options += [f"--seeds={seeds}"] if seeds != len(scenario.seeds) else []
        try:
            with st.spinner("planning: the data are read, and noise is calibrated"):
                told = ask(folder, name, settings=settings, options=[*options, "--dry-run" if plan else "--detach"])
        except UsageError as error:
            st.error(plain_text(error))
            st.stop()
        if start:
            st.success(plain_text(f"Started {told['run']}. It goes on when this page is closed."))
            st.page_link("views/overview.py", label="Show it", query_params={"run": told["run"]})
        else:
            text_table(
                [
                    {
                        "job": job["id"],
                        "steps": "" if job["steps"] is None else f"{job['steps']:,}",
                        "noise": "" if job["noise_multiplier"] is None else f"{job['noise_multiplier']:.4g}",
                        "seconds": "unknown" if job["seconds"] is None else f"{job['seconds']:.0f}",
                    }
                    for job in told["jobs"]
                ]
            )
            for group in msgspec.convert(told["together"], list[Together]):
                st.caption(plain_text(f"{together_line(group)}."))
            for skip in told["skips"]:
                st.caption(plain_text(f"Left out: {skip['reason']}"))
            for warning in told["warnings"]:
                st.warning(plain_text(warning))


@st.fragment(run_every="2s")
def running() -> None:
    """Show what is executed now, by whomever it was started, and end it where asked to."""
    st.subheader("Running now")
    found = [run for run in list_runs(runs_folder()) if run.is_executed()]
    if not found:
        st.caption("Nothing.")
    for run in found:
        try:
            one = executed_now(run)
        except RecordError:  # ended, or removed, since
            continue
        steps = [f"{job.job} {job.step}/{job.steps}" if job.steps else job.job for job in one.running]
        st.progress(
            one.jobs_done / max(1, one.jobs),
            text=plain_text(f"{one.run}: {one.jobs_done} of {one.jobs} jobs; {', '.join(steps) or 'measuring'}"),
        )
        if st.button("Cancel", key=f"cancel {one.run}"):
            cancel(run)
    for run in unfinished():
        name = run.path.name
        st.markdown(plain_text(f"{name} ended before it was done."))
        with st.container(horizontal=True):
            if st.button("Go on", key=f"resume {name}", help="As `trustml run --resume` does"):
                resume(run)
            st.page_link("views/overview.py", label="Show it", query_params={"run": name})


def resume(run: RunDirectory) -> None:
    """Do what is missing of a run."""
    try:
        go_on(run)
        st.rerun()
    except UsageError as error:
        st.error(plain_text(error))


def cancel(run: RunDirectory) -> None:
    """End a run as Ctrl-C would."""
    try:
        with st.spinner("ending: what is finished is kept and measured"):
            ask_to_end(run)
        st.info(plain_text(f"{run.path.name} was ended. `trustml run --resume {run.path.name}` goes on with it."))
    except UsageError as error:
        st.error(plain_text(error))


running()
