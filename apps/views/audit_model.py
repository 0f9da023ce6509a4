"""Upload a model and data, and get a report: behind the operator's word, in a process of its own."""

from __future__ import annotations

import streamlit as st
from auditing import (
    DATA_ENDINGS,
    LARGEST_MIB,
    MODEL_ENDINGS,
    Upload,
    Uploaded,
    audits_folder,
    cancel,
    delete,
    start,
    uploaded,
)
from findings import show_audit

from trustml.errors import UsageError
from trustml.report.documents import plain_text

st.title("Audit a model")
st.caption(
    "What can be said of a model that was trained elsewhere: a process of its own asks it, half an hour at the most. "
    "Model, data and report stay on this machine, for whoever opens this page, until they are deleted below."
)
SHOWN = "audit shown"
folder = audits_folder()
assert folder is not None  # else there is no such page


def given(label: str, endings: tuple[str, ...], *, key: str) -> Upload | None:
    """Ask for one file."""
    file = st.file_uploader(label, type=[one[1:] for one in endings], max_upload_size=LARGEST_MIB, key=key)
    return None if file is None else Upload(name=file.name, content=file.getvalue())


with st.form("audit"):
    model = given("Model", MODEL_ENDINGS, key="audit model")
    train = given("Examples it was trained on", DATA_ENDINGS, key="audit train")
    holdout = given("Examples of the same source that it was not trained on", DATA_ENDINGS, key="audit holdout")
    st.caption(
        "An .npz file holds `inputs` and `labels`; a .csv file a line of names, then numbers, the label last. Labels "
        "are whole numbers from 0, in the order of the outputs."
    )
    left, right = st.columns(2)
    epsilon = left.number_input("Claimed epsilon", min_value=0.0, value=None, placeholder="none is claimed")
    delta = right.number_input("Claimed delta", min_value=0.0, max_value=1.0, value=None, format="%g")
    asked = st.form_submit_button("Audit it", type="primary")
if asked:
    if model is None or train is None:
        st.error("Give a model, and examples that it was trained on.")
    elif (epsilon is None) != (delta is None):
        st.error("A claim needs both: epsilon and delta.")
    else:
        claim = None if epsilon is None or delta is None else (epsilon, delta)
        try:
            name = start(folder, model=model, train=train, holdout=holdout, claim=claim)
            st.session_state[SHOWN] = name
            st.success(plain_text(f"Started as {name}. It goes on when this page is closed."))
        except UsageError as error:
            st.error(plain_text(error))


@st.fragment(run_every="3s")
def audits() -> None:
    """Show all audits, and what the chosen one found."""
    st.subheader("Audits")
    found = uploaded(folder)
    if not found:
        st.caption("None yet.")
        return
    names = {one.name: one for one in found}
    # The one that was chosen, also where another one begins or this one ends.
    st.session_state[SHOWN] = shown if (shown := st.session_state.get(SHOWN)) in names else found[0].name
    one = names[st.selectbox("Audit", list(names), format_func=lambda name: f"{name}: {state(names[name])}", key=SHOWN)]
    if one.running:
        st.info(plain_text(f"Running: {one.said}"))
        if st.button("Cancel it", key=f"cancel {one.name}"):
            cancel(one)
        return
    if one.record is None:
        st.error(plain_text(one.said or "It ended without a word."))
    else:
        show_audit(one.record, key=one.name)
    if st.button("Delete it, with the model and the data", key=f"delete {one.name}"):
        try:
            delete(one)
        except UsageError as error:
            st.error(plain_text(error))
        else:
            st.rerun()


def state(one: Uploaded) -> str:
    """Say in a word how an audit stands."""
    if one.running:
        return "running"
    if one.record is None:
        return "failed"
    return "passed" if one.record.passed else f"not passed, worst finding: {one.record.worst}"


audits()
