"""How good one model is in detail, and whom each regime serves worse."""

from __future__ import annotations

import streamlit as st
from chosen_run import current, measures
from page_parts import beside, draw, show_rows, sortable

from trustml.measures.evidence import Evidence
from trustml.plan.job import short_model
from trustml.report.accuracy import figures
from trustml.report.accuracy.frames import (
    class_frame,
    confusion_frame,
    gap_frame,
    judged_models,
    reliability_frame,
    slice_columns,
    slice_frame,
)
from trustml.report.documents import plain_text
from trustml.report.tables import constant_lines

st.title("Models")
table = measures()
for line in constant_lines(table)[1]:
    st.error(plain_text(f"{line}."))

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
    st.info("No model of this run answers with classes or labels, or none is trained yet.")
    st.stop()
names = [short_model(record.id) for record in records]
record = records[names.index(st.selectbox("Model", names))]
calibration = table[(table.job == record.id) & (table.measure == "calibration_error")].dropna(subset="value")
for row in calibration.itertuples():
    st.markdown(
        plain_text(f"Expected calibration error {row.value:.3f}, 95 % interval {row.low:.3f} to {row.high:.3f}.")
    )
draw(figures.reliability_curve(reliability_frame(evidence, record), title="reliability"))
st.caption(
    "Answers given with a confidence should be right as often as it says: points lie on the dashed line. Bars are "
    "Wilson 95 % intervals; a bin of few examples says little."
)
confused = confusion_frame(evidence, record)
if confused is not None:
    draw(figures.confusion_matrix(confused, title="what was answered for each class"))
classes = class_frame(evidence, record)
if classes is not None:
    st.subheader("Each class")
    sortable(classes)
    st.caption(
        "Recall: of the examples of the class, the share that is answered so. Precision: of those answers, the "
        "share that is right. Wilson 95 % intervals."
    )
