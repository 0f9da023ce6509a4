"""How good one model is in detail, and whom each regime serves worse."""

from __future__ import annotations

import streamlit as st
from chosen_run import current, measures
from page_parts import beside, draw, show_rows, sortable

from trustml.measures.evidence import Evidence
from trustml.plan.job import short_model
from trustml.report.accuracy import figures
from trustml.report.accuracy.details import details_of
from trustml.report.accuracy.frames import gap_frame, judged_models, slice_columns, slice_frame
from trustml.report.documents import plain_text

st.title("Models")
table = measures()

for column in slice_columns(table):
    st.subheader(plain_text(f"By group of {column}"))
    frame = slice_frame(table, column)
    regimes = list(dict.fromkeys(frame.regime))
    beside([figures.slice_points(frame[frame.regime == one], title=one) for one in regimes], columns=2)
    sortable(gap_frame(table, column))
    st.caption(
        "The gap is between the best and the worst group of 10 held-out examples or more; its change is against the "
        "plain model of the same framework and seed, on the same examples. Private training is known to hurt small "
        "groups more."
    )
    show_rows(table[table.measure.str.startswith("slice_")])

evidence = Evidence(current().directory)
records = judged_models(evidence)
if not records:
    st.info("No model of this run is trained yet, or all predict texts, whose perplexity stands in the overview.")
    st.stop()
names = [short_model(record.id) for record in records]
record = records[names.index(st.selectbox("Model", names))]
calibration = table[(table.job == record.id) & (table.measure == "calibration_error")].dropna(subset="value")
for row in calibration.itertuples():
    st.markdown(
        plain_text(f"Expected calibration error {row.value:.3f}, 95 % interval {row.low:.3f} to {row.high:.3f}.")
    )
for detail in details_of(evidence, record):
    if detail.chart is not None:
        draw(detail.chart)
    if detail.cells is not None:
        st.subheader(plain_text(detail.title))
        sortable(detail.cells)
    st.caption(plain_text(detail.caption))
