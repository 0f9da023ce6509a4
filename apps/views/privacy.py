"""What privacy costs in accuracy, and what is promised exactly."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st
from chosen_run import measures, show_rows

from trustml.report import figures


def promise(row: dict[str, Any]) -> dict[str, str]:
    """Take an epsilon and its note apart, for a table."""
    one = row["measure"] == "epsilon"
    found = {
        "model": f"{row['backend']} {row['regime']}, seed {row['seed']}" if one else "all private models together",
        "epsilon, at most": f"{row['value']:.3f}",
    }
    remarks = []
    for part in row["note"].split("; "):
        name, separator, value = part.replace("delta=", "delta: ").partition(": ")
        if separator and name in ("delta", "unit", "relation", "sampling", "accountant"):
            found[name] = value
        else:
            remarks.append(part)
    return {**found, "remarks": "; ".join(remarks)}


st.title("Privacy")
table = measures()
epsilon = table[table.measure == "epsilon"].dropna(subset="value")
everything = table[table.measure == "epsilon_all_releases"]

if epsilon.empty:
    st.info("No model of this run was trained with privacy: no finite epsilon holds for any of them.")
else:
    columns = st.columns(2)
    columns[0].metric("epsilon of one private model, the largest", f"{epsilon.value.max():.2f}")
    if len(everything):
        columns[1].metric("epsilon of all private models together", f"{everything.value.iloc[0]:.2f}")
    st.markdown(
        "Publishing several private models costs more than one. The second figure composes all of them as their "
        "batches were really shared; it is what an auditor of the whole run must sign."
    )

st.subheader("Accuracy against epsilon")
st.altair_chart(figures.privacy_accuracy(table))
st.caption("Models trained without privacy have no finite epsilon, so they stand apart and not at a large number.")
show_rows(table[table.measure.isin(["accuracy", "epsilon"])])

st.subheader("What is promised")
st.table(pd.DataFrame([promise(row) for row in [*epsilon.to_dict("records"), *everything.to_dict("records")]]))
if len(epsilon):
    st.caption(
        "Noise comes from the frameworks' own generators, seeded from operating-system entropy. They are not "
        "cryptographic, and attacks on floating-point noise are out of scope."
    )
