"""Parts of the speed page: trustml beside other libraries, from a result of ``trustml bench``."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from trustml.errors import RecordError
from trustml.report.documents import plain_text
from trustml.report.tables import plain_rows
from trustml_bench import figures, tables
from trustml_bench.judge import judge_all
from trustml_bench.results import Result, newest_result, read_result

RECORDED = Path(__file__).resolve().parents[1] / "results" / "bench.json"
"""Of a checkout; what is installed has none."""


def show_benchmark(runs: Path) -> None:
    """Show the newest result in the folder of the runs, else the one of the checkout, else how to make one.

    Whichever it is, it is no part of the run on the page: it says whose machine it is of.
    """
    st.header("Beside other libraries")
    path, own = newest_result(runs), True
    if path is None:
        path, own = RECORDED, False
    if not path.is_file():
        st.info("Nothing was measured yet. Make it with `trustml bench` (about 25 minutes on 2 cores), then reload.")
        return
    try:
        result = read_result(path)
    except RecordError as error:
        st.warning(plain_text(error))
        return
    if own:
        st.info("Measured by `trustml bench` into this folder of runs; not a part of the run above.")
    else:
        st.info(
            "Measured by those who wrote trustml, on another machine; not a part of the run above. For this machine's "
            "figures run `trustml bench`."
        )
    _show(result)


def _show(result: Result) -> None:
    judged = judge_all(result)
    st.caption(plain_text(f"Measured {result.created} on: {tables.machine_text(result)}"))
    st.caption(plain_text(f"Bars: {tables.summary(judged)}. Processes side by side, in turns; 90 % intervals."))
    if not result.complete:
        st.warning("Not complete: it was interrupted, or is still running.")
    bars, tuned, default, rows = st.tabs(["Bars", "Times, tuned allocator", "Times, default allocator", "Rows"])
    with bars:
        for chart in figures.ratio_dots(judged):
            st.altair_chart(chart, width="stretch")
        st.dataframe(tables.bars_frame(judged), hide_index=True, width="stretch")
    for place, allocator in ((tuned, "tuned"), (default, "default")):
        times = figures.time_dots(result, allocator)
        if not times:
            place.info(plain_text(f"Nothing was measured with the {allocator} allocator."))
        for chart in times:
            place.altair_chart(chart, width="stretch")
    rows.dataframe(plain_rows(tables.bench_frame(result)), hide_index=True, width="stretch")
