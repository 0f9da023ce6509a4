"""Membership inference, canaries and games: what an attacker really gets."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from chosen_run import current, measures
from page_parts import draw, say_missing, show_rows, sortable

from trustml.measures.measure import of_family
from trustml.models.answers import label_words
from trustml.record.curves import read_curves
from trustml.record.schema import task_of
from trustml.record.store import EXPOSED, PRIVATE_DATA, RunDirectory
from trustml.report.attacks import figures
from trustml.report.attacks.frames import audited_frame, membership_frame, roc_frame
from trustml.report.attacks.tables import REMEMBERED, audit_cells, membership_cells, remembered_cells
from trustml.report.documents import plain_text


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
    st.image([image.squeeze() for image in images], caption=[plain_text(name) for name in names], width=72)
    st.caption(
        plain_text(
            f"The training examples that {attack} is surest of, with their labels. Private: no epsilon covers them."
        )
    )


run = current()
st.title("Attacks")
table = measures()
models = membership_frame(table)
audits, remembered = audited_frame(table), remembered_cells(table)
if models.empty and audits.empty and remembered.empty:
    say_missing(
        "attack",
        asked=any((run.manifest.scenario.get("attacks") or {}).values()),
        not_asked="Nothing was attacked in this run. A scenario asks for it by "
        "`attacks=Attacks(membership=MembershipInference())`; `trustml run audit_digits` is one that does.",
    )

if not audits.empty:
    st.subheader("Epsilon: promised, and shown")
    draw(figures.audited_epsilons(audits))
    st.caption(
        "'At least', a point, is a lower bound that the audit has shown; beyond the claim, the thick tick, it is a "
        "violation, and a triangle. The estimate, a diamond, is no bound. An ideal attacker shows no more than the bar "
        "of a mechanism of exactly the claimed epsilon, with as many canaries or trials; right guesses alone show no "
        "more than the thin tick. A small figure far left of both tells of the audit, not of the model."
    )
    sortable(audit_cells(audits))
    show_rows(table[table.measure.isin(list(of_family("audited")))])

if not remembered.empty:
    st.subheader("Remembered")
    sortable(remembered)
    st.caption(plain_text(REMEMBERED))
    show_rows(table[table.measure.isin(list(of_family("remembered")))])

if not models.empty:
    st.subheader("Membership inference")
    draw(figures.auc_by_regime(models))
    st.caption("Each point is one model under one attack; 0.5, dashed, is guessing.")
    sortable(membership_cells(table))
    st.caption(
        "At risk: models of which a lower bound of the AUC, corrected for all attacks on the model, is above 0.5. The "
        "true positive rate is pooled over the models of a regime."
    )
    show_rows(table[table.measure.isin(list(of_family("membership")))])
    curves = read_curves(run.directory)
    left, right = st.columns([1, 2])
    subject = left.selectbox("Model", sorted(set(models.model)))
    attacks = list(dict.fromkeys(curve.attack for curve in curves if curve.subject == subject))
    chosen = right.multiselect("Attacks", attacks, default=[name for name in figures.DRAWN if name in attacks])
    points = roc_frame([curve for curve in curves if curve.attack in chosen], subject=subject)
    draw(figures.roc_log_log(points))
    st.caption(
        "Logarithmic axes: what counts is how many members are found while hardly any non-member is accused. The "
        "curves follow the order of scores of this run's own examples: no epsilon covers them."
    )
    if chosen:
        show_exposed(subject, chosen[0])
