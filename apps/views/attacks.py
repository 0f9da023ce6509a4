"""Membership inference, canaries and games: what an attacker really gets."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from chosen_run import current, measures

from trustml.models.answers import label_words
from trustml.record.curves import read_curves
from trustml.record.schema import task_of
from trustml.record.store import EXPOSED, PRIVATE_DATA, RunDirectory
from trustml.report.attacks import figures
from trustml.report.attacks.frames import audited_frame, membership_frame, roc_frame, strongest_frame

DRAWN = ("lira-online-fixed", "lira-offline-fixed", "rmia-all", "rmia-1", "loss", "label-only")


@st.cache_data(max_entries=100, show_spinner=False)
def smallest_and_largest(path: str, fingerprint: str) -> tuple[float, float]:
    """Range of all pixels of the training examples, which is read once for each data set."""
    inputs = RunDirectory(Path(path)).mapped(PRIVATE_DATA)["train_inputs"]
    return float(inputs.min()), float(inputs.max())


def show_exposed(model: str, attack: str) -> None:
    """Show the members that an attack is surest of, where the private files are at hand and examples are images."""
    if not run.directory.file(EXPOSED).is_file():
        return
    places = run.directory.arrays(EXPOSED).get(f"{model}|{attack}")
    shape = run.manifest.data.input_shape
    if places is None or len(shape) != 3 or shape[-1] not in (1, 3):
        return
    data = run.directory.mapped(PRIVATE_DATA)
    images = data["train_inputs"][places].astype(float)
    low, high = smallest_and_largest(str(run.path), run.manifest.data.fingerprint)
    images = (images - low) / max(high - low, 1e-12)
    names = label_words(task_of(run.manifest), data["train_labels"][places], run.manifest.data.class_names)
    st.subheader("Most exposed")
    st.image([image.squeeze() for image in images], caption=names, width=72)
    st.caption(f"The training examples that {attack} is surest of, with their labels. Private: no epsilon covers them.")


run, table = current(), measures()
st.title("Attacks")
models = membership_frame(table)
audits = audited_frame(table)
if models.empty and audits.empty:
    st.info(
        "Nothing was attacked in this run. A scenario asks for it by "
        "`attacks=Attacks(membership=MembershipInference())`; `trustml run audit_digits` is one that does."
    )
    st.stop()

if not audits.empty:
    st.subheader("Epsilon: promised, and shown")
    st.altair_chart(figures.audited_epsilons(audits))
    st.caption(
        "A point is a lower bound that the audit has shown (a diamond: an estimate, no bound). The black tick is the "
        "claim; a red triangle beyond it is a violation. The grey bar is what an ideal attacker would have shown of a "
        "mechanism of exactly the claimed epsilon with as many canaries or trials (90 % range), the grey tick what "
        "right guesses alone would have shown: a small figure far left of both tells of the audit, not of the model."
    )
    st.dataframe(audits.drop(columns=["job"]), hide_index=True)

if not models.empty:
    st.subheader("Membership inference")
    st.altair_chart(figures.auc_by_regime(models), width="content")
    st.caption("Each point is one model under one attack; 0.5 is guessing. Intervals and notes are in the table below.")
    st.dataframe(strongest_frame(table), hide_index=True)
    curves = read_curves(run.directory)
    left, right = st.columns([1, 2])
    subject = left.selectbox("Model", sorted(set(models.model)))
    attacks = list(dict.fromkeys(curve.attack for curve in curves if curve.subject == subject))
    chosen = right.multiselect("Attacks", attacks, default=[name for name in DRAWN if name in attacks])
    points = roc_frame([curve for curve in curves if curve.attack in chosen], subject=subject)
    st.altair_chart(figures.roc_log_log(points), width="content")
    st.caption(
        "Logarithmic axes: what counts is how many members are found while hardly any non-member is accused. The "
        "curves follow the order of scores of this run's own examples: no epsilon covers them."
    )
    if chosen:
        show_exposed(subject, chosen[0])
