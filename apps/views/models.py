"""How good one model is in detail, and whom each regime serves worse."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from charts import charts_of, downloads
from chosen_run import current, measures, seen
from page_parts import beside, draw, show_rows, sortable

from trustml.measures.evidence import Evidence
from trustml.models.tasks import facts_of
from trustml.plan.job import short_model
from trustml.record.schema import JobRecord
from trustml.report.accuracy import figures
from trustml.report.accuracy.details import Detail, aspects_of, details_of
from trustml.report.accuracy.examples import examples_frame
from trustml.report.accuracy.frames import gap_frame, judged_models, slice_columns, slice_frame
from trustml.report.accuracy.learning import CAPTION, learning_frame, learning_lines
from trustml.report.accuracy.scores import decimals
from trustml.report.documents import plain_text

_ANY = "any"


@st.cache_resource(max_entries=4, show_spinner=False)
def learning_of(path: str, seen: str, _evidence: Evidence) -> pd.DataFrame:
    """Scores and losses in training; anew when more is known."""
    return learning_frame(_evidence)


@st.cache_resource(max_entries=20, show_spinner=False)
def shown_of(path: str, seen: str, job: str, aspect: str, _evidence: Evidence) -> tuple[Detail, ...]:
    """Charts and tables of one aspect of one model; anew when more is known."""
    return details_of(_evidence, next(one for one in judged_models(_evidence) if one.id == job), aspect=aspect)


@st.cache_resource(max_entries=8, show_spinner=False)
def examples_of(path: str, seen: str, job: str, _evidence: Evidence) -> pd.DataFrame:
    """What one model answered for every held-out example; anew when more is known."""
    return examples_frame(_evidence, next(one for one in judged_models(_evidence) if one.id == job))


def show_examples(frame: pd.DataFrame) -> None:
    """Show all held-out examples in a table, filtered by what was answered."""
    kept = frame
    with st.container(horizontal=True):
        if "right" in frame:
            answers = st.selectbox("Answers", ["all", "wrong", "right"], key="examples answers")
            named = [_ANY, *sorted(set(frame.true) | set(frame.answered))]
            true = st.selectbox("True class", named, key="examples true")
            said = st.selectbox("Answered", named, key="examples answered")
            low, high = st.slider("Confidence", 0.0, 1.0, (0.0, 1.0), key="examples confidence")
            kept = kept[kept.confidence.between(low, high)]
            kept = kept if answers == "all" else kept[kept.right == (answers == "right")]
            kept = kept if true == _ANY else kept[kept.true == true]
            kept = kept if said == _ANY else kept[kept.answered == said]
        if "text" in frame and (wanted := st.text_input("Text holds", key="examples text")):
            kept = kept[kept.text.str.lower().str.contains(wanted.lower(), regex=False)]
    places = dict.fromkeys(("confidence", "loss"), 3)
    if "predicted" in frame:
        places |= dict.fromkeys(("true", "predicted", "error"), decimals(frame.true, frame.predicted))
    short = {name: st.column_config.NumberColumn(format=f"%.{digits}f") for name, digits in places.items()}
    st.dataframe(kept, hide_index=True, width="stretch", column_config=short, alt="Held-out examples")
    st.caption(
        plain_text(
            f"{len(kept):,} of {len(frame):,} held-out examples. Inputs are in the record of those that were explained "
            "alone, under the number that the Explanations page takes; more of them would be a release of more rows."
        )
    )


def show_aspect(job: str, aspect: str) -> None:
    """Show one side of a model."""
    details = shown_of(*known, job, aspect, evidence)
    if not details:
        st.info("Models of this task have nothing to show here.")
    for detail in details:
        if detail.chart is not None:
            draw(detail.chart)
        if detail.cells is not None:
            st.subheader(plain_text(detail.title))
            sortable(detail.cells)
        st.caption(plain_text(detail.caption))


@st.fragment
def show_model(records: list[JobRecord]) -> None:
    """Show one model, one side at a time: of the others nothing is made, and nothing is sent to the browser."""
    names = [short_model(record.id) for record in records]
    record = records[names.index(st.selectbox("Model", names))]
    calibration = table[(table.job == record.id) & (table.measure == "calibration_error")].dropna(subset="value")
    for row in calibration.itertuples():
        st.markdown(
            plain_text(f"Expected calibration error {row.value:.3f}, 95 % interval {row.low:.3f} to {row.high:.3f}.")
        )
    aspects = aspects_of(evidence.task)
    sides = (*aspects, "All held-out examples")
    places = st.tabs([plain_text(name) for name in sides], key="model tab", on_change="rerun")
    with charts_of("model"):
        for place, aspect in zip(places, aspects, strict=False):
            if place.open:
                with place:
                    show_aspect(record.id, aspect)
    if places[-1].open:
        with places[-1]:
            show_examples(examples_of(*known, record.id, evidence))
    downloads("model", of="of the model")


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

run = current()
evidence, known = Evidence(run.directory), (str(run.path), seen(run))
learned = learning_of(*known, evidence)
if len(learned):
    st.subheader("While they trained")
    shown = st.segmented_control("Of held-out examples", ["loss", "score"], default="loss", key="learning of")
    beside(learning_lines(learned, of=shown or "loss", score=facts_of(evidence.task).score), columns=2)
    st.caption(plain_text(CAPTION))
records = judged_models(evidence)
if not records:
    st.info("No model of this run is trained yet, or all predict texts, whose perplexity stands in the overview.")
    st.stop()
st.subheader("One model in detail")
show_model(records)
