"""The same examples explained by every library, method and regime; how far they agree, and what they are worth."""

from __future__ import annotations

import streamlit as st
from chosen_run import current, measures
from dependence import show_dependence
from explanation_panels import curves_of, draw_importances, draw_panels, pick_example
from page_parts import draw, notes, say_missing, show_rows, sortable
from what_if import show_what_if

from trustml.compare.table import fact_of
from trustml.errors import UsageError
from trustml.plan.job import explain_id
from trustml.record.explained import explained_model
from trustml.report.documents import plain_text
from trustml.report.explanations import figures
from trustml.report.explanations.frames import explained_example, method_agreement
from trustml.report.explanations.panels import quality_cells
from trustml.report.explanations.selection import PanelRequest, explained_by, methods_of
from trustml.report.explanations.tables import BETWEEN_MODELS, rows_of_model

run = current().directory
manifest = run.manifest()
methods = methods_of(run)
st.title("Explanations")
if not methods:
    asked = any(record.kind == "explain" for record in manifest.jobs)
    say_missing("explanation", asked=asked, not_asked="This run explained no model.")
table = measures()
left, middle, right = st.columns([2, 2, 1])
method = left.selectbox("Method", methods)
every = PanelRequest(method=method, example=0, model=None, backend=None)
models = list(dict.fromkeys(explained_model(run, record) for record, _ in explained_by(run, every)))
model = middle.selectbox("Model", models)
example = pick_example(right, run)

found = explained_example(run, PanelRequest(method=method, example=example, model=model, backend=None))


def show_same_weights() -> None:
    """Draw what every library says of one model, and how far they agree."""
    draw_panels(found, [(panel.library, panel) for panel in found.panels])
    st.caption(plain_text(f"{found.colours[0].upper()}{found.colours[1:]}. Panels share one scale, of {found.unit}."))
    st.caption(
        "What a library returns in another unit has a scale of its own; '(completed)' is what it becomes by the "
        "definition."
    )
    pairs = table[(table.job == model) & (table.method == method)]
    if len(pairs):
        st.subheader("How far the libraries agree")
        draw(figures.agreement_matrix(table, job=model, method=method))
        st.caption("Spearman rank correlation over the features of an example, mean over examples.")
        for caveat in dict.fromkeys(fact_of(pairs, "caveat", default="")):
            if caveat:
                st.info(plain_text(f"Same weights; {caveat}"))
    complete = rows_of_model(table, model)
    complete = complete[complete.measure == "attribution_completeness_error"]
    if complete.value.notna().any():
        draw(figures.completeness_points(table, job=model))
        st.caption("How far attributions are from adding up to the change of the logit. 0 would be exact.")
    logits = table[(table.measure == "logit_relative_difference") & (table.job == model)]
    notes(
        [f"Logits of these weights, {row.subject}: relative difference {row.value:.1e}." for row in logits.itertuples()]
    )
    show_rows(pairs)


def show_overall() -> None:
    """Draw what counts over all examples."""
    draw_importances(run, method=method, model=model)


def show_all_methods() -> None:
    """Draw every method of one library."""
    done = {record.id for record in manifest.jobs if record.status == "ok"}
    backends = [b for b in manifest.scenario["backends"] if explain_id(b, model) in done]
    backend = st.selectbox("Library of", backends)
    shown = []
    for name in methods:
        try:
            one = explained_example(run, PanelRequest(method=name, example=example, model=model, backend=backend))
        except UsageError:
            continue  # this library does not have the method; the record page says why
        best = next((p for p in one.panels if p.variant == "completed"), one.panels[0])
        shown.append((name, best))
    draw_panels(found, shown, own_scales=True)
    st.caption("Each method has a scale of its own here: their units differ. Colours are centred on zero.")
    agreement = method_agreement(run, model=model, backend=backend)
    if len(agreement) > 1:
        st.subheader("How far the methods agree")
        draw(figures.method_matrix(agreement))
        st.caption("Spearman rank correlation of signed attributions, mean over examples; the control is random.")


def show_regimes() -> None:
    """Draw models of every regime, and what a regime does beyond luck."""
    records = {record.id: record for record in manifest.jobs}
    backends = [b for b in manifest.scenario["backends"] if sum(records[m].backend == b for m in models) > 1]
    if not backends:
        st.info("This needs a framework of which two models were explained.")
    else:
        backend = st.selectbox("Framework that trained and explained", backends)
        panels = [
            (f"{records[name].regime}.s{records[name].seed}", panel)
            for name in models
            if records[name].backend == backend
            for panel in explained_example(
                run, PanelRequest(method=method, example=example, model=name, backend=backend)
            ).panels
            if panel.variant != "common" and panel.in_logits
        ][:24]
        draw_panels(found, panels)
        effects = table[(table.measure == "explanation_effect") & (table.method == method)].dropna(subset="value")
        if len(effects):
            st.subheader("Against the noise floor")
            draw(figures.effects_forest(table, method=method))
            st.caption(
                "Agreement of a regime's models with plain ones, minus that of plain models with each other: 0 is what "
                "another seed alone does, below 0 the regime changes explanations. Seeds are resampled; 95 %."
            )
            show_rows(table[table.measure.str.startswith("explanation_") & (table.method == method)])
        else:
            st.warning(
                "Descriptive: without several seeds, how much of a difference is luck cannot be told from this run."
            )
            between = table[
                (table.measure == "attribution_agreement_spearman")
                & (table.backend == backend)
                & (table.method == method)
                & table.pair.isin(BETWEEN_MODELS)
            ].dropna(subset="value")
            columns = ["subject", "regime", "seed", "value", "low", "high", "note"]
            st.dataframe(between[columns].rename(columns={"value": "rank agreement"}), hide_index=True, width="stretch")


def show_worth() -> None:
    """Show what removing features, and other tests, say of the explanations."""
    curves = curves_of(run, model)
    if curves is None:
        st.info("Nothing was tried with the explanations of this run (explanations.probes).")
    else:
        for kind, better in (("deletion", "lower"), ("insertion", "higher")):
            draw(figures.removal_curves(curves[kind], title=f"{kind}: {better} is better"))
        st.caption("Dashed: random attributions. A method that does no better explains nothing here.")
        sortable(quality_cells(table, model))
        st.caption(
            "'≈ random': no better than the random control, so it says nothing here. Intervals are in the rows below."
        )
        judged = rows_of_model(table, model)
        show_rows(judged[judged.method != ""])


def show_other() -> None:
    """Let the reader give another input."""
    show_what_if(run, manifest, found, model=model)


def show_feature() -> None:
    """Draw what the model says over the range of one feature."""
    show_dependence(run, manifest, model=model, method=method)


shown = {
    "Same weights, every library": show_same_weights,
    "Over all examples": show_overall,
    "Every method": show_all_methods,
    "Every regime": show_regimes,
    "What they are worth": show_worth,
    "One feature": show_feature,
    "What if": show_other,
}
# Of the others nothing is drawn: dozens of charts that nobody sees would keep the browser busy.
for place, show in zip(
    st.tabs([plain_text(name) for name in shown], key="explanations tab", on_change="rerun"),
    shown.values(),
    strict=True,
):
    if place.open:
        with place:
            show()
