"""The run that the reader chose: its folder's name is in the URL, its files are only ever read."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pandas as pd
import streamlit as st

import trustml
from trustml.compare.rows import measure_run
from trustml.compare.table import read_measures, table_of
from trustml.errors import TrustmlError
from trustml.privacy.statement import PrivacyStatement
from trustml.record.ledgers import ledger_digests
from trustml.record.schema import JobRecord
from trustml.record.store import MEASURES, RunDirectory, newest_first
from trustml.report.documents import plain_text
from trustml.report.tables import constant_lines

_CHOSEN, _ADDRESSED = "run", "run in the address"
_LOOK_AGAIN = "3s"


def runs_folder() -> Path:
    """Folder of the runs, from ``TRUSTML_RUNS``."""
    return Path(os.environ.get("TRUSTML_RUNS", "runs"))


def choose_run() -> None:
    """Show the chooser in the sidebar; stop with a clear message where there is nothing to choose.

    The choice is the widget's, and survives a change of page, which empties the address. The address is written after
    it, and followed where something else has changed it.
    """
    names = [run.path.name for run in newest_first(runs_folder())]  # no run is opened
    if not names:
        st.info(plain_text(f"There are no runs in {runs_folder()}. Make one as below, then reload this page."))
        st.code("trustml run digits", language=None)
        st.stop()
    asked, state = st.query_params.get("run"), st.session_state
    if asked in names and asked != state.get(_ADDRESSED):
        state[_CHOSEN] = asked
    if state.get(_CHOSEN) not in names:
        state[_CHOSEN] = names[0] if asked is None else None
    chosen = st.sidebar.selectbox("Run", names, key=_CHOSEN, placeholder="Choose a run")
    if chosen is None:
        st.error(plain_text(f"There is no run {asked!r} in {runs_folder()}. Choose one at the left."))
        st.stop()
    st.query_params["run"] = state[_ADDRESSED] = chosen


def current() -> trustml.Run:
    """Give the chosen run."""
    return trustml.Run(RunDirectory(runs_folder() / st.session_state[_CHOSEN]))


def how_to_go_on() -> None:
    """Show the command that does what is missing of the chosen run."""
    run = shlex.quote(current().path.name)
    st.code(f"trustml run --resume {run} --runs {shlex.quote(str(runs_folder()))}", language=None, wrap_lines=True)


def measures() -> pd.DataFrame:
    """Give the chosen run's tidy table; before the run has one, that of the jobs which are done so far.

    Whatever a page shows of models that answer the same for every example, it says so first.
    """
    table = _measured()
    for line in constant_lines(table)[1]:
        st.error(plain_text(f"{line}."))
    return table


def _measured() -> pd.DataFrame:
    run = current()
    if not _is_so_far(run):
        return _read(str(run.path), seen(run))
    manifest = run.manifest
    done = sum(record.status == "ok" for record in manifest.jobs)
    if not done:
        st.info(
            "No job has ended yet."
            if run.status == "running"
            else "No job of this run ended well, so there is nothing to measure. The Record page says why."
        )
        st.stop()
    st.info(
        plain_text(
            f"So far: measured from {done} of {len(manifest.jobs)} jobs. "
            + ("More appears here as jobs end." if run.status == "running" else "The run ended before it was measured.")
            + " Epsilons are of what was charged until now."
        )
    )
    return _so_far(str(run.path), seen(run))[0]


def statements() -> list[PrivacyStatement]:
    """Give the chosen run's privacy statements; of a run that goes on, what was charged so far."""
    run = current()
    return _so_far(str(run.path), seen(run))[1] if _is_so_far(run) else run.privacy()


def follow() -> None:
    """While the chosen run is running, show in the sidebar how far it is, and the page anew as jobs end."""
    try:
        running = current().status == "running"
    except TrustmlError:  # told by the pages that show it; those of other runs need not know
        return
    if running:
        with st.sidebar:
            _follow(_state(current().manifest.jobs))


@st.fragment(run_every=_LOOK_AGAIN)
def _follow(shown: str) -> None:
    run = current()
    manifest = run.manifest
    ended = sum(record.status not in ("pending", "running") for record in manifest.jobs)
    st.progress(ended / max(1, len(manifest.jobs)), text=plain_text(f"{ended} of {len(manifest.jobs)} jobs ended"))
    if _state(manifest.jobs) != shown or run.status != "running":
        st.rerun()


def seen(run: trustml.Run) -> str:
    """All that decides what a page says of a run: its table if it has one, how jobs ended, and what was charged."""
    path = run.path / MEASURES
    facts = path.stat() if path.is_file() else None
    table = "" if facts is None else f"{facts.st_mtime_ns} {facts.st_size}"
    if facts is not None and not _is_so_far(run):
        return f"{table} {_state(run.manifest.jobs)}"
    return f"{table} {_state(run.manifest.jobs)} {sorted(ledger_digests(run.directory, run.manifest.jobs).items())}"


@st.cache_resource(max_entries=4, show_spinner=False)  # without a copy: no page changes it
def _read(path: str, seen: str) -> pd.DataFrame:
    return read_measures(RunDirectory(Path(path)))


def _is_so_far(run: trustml.Run) -> bool:
    return run.status == "running" or not (run.path / MEASURES).is_file()


def _state(jobs: tuple[JobRecord, ...]) -> str:
    return " ".join(f"{record.id}:{record.status}:{record.attempt}" for record in jobs)


@st.cache_data(max_entries=4, show_spinner="Measuring what is there so far")
def _so_far(path: str, seen: str) -> tuple[pd.DataFrame, list[PrivacyStatement]]:
    """Measure what is done, in memory: the run's own process alone writes into its directory."""
    found = measure_run(RunDirectory(Path(path)), second_opinion=False)
    return table_of(found.rows), found.statements
