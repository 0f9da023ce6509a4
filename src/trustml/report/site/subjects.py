"""What each page of a subject says of one run: the charts and tables of the dashboard, without what is private."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from trustml.compare.table import fact_of
from trustml.measures.evidence import Evidence
from trustml.measures.federated import federated_jobs
from trustml.measures.measure import MEASURES, leading, shown_in
from trustml.models.tasks import facts_of
from trustml.plan.job import short_model
from trustml.privacy.statement import PrivacyStatement, at_most
from trustml.record.curves import read_curves
from trustml.report import figures
from trustml.report.accuracy import figures as accuracy_figures
from trustml.report.accuracy.details import details_of
from trustml.report.accuracy.frames import gap_frame, judged_models, slice_columns, slice_frame
from trustml.report.accuracy.learning import CAPTION, learning_frame, learning_lines
from trustml.report.attacks import figures as attack_figures
from trustml.report.attacks.frames import audited_frame, membership_frame, roc_frame, thinned
from trustml.report.attacks.tables import REMEMBERED, audit_cells, membership_cells, remembered_cells
from trustml.report.explanations import figures as explanation_figures
from trustml.report.explanations.frames import explained_example, removal_curves_of
from trustml.report.explanations.panels import panel_charts, panel_lines, quality_cells
from trustml.report.explanations.selection import PanelRequest, methods_of
from trustml.report.explanations.tables import BETWEEN_MODELS
from trustml.report.federated import figures as federated_figures
from trustml.report.federated.frames import (
    FederatedFrames,
    epsilon_by_round,
    federated_frames,
    summary_frame,
    user_statements,
)
from trustml.report.privacy import figures as privacy_figures
from trustml.report.privacy.frames import SIGNS, comparison, promise
from trustml.report.site.content import RunShown, Section, filled
from trustml.report.speed import figures as speed_figures
from trustml.report.speed.tables import load_words
from trustml.report.tables import constant_lines

_EXAMPLE = 0
"""Which of the explained examples is drawn."""
_METHODS = 6
_SMALL = 400
"""Width of the charts of one model, of which several stand beside each other."""
_ROC_POINTS = 200


def model_sections(run: RunShown) -> tuple[Section, ...]:
    """Which classes models confuse, how sure they are, and whom they serve worse."""
    evidence = Evidence(run.directory)
    found = [_slices(run, column) for column in slice_columns(run.table)]
    learned = learning_frame(evidence)
    if len(learned):
        section = Section(title="While they trained")
        for of in ("loss", "score"):
            for chart in learning_lines(learned, of=of, score=facts_of(evidence.task).score):
                section.show(chart.properties(width=_SMALL), f"{of} in training, {chart.title}")
        section.say(CAPTION, tone="soft")
        found.append(section)
    records = judged_models(evidence)
    for record in records[:_METHODS]:
        section, name = Section(title=f"Model {short_model(record.id)}"), short_model(record.id)
        section.say(*(f"{line}." for line in constant_lines(run.table[run.table.job == record.id])[1]), tone="bad")
        rows = run.table[(run.table.job == record.id) & (run.table.measure == "calibration_error")].dropna(
            subset="value"
        )
        section.say(
            *(
                f"Expected calibration error {row.value:.3f}, 95 % interval {row.low:.3f} to {row.high:.3f}."
                for row in rows.itertuples()
            )
        )
        details = details_of(evidence, record)
        for detail in details:
            if detail.chart is not None:  # beside each other, so what they show is said below all of them
                section.show(detail.chart.properties(width=_SMALL), f"{detail.title.lower()} of {name}")
        section.say(*(f"{one.title}. {one.caption}" for one in details if one.chart is not None), tone="soft")
        for detail in details:
            if detail.cells is not None:
                section.tabulate(detail.cells, title=detail.title)
                section.say(detail.caption, tone="soft")
        found.append(section)
    if len(records) > _METHODS:
        found[-1].left_out.append(f"{len(records) - _METHODS} of {len(records)} models in detail")
    return filled(found)


def _slices(run: RunShown, column: str) -> Section:
    """Accuracy by group of a column, regime by regime, and the gap before and after privacy."""
    section = Section(title=f"By group of {column}")
    frame = slice_frame(run.table, column)
    section.show_some(
        lambda regime: (accuracy_figures.slice_points(frame[frame.regime == regime], title=regime), regime),
        list(dict.fromkeys(frame.regime)),
        f"regimes by {column}",
    )
    section.tabulate(gap_frame(run.table, column), title="gap between the best and the worst group")
    section.say("Private training is known to hurt small groups more; a mean hides it.", tone="soft")
    return section


def privacy_sections(run: RunShown) -> tuple[Section, ...]:
    """What privacy costs in accuracy, and what is promised exactly."""
    score = MEASURES[leading(set(run.table.measure))].title
    costs = Section(title=f"{score[:1].upper() + score[1:]} against epsilon")
    for panel in figures.privacy_accuracy(run.table):
        costs.show(panel, f"{score} against epsilon")
    costs.say("Bars are 95 % intervals. Models trained without privacy have no finite epsilon and stand apart.")
    promised = Section(title="What is promised")
    if not run.statements:
        promised.say("No model of this run was trained with privacy: no finite epsilon holds for any of them.")
        return filled([costs, promised])
    promised.tabulate(pd.DataFrame([promise(statement) for statement in run.statements]))
    together = run.table[run.table.measure == "epsilon_all_releases"].dropna(subset="value")
    promised.say(
        *(
            f"All private models together: epsilon at most {at_most(row['value'], 3)}; {row['note']}"
            for row in together.to_dict("records")
        )
    )
    details = [_statement(one) for one in run.statements[:_METHODS]]
    if len(run.statements) > _METHODS:
        promised.left_out.append(
            f"the assumptions of {len(run.statements) - _METHODS} of {len(run.statements)} private models"
        )
    return filled([costs, promised, *details])


def _statement(statement: PrivacyStatement) -> Section:
    """One promise in detail: what it rests on, and what no epsilon covers."""
    found = Section(title=f"The promise of {short_model(statement.model)}")
    if statement.curve is not None:
        found.show(privacy_figures.epsilon_by_steps(statement), "epsilon as steps add up, the claim as a cross")
    found.tabulate(pd.DataFrame(comparison(statement)), title="other epsilons, and what they rest on")
    found.tabulate(
        pd.DataFrame(
            [{"": SIGNS[one.status], "assumption": one.name, "why": one.why} for one in statement.assumptions]
        ),
        title="what the claim rests on",
    )
    found.tabulate(
        pd.DataFrame([{"": one.coverage, "released": one.name, "why": one.why} for one in statement.releases]),
        title="released, and what covers it",
    )
    told = {f"{one.name}: {one.why}" for one in statement.releases}
    found.say(*(f"Not covered by epsilon: {line}" for line in statement.not_covered if line not in told), tone="soft")
    return found


def attack_sections(run: RunShown) -> tuple[Section, ...]:
    """What attackers got."""
    audits, models = audited_frame(run.table), membership_frame(run.table)
    audited = Section(title="Epsilon: promised, and shown by audits")
    if not audits.empty:
        audited.show(attack_figures.audited_epsilons(audits), "what each audit has shown beside the claim")
        audited.tabulate(audit_cells(audits))
        audited.say("'At least' is a lower bound that the audit has shown; beyond the claim it is a violation.")
    inferred, curves_shown = Section(title="Membership inference"), Section(title="ROC curves")
    if not models.empty:
        inferred.show(attack_figures.auc_by_regime(models), "AUC of each model by each attack; 0.5 is guessing")
        inferred.tabulate(membership_cells(run.table))
        inferred.say("At risk: a lower bound of the AUC, corrected for all attacks on the model, is above 0.5.")
        curves = read_curves(run.directory)
        subjects = sorted({curve.subject for curve in curves} & set(models.model))

        drawn = [curve for curve in curves if curve.attack in attack_figures.DRAWN] or curves

        def roc(subject: str) -> tuple[Any, str]:
            points = thinned(roc_frame(drawn, subject=subject), most=_ROC_POINTS)
            return attack_figures.roc_log_log(points).properties(title=short_model(subject)), f"ROC curves of {subject}"

        if len(drawn) < len(curves):
            curves_shown.left_out.append(
                "ROC curves of other attacks than the strongest, and points between those drawn"
            )

        curves_shown.show_some(roc, subjects, "models' ROC curves")
        curves_shown.say("Logarithmic axes; guessing is dashed. No epsilon covers these curves.", tone="soft")
    if not curves_shown.parts[1:]:
        curves_shown.parts.clear()
    remembered, cells = Section(title="Remembered"), remembered_cells(run.table)
    if not cells.empty:
        remembered.tabulate(cells)
        remembered.say(REMEMBERED, tone="soft")
    return filled([audited, inferred, curves_shown, remembered])


def federated_sections(run: RunShown) -> tuple[Section, ...]:
    """Rounds, clients, bytes and privacy for users, as far as they are released."""
    if not run.manifest.partitions:
        return ()
    evidence = Evidence(run.directory)
    jobs = federated_jobs(evidence)
    if not jobs:
        return ()
    statements = user_statements(evidence, run.statements)
    order = list(dict.fromkeys(record.regime for record, _ in jobs))
    frames = federated_frames(evidence)
    first = Section(title="By regime and framework")
    first.tabulate(summary_frame(evidence, run.table, statements))
    first.say("Means over seeds; a step is a round. Private parts of the record, such as who took part, are not here.")
    sent = Section(title="Bytes")
    if len(federated_figures.sent(run.table)):
        sent.show(federated_figures.bytes_by_regime(run.table), "bytes that clients and server send each other")
    users = Section(title="Privacy for users by round")
    curves = epsilon_by_round(evidence, statements)
    if not curves.empty:
        users.show(federated_figures.user_epsilon(curves, order=order), "user-level epsilon as rounds add up")
    return filled([first, *_rounds(frames, order), sent, users])


def _labelled(label: str) -> Callable[[Any], tuple[Any, str]]:
    """Give charts that are made already their label."""
    return lambda chart: (chart, label)


def _rounds(frames: FederatedFrames, order: list[str]) -> list[Section]:
    accuracy, clients, norms = (Section(title=t) for t in ("Accuracy by round", "Clients", "Drift and clipping"))
    accuracy.show(
        federated_figures.accuracy_by_round(frames.history, targets=frames.targets, order=order),
        "score on held-out examples by round, mean over seeds",
    )
    drawn: list[tuple[Section, pd.DataFrame, Callable[[pd.DataFrame], list[Any]], str]] = [
        (clients, frames.spread, lambda f: federated_figures.client_spread(f, order=order), "accuracy of clients"),
        (clients, frames.rounds, lambda f: federated_figures.participants_by_round(f, order=order), "clients asked"),
    ]
    for section, frame, make, label in drawn:
        if len(frame):
            section.show_some(_labelled(label), make(frame), f"charts of {label}")
    for frame, column, title in (
        (frames.rounds.dropna(subset="update_norm"), "update_norm", "L2 norm of a client's update"),
        (frames.clips, "clipping_norm", "clipping norm"),
    ):
        if len(frame):
            norms.show(federated_figures.norm_by_round(frame, column, title=title, order=order), f"{title} by round")
    return [accuracy, clients, norms]


def explanation_sections(run: RunShown) -> tuple[Section, ...]:
    """One example explained by every library, how far libraries and models agree, and what explanations are worth."""
    methods = methods_of(run.directory)
    if not methods:
        return ()
    found = []
    for method in methods[:_METHODS]:
        example = explained_example(
            run.directory, PanelRequest(method=method, example=_EXAMPLE, model=None, backend=None)
        )
        model = example.panels[0].model
        panels = [(panel.library, panel) for panel in example.panels if panel.model == model]
        section = Section(title=f"{method}: the weights of {short_model(model)} explained by every library")
        section.show_some(lambda one: (one[1], one[0]), panel_charts(example, panels), "explanations")
        section.say(*panel_lines(example, panels), tone="soft")
        pairs = run.table[(run.table.job == model) & (run.table.method == method)]
        if (pairs.pair == "same weights").any():
            section.show(
                explanation_figures.agreement_matrix(run.table, job=model, method=method),
                f"rank agreement of libraries by {method}",
            )
        section.say(*(text for text in fact_of(pairs, "caveat", default="") if text), tone="soft")
        _left_out(section, methods, len({panel.model for panel in example.panels}))
        found.append(section)
    return filled([*found, _regimes(run, methods), *_worth(run)])


def _left_out(section: Section, methods: list[str], models: int) -> None:
    shown = "explanations of all examples but the first"
    section.left_out.append(f"{shown}, and of {models - 1} of {models} models" if models > 1 else shown)
    if len(methods) > _METHODS:
        section.left_out.append(f"pictures of {len(methods) - _METHODS} of {len(methods)} methods")


def _regimes(run: RunShown, methods: list[str]) -> Section:
    """What another regime, framework or seed does to explanations."""
    found, table = Section(title="Explanations of different models"), run.table
    effects = table[table.measure == "explanation_effect"].dropna(subset="value")
    there = [method for method in methods if (effects.method == method).any()]
    found.show_some(
        lambda method: (explanation_figures.effects_forest(table, method=method).properties(title=method), method),
        there,
        "methods' effects of a regime",
    )
    if there:
        found.say("0 is what another seed alone does; below 0 the regime changes explanations.")
        return found
    rows = table[(table.measure == "attribution_agreement_spearman") & table.pair.isin(BETWEEN_MODELS)]
    rows = rows.dropna(subset="value")[["method", "backend", "first", "second", "value", "note"]]
    if len(rows):
        found.tabulate(rows.rename(columns={"value": "rank agreement", "backend": "framework"}))
    return found


def _worth(run: RunShown) -> list[Section]:
    rows = run.table[(run.table.kind == "explain") & (run.table.model != "")]
    models = list(dict.fromkeys(rows.model))
    if not models:
        return []
    found, model = Section(title=f"What explanations of {short_model(models[0])} are worth"), models[0]
    for kind, curves in (removal_curves_of(run.directory, model) or {}).items():
        better = {"deletion": "lower", "insertion": "higher"}[kind]
        if len(curves):
            found.show(explanation_figures.removal_curves(curves, title=f"{kind}: {better} is better"), kind)
    found.tabulate(quality_cells(run.table, model))
    found.say("'≈ random': no better than the random control, so it says nothing here.", tone="soft")
    if len(models) > 1:
        found.left_out.append(f"what explanations of {len(models) - 1} of {len(models)} models are worth")
    return [found]


def speed_sections(run: RunShown) -> tuple[Section, ...]:
    """Time and memory."""
    found = []
    for name, measure in sorted(shown_in("speed page").items(), key=lambda one: one[1].family != "speed"):
        if run.table[run.table.measure == name].value.notna().any():
            section = Section(title=measure.title.capitalize())
            section.say(measure.meaning)
            section.show_some(
                _labelled(measure.title),
                speed_figures.measure_bars(run.table, name),
                "regimes",
            )
            found.append(section)
    if found:
        found[0].parts[:0] = _load(run)
    return tuple(found)


def _load(run: RunShown) -> list[Any]:
    section = Section(title="")
    section.say(*(text[:1].upper() + text[1:] + "." for text in load_words(run.table)), tone="warning")
    machine = run.manifest.hardware
    section.say(
        f"{machine.get('processor')}, {machine.get('cores')} cores, {machine.get('memory_gib')} GiB", tone="soft"
    )
    return section.parts


SUBJECTS: Mapping[str, tuple[str, Callable[[RunShown], tuple[Section, ...]]]] = {
    "models": ("Models", model_sections),
    "privacy": ("Privacy", privacy_sections),
    "attacks": ("Attacks", attack_sections),
    "federated": ("Federated", federated_sections),
    "explanations": ("Explanations", explanation_sections),
    "speed": ("Speed", speed_sections),
}
"""Pages of the dashboard that are of one run, by the name that answers link to."""
