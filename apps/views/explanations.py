"""The same images explained by every library and under every regime, and how far they agree."""

from __future__ import annotations

import numpy as np
import streamlit as st
from chosen_run import current, measures, show_rows

from trustml.plan.support import explainer_library
from trustml.report import figures
from trustml.scenario.read import from_plain

run = current()
manifest = run.manifest
method = from_plain(manifest.scenario).explanations.methods
trained = [r.id for r in manifest.jobs if r.kind == "train" and r.status == "ok"]
explained = {(r.id.split(".of.")[1], r.backend) for r in manifest.jobs if r.kind == "explain" and r.status == "ok"}
st.title("Explanations")
if not explained or not method:
    st.info("This run explained no model.")
    st.stop()
table = measures()
heldout = run.heldout()
inputs, targets = heldout["inputs"], heldout["targets"]
names = manifest.data.class_names


def variants_of(model: str, backend: str) -> dict[str, np.ndarray]:
    """All variants of one backend's explanation of one model, by their names in tables."""
    library = explainer_library(backend, method[0])
    found = {}
    for variant in ("native", "completed", "common"):
        try:
            array = run.attributions(model, backend=backend, variant=variant)
        except Exception as error:
            if "variant" not in str(error):
                raise
            continue
        titles = {"native": library, "completed": f"{library} (completed)", "common": f"common ({backend})"}
        found[titles[variant]] = array
    return found


def draw(panels: dict[str, np.ndarray], example: int) -> None:
    """Draw one example's attributions in a row; panels in logits share one scale."""
    comparable = [np.abs(array[example]).max() for name, array in panels.items() if name != "tf-explain"]
    shared = float(max(comparable, default=0.0)) or 1.0
    image = inputs[example].ndim == 3
    charts = (
        [figures.picture(inputs[example].mean(axis=-1), title=f"input: {names[targets[example]]}")] if image else []
    )
    for name, array in panels.items():
        limit = float(np.abs(array[example]).max() or 1.0) if name == "tf-explain" else shared
        if image:
            charts.append(figures.heat_map(array[example].sum(axis=-1), title=name, limit=limit))
        else:
            unit = "mean gradient" if name == "tf-explain" else "attribution, logits"
            charts.append(figures.feature_bars(array[example], title=name, limit=limit, unit=unit))
    st.altair_chart(figures.side_by_side(charts, columns=5 if image else 3), width="content")


st.subheader("The same weights, every library")
models = [model for model in trained if any(model.endswith(of) for of, _ in explained)]
left, right = st.columns(2)
model = left.selectbox("Model", models)
example = int(right.number_input("Example", 0, len(inputs) - 1, 0, help="Number among the explained examples"))
of = model.removeprefix("train.")
panels: dict[str, np.ndarray] = {}
for backend in manifest.scenario["backends"]:
    if (of, backend) in explained:
        panels |= variants_of(model, backend)
draw(panels, example)
st.caption("Blue raises the logit of the true class, red lowers it. Panels share one scale, in logits.")
if "tf-explain" in panels:
    st.caption(
        "'tf-explain' as the library returns it is a mean gradient and not in logits: it has a scale of its own."
    )
    st.info(
        "Why tf-explain differs: what it calls integrated gradients is the mean gradient along the path. The factor "
        "(input - baseline) of the definition is missing, so dark pixels get attributions too and nothing adds up to "
        "the logit. 'tf-explain (completed)' multiplies the factor in; what is left is its coarser quadrature."
    )

st.subheader("How far the libraries agree")
st.altair_chart(figures.agreement_matrix(table, job=model), width="stretch")
st.caption("Spearman rank correlation over the features of an example, mean over examples.")
st.altair_chart(figures.completeness_points(table, job=model), width="stretch")
st.caption("How far the attributions are from adding up to the change of the logit. 0 would be exact.")
logits = table[(table.measure == "logit_relative_difference") & (table.job == model)]
for row in logits.itertuples():
    st.caption(f"Logits of these weights, {row.subject}: relative difference {row.value:.1e}.")
show_rows(table[(table.job == model) & table.measure.str.startswith("attribution")])

st.subheader("The same examples, every regime")
backends = [b for b in manifest.scenario["backends"] if sum(b == backend for _, backend in explained) > 1]
if not backends:
    st.info("This needs a backend that explained two models.")
    st.stop()
backend = st.selectbox("Framework that trained and explained", backends)
own = {
    model: run.attributions(model, backend=backend, variant="common")
    for model in trained
    if model.startswith(f"train.{backend}.") and (model.removeprefix("train."), backend) in explained
}
draw({model.removeprefix(f"train.{backend}."): array for model, array in own.items()}, example)
between = table[
    (table.measure == "attribution_agreement_spearman")
    & (table.backend == backend)
    & table.note.str.contains("two regimes|trained apart|noise floor")
].dropna(subset="value")
if len(between):
    if between.note.str.startswith("descriptive").any():
        st.warning("Descriptive: fewer than 3 seeds. How much of a difference is luck cannot be told from this run.")
    shown = between[["subject", "regime", "seed", "value", "low", "high", "note"]]
    st.dataframe(shown.rename(columns={"value": "rank agreement"}), hide_index=True, width="stretch")
