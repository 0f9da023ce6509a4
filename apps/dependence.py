"""One feature over its range: partial dependence and single examples, by a worker that is asked."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from page_parts import draw

from trustml.data.given import features_given, source_of
from trustml.errors import TrustmlError
from trustml.launch.what_if import may_change, outputs_of
from trustml.models.tasks import Regression, explained_task
from trustml.record.schema import Manifest, task_of
from trustml.record.store import HELDOUT, RunDirectory
from trustml.report.documents import plain_text
from trustml.report.explanations.dependence import (
    MOST_ROWS,
    dependence_frame,
    dependence_lines,
    values_over,
    varied_inputs,
)


def show_dependence(run: RunDirectory, manifest: Manifest, *, model: str, method: str) -> None:
    """Let the reader choose a feature of a table, and draw what the model says over its range."""
    if len(manifest.data.input_shape) != 1:
        st.info("This is for tables: a pixel or a step alone means little.")
        return
    why_not = may_change(run, manifest, model, method)
    if why_not:
        st.info(plain_text(why_not))
        return
    width, task = manifest.data.input_shape[0], explained_task(task_of(manifest))
    inputs = run.mapped(HELDOUT, names=("inputs",))["inputs"]
    names = manifest.data.feature_names or tuple(f"feature {place}" for place in range(width))
    groups = manifest.data.feature_groups or tuple(range(width))
    features = features_given(names, groups, source_of(manifest.scenario), examples=inputs)
    left, right = st.columns(2)
    number = left.selectbox(
        "Feature", range(len(features)), format_func=lambda one: features[one].name, key="dependence of"
    )
    answers, answer, word = list(manifest.data.class_names), 0, "predicted"
    if not isinstance(task, Regression):
        answer = right.selectbox(
            "Answer", range(len(answers)), format_func=lambda one: answers[one], key="dependence answer"
        )
        word = f"probability of {answers[answer]}"
    feature, rows = features[number], inputs[:MOST_ROWS]
    values = values_over(feature, rows)
    if len(values) < 2:
        st.info(plain_text(f"All explained examples have the same {feature.name}."))
        return
    about = f"{run.path} {model} {number}"
    if st.button("Ask the model", type="primary", key="dependence ask"):
        try:
            with st.spinner("asking a worker"):
                outputs = outputs_of(run, model, varied_inputs(feature, rows, values))
        except TrustmlError as error:
            st.error(plain_text(error))
            return
        st.session_state["dependence"] = (about, outputs)
    known, outputs = st.session_state.get("dependence", ("", None))
    if known != about:
        return
    frame: pd.DataFrame = dependence_frame(outputs, values, task=task, answer=answer)
    if not feature.categories and feature.span is None:
        st.caption("A number without a range in the scenario is as the model gets it, after scaling.")
    draw(dependence_lines(frame, feature=feature.name, answer=word))
    st.caption(
        plain_text(
            f"Thin: each of {len(rows)} explained examples with the feature changed alone (individual conditional "
            "expectation); thick: their mean (partial dependence). Features that hang together are torn apart: the "
            "model is asked of examples that no data may have. It says what the model does, not what is so."
        )
    )
