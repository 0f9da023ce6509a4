"""What if an input were another: it is changed, uploaded or drawn, and every library explains it through its worker."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from charts import charts_of, downloads
from drawing import LARGEST_SIDE, draw_image
from explanation_panels import draw_panels
from page_parts import text_table

from trustml.data.dataset import Floats
from trustml.data.given import (
    Feature,
    black_and_white,
    features_given,
    image_given,
    row_as_csv,
    row_given,
    source_of,
)
from trustml.errors import TrustmlError, UsageError
from trustml.launch.what_if import WhatIf, asked_again, may_change
from trustml.models.tasks import Classes, Labels, explained_task
from trustml.record.schema import Manifest, task_of
from trustml.record.store import HELDOUT, RunDirectory
from trustml.report.documents import plain_text
from trustml.report.explanations.frames import ExplainedExample, explained_example
from trustml.report.explanations.selection import PanelRequest

_MOST_WIDGETS = 40
_UPLOAD_MIB = 10
_PREDICTED = "the one that each copy of the model predicts"
_UNKNOWN = "unknown"


@st.fragment
def show_what_if(run: RunDirectory, manifest: Manifest, recorded: ExplainedExample, *, model: str) -> None:
    """Let the reader change one of the explained examples, and show how every library explains what becomes of it."""
    why_not = may_change(run, manifest, model, recorded.method)
    if why_not:
        st.info(plain_text(why_not))
        return
    st.caption("What you give is not written into the run. A worker of every library explains it; that takes seconds.")
    try:
        given = _given(run, manifest, recorded)
    except UsageError as error:
        st.error(plain_text(error))
        return
    target = _explained_class(manifest)
    if given is None:
        st.info("Nothing is given yet.")
        return
    asked = WhatIf(model=model, method=recorded.method, input=given, target=target)
    about = hashlib.sha256(f"{run.path} {model} {recorded.method} {target}".encode() + given.tobytes()).hexdigest()
    if st.button("Explain it", type="primary", key="what if ask"):
        try:
            with st.spinner("asking every library"), asked_again(run, asked) as (answers, failed):
                request = PanelRequest(method=recorded.method, example=0, model=None, backend=None)
                found = explained_example(answers, request) if _answered(answers) else None
                st.session_state["what if"] = (about, found, failed)
        except TrustmlError as error:
            st.error(plain_text(error))
            return
    known, found, failed = st.session_state.get("what if", ("", None, {}))
    if known != about:
        return
    for backend, reason in failed.items():
        st.error(plain_text(f"{backend}: {reason}"))
    if found is not None:
        with charts_of("what if"):
            _show(found, recorded)
        downloads("what if", of="of what you gave")


def _answered(answers: RunDirectory) -> bool:
    return any(
        record.kind == "explain" and record.status == "ok" and any(done.ok for done in record.result.methods)
        for record in answers.manifest().jobs
        if record.result
    )


def _show(found: ExplainedExample, recorded: ExplainedExample) -> None:
    unknown = dataclasses.replace(found, target=_UNKNOWN)
    before = {panel.library: panel.classes.words for panel in recorded.panels}
    st.subheader("Before and after")
    text_table(
        [
            {
                "library": panel.library,
                "the example": before.get(panel.library, ""),
                "what you gave": panel.classes.words,
            }
            for panel in found.panels
        ],
        fold=False,
    )
    draw_panels(unknown, [(panel.library, panel) for panel in found.panels])
    st.caption(plain_text(f"{found.colours[0].upper()}{found.colours[1:]}. Panels share one scale, of {found.unit}."))
    with st.expander("The example as it was"):
        draw_panels(recorded, [(panel.library, panel) for panel in recorded.panels])


def _explained_class(manifest: Manifest) -> Any:
    task, names = explained_task(task_of(manifest)), manifest.data.class_names
    if not isinstance(task, Classes | Labels):
        return "predicted"  # there is one output
    words = [_PREDICTED, *names]
    chosen = st.selectbox("Class that is explained", range(len(words)), format_func=lambda one: words[one])
    return "predicted" if chosen == 0 else chosen - 1


def _given(run: RunDirectory, manifest: Manifest, recorded: ExplainedExample) -> Floats | None:
    examples = run.mapped(HELDOUT, names=("inputs",))["inputs"]
    base = recorded.input
    key = f"what if {run.path.name} {recorded.example}"
    match base.ndim:
        case 1:
            return _row(manifest, base, examples, key=key)
        case 3 if base.shape[-1] in (1, 3):
            return _image(manifest, base, examples, key=key)
        case 2:
            return _numbers(base, key=key)
    raise UsageError(f"inputs of shape {base.shape} cannot be changed here")


def _row(manifest: Manifest, base: Floats, examples: Floats, *, key: str) -> Floats | None:
    data, source = manifest.data, source_of(manifest.scenario)
    names = data.feature_names or tuple(f"feature {place}" for place in range(len(base)))
    groups = data.feature_groups or tuple(range(len(base)))
    features = features_given(names, groups, source, examples=examples)
    way = st.selectbox("Input", ["Change values", "Upload a row (CSV)"], key="what if way")
    if any(feature.span is None and not feature.categories for feature in features):
        st.caption("Numbers without a range in the scenario are as the model gets them, after scaling.")
    if way == "Change values":
        row = _changed(features, base, key=key)
    else:
        upload = st.file_uploader("A line of names, and one of values", type=["csv"], max_upload_size=_UPLOAD_MIB)
        if upload is None:
            row = None
        else:
            row, unused = row_given(upload.getvalue(), features, base=base)
            if unused:
                st.caption(plain_text(f"No features of this model, so not used: {', '.join(unused)}."))
    st.download_button(
        "Download this row as CSV",
        row_as_csv(features, base if row is None else row),
        "row.csv",
        "text/csv",
        on_click="ignore",
    )
    return row


def _changed(features: list[Feature], base: Floats, *, key: str) -> Floats:
    row = base.copy()
    if len(features) > _MOST_WIDGETS:
        # As texts: numbers and categories in one column could not be changed.
        table = pd.DataFrame(
            {"feature": [one.name for one in features], "value": [str(one.shown(base)) for one in features]}
        )
        edited = st.data_editor(
            table,
            column_config={"value": st.column_config.TextColumn("value")},
            disabled=["feature"],
            hide_index=True,
            key=key,
            alt="Values of the features",
        )
        for feature, value in zip(features, edited.value, strict=True):
            feature.put(row, value)
        return row
    for place, feature in zip(list(st.columns(4)) * len(features), features, strict=False):
        now, name = feature.shown(base), f"{key} {feature.name}"
        with place:
            if feature.categories:
                words = list(feature.categories)
                value = st.selectbox(plain_text(feature.name), words, index=words.index(str(now)), key=name)
            else:
                value = st.number_input(plain_text(feature.name), value=float(now), format="%g", key=name)
        feature.put(row, value)
    return row


def _image(manifest: Manifest, base: Floats, examples: Floats, *, key: str) -> Floats | None:
    source = source_of(manifest.scenario)
    (low, high), known = black_and_white(source, examples)
    small = base.shape[-1] == 1 and max(base.shape) <= LARGEST_SIDE
    way = st.selectbox("Input", [*(["Draw"] if small else []), "Upload an image"], key="what if way")
    if not known:
        st.caption(plain_text(f"Black and white become {low:g} and {high:g}, the least and largest of the examples."))
    if way == "Draw":
        span = (high - low) or 1.0
        start = ((base[..., 0] - low) / span).clip(0.0, 1.0)
        drawn = draw_image((base.shape[0], base.shape[1]), key=key, start=start)
        if np.array_equal(drawn, start):
            return base
        return (low + drawn * span).astype(np.float32)[..., None]
    invert = st.checkbox("Invert: dark becomes light", key="what if invert")
    upload = st.file_uploader("PNG or JPEG", type=["png", "jpg", "jpeg"], max_upload_size=_UPLOAD_MIB)
    if upload is None:
        return None
    st.caption(plain_text(f"It is resized to {base.shape[0]} x {base.shape[1]}, as the inputs of this run are."))
    return image_given(upload.getvalue(), source, shape=base.shape, span=(low, high), invert=invert)


def _numbers(base: Floats, *, key: str) -> Floats:
    """A series, a row a step."""
    table = pd.DataFrame(base.astype(float), columns=[f"channel {one}" for one in range(base.shape[1])])
    return st.data_editor(table, key=key, alt="Values of the series, a row a step").to_numpy(np.float32)
