"""What privacy costs in accuracy, and what is promised exactly."""

from __future__ import annotations

import streamlit as st
from chosen_run import measures, statements
from page_parts import beside, draw, notes, show_rows, text_table

from trustml.errors import RecordError
from trustml.measures.measure import MEASURES, leading, of_family
from trustml.plan.job import short_model
from trustml.privacy.statement import at_most, statement_text
from trustml.report import figures
from trustml.report.documents import plain_text
from trustml.report.privacy import figures as privacy_figures
from trustml.report.privacy.frames import SIGNS, comparison, promise

st.title("Privacy")
table = measures()
readable, stated = True, []
try:
    stated = statements()
except RecordError as error:
    readable = False
    st.warning(plain_text(f"There are no privacy statements. {error}"))
everything = table[table.measure == "epsilon_all_releases"].dropna(subset="value")

if not stated and readable:
    st.info("No model of this run was trained with privacy: no finite epsilon holds for any of them.")
elif stated:
    for unit in dict.fromkeys(statement.unit_of_privacy for statement in stated):
        of_unit = [statement.epsilon for statement in stated if statement.unit_of_privacy == unit]
        finite = [epsilon for epsilon in of_unit if epsilon is not None]
        columns = st.columns(2)
        columns[0].metric(
            plain_text(f"epsilon of one private model, the largest; unit: {unit}"),
            plain_text(at_most(max(finite), 2)) if len(finite) == len(of_unit) else "none",
        )
        together = everything[everything.privacy_unit == unit]
        if len(together):
            columns[1].metric(
                plain_text(f"epsilon of all private models together; unit: {unit}"),
                plain_text(at_most(together.value.iloc[0], 2)),
            )
    st.markdown(
        "Publishing several private models costs more than one. The second figure composes all of them as their "
        "batches were really shared; it is what an auditor of the whole run must sign."
    )

score = MEASURES[leading(set(table.measure))].title
st.subheader(plain_text(f"{score[:1].upper() + score[1:]} against epsilon"))
panels = figures.privacy_accuracy(table)
beside(panels, columns=max(1, min(3, len(panels))))
if not panels:
    st.info(plain_text(f"No model has a figure of {score}."))
st.caption(
    plain_text(
        f"Bars are 95 % intervals of each model's {score}. Models trained without privacy have no finite epsilon, so "
        "they stand apart and not at a large number."
    )
)
show_rows(table[table.measure.isin(list(of_family("accuracy") | of_family("privacy")))])

if stated:
    st.subheader("What is promised")
    text_table([promise(statement) for statement in stated])
    notes(
        [
            f"All private models together: epsilon at most {at_most(row['value'], 3)}; {row['note']}"
            for row in everything.to_dict("records")
        ]
    )

    st.subheader("One model in detail")
    names = [short_model(statement.model) for statement in stated]
    name = st.selectbox("Model", names)
    chosen = stated[names.index(name)]
    if chosen.curve is None:
        st.info("Its noise is correlated over the rounds: the guarantee is for the whole training, and has no steps.")
    else:
        draw(privacy_figures.epsilon_by_steps(chosen))
        st.caption(
            "The cross is the claim. The other lines are what would hold under another way of drawing batches: the "
            "dotted one is a lower bound, so shuffling costs at least that; the dashed one ends at what holds even if "
            "the batches become known, and takes participation in proportion to the steps before that."
        )
    text_table(comparison(chosen))
    st.markdown("**What the claim rests on**")
    text_table([{"": SIGNS[one.status], "assumption": one.name, "why": one.why} for one in chosen.assumptions])
    st.markdown("**Released, and what covers it**")
    text_table([{"": one.coverage, "released": one.name, "why": one.why} for one in chosen.releases])
    told = {f"{one.name}: {one.why}" for one in chosen.releases}
    st.markdown("**Not covered by epsilon either**" if told else "**Not covered by epsilon**")
    for line in chosen.not_covered:
        if line not in told:
            st.markdown("- " + plain_text(line))
    text = statement_text(chosen)
    with st.expander("The statement as text"):
        st.code(text, language=None)
    st.download_button("Download the statement", text, file_name=f"{chosen.model}.privacy.txt")
