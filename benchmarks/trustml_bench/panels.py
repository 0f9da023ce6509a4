"""Parts of the speed page: trustml beside other libraries, from a result of ``trustml bench``."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from trustml.errors import RecordError
from trustml.report.tables import plain_rows
from trustml_bench import figures, tables
from trustml_bench.judge import judge_all
from trustml_bench.results import Result, newest_result, read_result

RECORDED = Path(__file__).resolve().parents[1] / "results" / "bench.json"
"""Of a checkout; what is installed has none."""


def show_benchmark(runs: Path) -> None:
    """Show the newest result in the folder of the runs, else the one of the checkout, else how to make one."""
    st.header("Beside other libraries, on this machine")
    path, own = newest_result(runs), True
    if path is None:
        path, own = RECORDED, False
    if not path.is_file():
        st.info("Nothing was measured yet. Make it with `trustml bench` (about 25 minutes on 2 cores), then reload.")
        return
    try:
        result = read_result(path)
    except RecordError as error:
        st.warning(str(error))
        return
    if not own:
        st.info("Measured elsewhere, by those who wrote trustml. For this machine's figures run `trustml bench`.")
    _show(result)


def _show(result: Result) -> None:
    judged = judge_all(result)
    st.caption(f"Measured {result.created} · {tables.machine_text(result)}")
    st.caption(f"Bars: {tables.summary(judged)}. Processes side by side, in turns; 90 % intervals.")
    if not result.complete:
        st.warning("Not complete: it was interrupted, or is still running.")
    bars, tuned, default, rows = st.tabs(["Bars", "Times, tuned allocator", "Times, default allocator", "Rows"])
    with bars:
        chart = figures.ratio_dots(judged)
        if chart is not None:
            st.altair_chart(chart, width="content")
        st.dataframe(tables.bars_frame(judged), hide_index=True, width="stretch")
    for place, allocator in ((tuned, "tuned"), (default, "default")):
        times = figures.time_dots(result, allocator)
        if times is None:
            place.info(f"Nothing was measured with the {allocator} allocator.")
        else:
            place.altair_chart(times, width="content")
    rows.dataframe(plain_rows(tables.bench_frame(result)), hide_index=True, width="stretch")
