"""Figures of an audit as small inline SVG: ROC curves, AUCs of all models, audited epsilons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt

from trustml.auditing.result import SEVERITIES, AuditRecord, Finding, Measurement, RocCounts, Severity
from trustml.report.audit_svg import (
    SIGNS,
    STYLE,
    draw_interval,
    inline_svg,
    interval_words,
    known,
    legend_label,
    name_rows,
    placed_axes,
    rows_canvas,
    short,
)
from trustml.report.audit_words import digits, measured_named

MOST_PANELS = 6
MOST_CURVES = 8
MOST_ROWS = 45
_POINTS = 160
# Okabe and Ito's palette without its yellow, which does not show on white; dashes repeat what colour says.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#56B4E9", "#A65E00", "#7A7A7A")
_DASHES: tuple[Any, ...] = (
    *("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5))),
    *((0, (3, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (1, 3)), (0, (2, 1))),
)


@dataclass(frozen=True)
class AuditFigure:
    """A figure with its words.

    Parameters
    ----------
    svg : str
        One ``<svg>`` element with identifiers of its own and no script.
    title, caption, alt : str
        Heading; what is seen and how to read it; what somebody should know who does not see it.
    """

    svg: str
    title: str
    caption: str
    alt: str


def worst_of(record: AuditRecord, subject: str) -> Severity:
    """Give the gravest severity among the findings on one model; where it is the only one, all are on it."""
    alone = len(record.models) == 1
    found = {finding.severity for finding in record.findings if alone or finding.subject == subject}
    return next((severity for severity in SEVERITIES if severity in found), "not checked")


def roc_figures(record: AuditRecord) -> tuple[AuditFigure, ...]:
    """Draw ROC curves on log-log axes, a figure for each model.

    Returns
    -------
    tuple of AuditFigure
        Of at most `MOST_PANELS` models, those with the gravest findings first and then the most exposed, and
        `MOST_CURVES` attacks each, those with the largest area first.
    """
    curves: dict[str, list[RocCounts]] = {}
    for curve in record.curves:
        if len(curve.false_positives) == len(curve.true_positives) > 0 and curve.false_positives[-1] > 0:
            if curve.true_positives[-1] > 0:
                curves.setdefault(curve.subject, []).append(curve)
    areas = {subject: max(curve_area(curve) for curve in group) for subject, group in curves.items()}
    subjects = sorted(curves, key=lambda subject: (SEVERITIES.index(worst_of(record, subject)), -areas[subject]))
    subjects = subjects[:MOST_PANELS]
    # An attack looks the same in every panel, whatever others there are beside it.
    attacks = list(dict.fromkeys(curve.attack for curve in record.curves))
    return tuple(_roc(subject, curves[subject], attacks, number) for number, subject in enumerate(subjects))


def _roc(subject: str, curves: list[RocCounts], attacks: list[str], number: int) -> AuditFigure:
    shown = sorted(curves, key=curve_area, reverse=True)[:MOST_CURVES]
    smallest = 1 / max(curve.false_positives[-1] for curve in shown)
    floor = min(1e-1, smallest)
    styles = _styles([curve.attack for curve in shown], attacks)
    with matplotlib.rc_context(STYLE):
        below = 0.75 + 0.15 * len(shown)
        axes = placed_axes(4.4, 3.6 + below, left=0.72, right=0.28, bottom=below, top=0.3)
        axes.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1.15))
        axes.axvspan(floor, min(1.0, 10 * smallest), color="#EDEDED", linewidth=0)
        axes.plot([floor, 1], [floor, 1], color="#444444", linewidth=1, linestyle=(0, (4, 4)), label="guessing")
        for curve in shown:
            place = styles[curve.attack]
            rates = drawn_rates(curve, floor)
            axes.plot(
                *rates,
                color=_COLOURS[place],
                linestyle=_DASHES[place],
                linewidth=1.5,
                drawstyle="steps-post",
                label=legend_label(f"{short(curve.attack, 34)}, AUC {digits(curve_area(curve), decimals=3)}"),
            )
        axes.set_title(short(subject, 46), fontsize=9, loc="left")
        axes.set(xlabel="false positive rate (non-members accused)", ylabel="true positive rate (members found)")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
            axis.set_minor_formatter(lambda value, _: "")
        axes.grid(which="major", color="#D8D8D8", linewidth=0.5)
        axes.figure.legend(loc="lower center", fontsize=7.5, frameon=False, handlelength=4, labelspacing=0.35)
        svg = inline_svg(axes.figure, f"roc{number}")
    areas = ", ".join(f"{curve.attack} {digits(curve_area(curve), decimals=3)}" for curve in shown)
    left = f" {len(curves) - len(shown)} weaker attacks are not drawn." if len(curves) > len(shown) else ""
    alt = f"ROC curves on logarithmic axes for {subject}. Area under the curve: {areas}."
    sizes = f"{curves[0].true_positives[-1]:,} members, {curves[0].false_positives[-1]:,} non-members."
    return AuditFigure(svg, f"ROC curves: {subject}", f"{sizes}{left}", alt)


def _styles(shown: list[str], attacks: list[str]) -> dict[str, int]:
    """Give each attack its line: the usual one, unless another in the same panel has it."""
    found: dict[str, int] = {}
    for attack in shown:
        usual = attacks.index(attack)
        turns = ((usual + turn) % len(_COLOURS) for turn in range(len(_COLOURS)))
        found[attack] = next((place for place in turns if place not in found.values()), usual % len(_COLOURS))
    return found


def curve_area(curve: RocCounts) -> float:
    """Area under an empirical ROC curve; ties count half."""
    false, true = _rates(curve)
    widths, heights = np.diff(false), (true[1:] + true[:-1]) / 2
    return float(widths @ heights)


def _rates(curve: RocCounts) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    false, true = (np.asarray((0, *counts), float) for counts in (curve.false_positives, curve.true_positives))
    return false / false[-1], true / true[-1]


def drawn_rates(curve: RocCounts, floor: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """False and true positive rates as they are drawn: on a grid of FPRs from `floor` to 1, the TPR reached at each."""
    false, true = _rates(curve)
    grid = np.unique(np.concatenate([np.geomspace(floor, 1, _POINTS), [1.0]]))
    place = np.searchsorted(false, grid, side="right") - 1
    return grid, np.maximum(true[place], floor / 10)


def auc_figure(record: AuditRecord) -> AuditFigure | None:
    """Draw the AUC of the strongest attack on each model with its interval; None if no finding holds an AUC.

    The strongest is the one with the gravest finding, then the one with the highest lower bound.
    """
    found: dict[str, list[tuple[Finding, Measurement]]] = {}
    for finding in record.findings:
        measured = measured_named(finding, "membership_auc")
        if measured is not None:
            found.setdefault(finding.subject, []).append((finding, measured))
    rows = [min(group, key=_gravity) for group in found.values()]
    if not rows:
        return None
    rows.sort(key=_gravity)
    shown = rows[:MOST_ROWS]
    with matplotlib.rc_context(STYLE):
        axes = rows_canvas(len(shown))
        axes.axvline(0.5, color="#444444", linewidth=1, linestyle=(0, (4, 4)))
        for place, (finding, measured) in enumerate(shown):
            marker, colour = SIGNS[finding.severity]
            draw_interval(axes, place, measured, marker=marker, colour=colour)
        names = [legend_label(short(finding.subject or finding.id, 26)) for finding, _ in shown]
        low = min(known(one.low, one.value) for _, one in shown)
        high = max(known(one.high, one.value) for _, one in shown)
        axes.set(xlim=(min(0.45, low - 0.02), max(0.6, min(1.0, high) + 0.02)), xlabel="AUC (0.5: guessing)")
        name_rows(axes, names, [interval_words(measured) for _, measured in shown])
        seen = [severity for severity in SEVERITIES if any(finding.severity == severity for finding, _ in shown)]
        handles = [axes.plot([], [], SIGNS[one][0], color=SIGNS[one][1], label=one)[0] for one in seen]
        axes.figure.legend(handles, seen, loc="upper center", ncols=3, fontsize=7.5, frameon=False)
        svg = inline_svg(axes.figure, "auc")
    left = f" The {len(rows) - len(shown)} least exposed models are not drawn." if len(rows) > len(shown) else ""
    caption = (
        "The strongest membership attack on each model: the one with the gravest finding, then with the highest lower "
        f"bound. Intervals are those of the findings.{left}"
    )
    alt = "; ".join(
        f"{finding.subject or finding.id}: AUC {interval_words(measured)}, {finding.severity}"
        for finding, measured in shown
    )
    return AuditFigure(svg, "AUC of the strongest attack on each model", caption, alt)


def _gravity(row: tuple[Finding, Measurement]) -> tuple[int, float]:
    finding, measured = row
    return SEVERITIES.index(finding.severity), -known(measured.low, measured.value)


def epsilon_figure(record: AuditRecord) -> AuditFigure | None:
    """Draw audited epsilons against claim, ceiling and what is attainable; None if there is none."""
    rows = [
        (finding, measured)
        for finding in sorted(record.findings, key=lambda one: SEVERITIES.index(one.severity))
        if (measured := measured_named(finding, "audited_epsilon")) is not None
    ]
    if not rows:
        return None
    shown = rows[:MOST_ROWS]
    with matplotlib.rc_context(STYLE):
        axes = rows_canvas(len(shown), height=0.3)
        axes.barh(0, 0, color="#6A6A6A", label="audited (lower bound)")
        words = []
        for place, (finding, measured) in enumerate(shown):
            words.append(_epsilon_row(axes, place, finding, measured, claimed_epsilon(record, finding)))
        axes.set_xlim(left=0)
        axes.set_xlabel("epsilon")
        names = [legend_label(short(finding.subject or finding.id, 26)) for finding, _ in shown]
        name_rows(
            axes,
            names,
            [f"{word.partition(',')[0]}, {finding.severity}" for word, (finding, _) in zip(words, shown, strict=True)],
        )
        handles, labels = axes.get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))
        axes.figure.legend(list(once.values()), list(once), loc="upper center", ncols=2, fontsize=7.5, frameon=False)
        svg = inline_svg(axes.figure, "epsilon")
    left = f" {len(rows) - len(shown)} further findings are not drawn." if len(rows) > len(shown) else ""
    caption = (
        "A bar that passes its claim shows that claim to be false. A short bar proves little: compare it with the "
        f"attainable range, and with the ceiling that no audit with that many trials could have passed.{left}"
    )
    pairs = zip(shown, words, strict=True)
    alt = "; ".join(f"{finding.subject or finding.id}: audited epsilon {word}" for (finding, _), word in pairs)
    return AuditFigure(svg, "Audited epsilon against the claim", caption, alt)


def _epsilon_row(axes: Any, place: int, finding: Finding, audited: Measurement, claim: float | None) -> str:
    """Draw one finding; gives the same in words, the audited value first."""
    value = known(audited.value, None)
    axes.barh(place, value, height=0.62, color=SIGNS[finding.severity][1], alpha=0.8)
    words = [digits(value, decimals=3)]
    attainable = measured_named(finding, "attainable_at_claim")
    ceiling = measured_named(finding, "ceiling_all_correct")
    if attainable is not None:
        middle = known(attainable.value, None)
        low, high = known(attainable.low, middle), known(attainable.high, middle)
        label = "attainable at the claim"
        axes.plot([low, high], [place, place], color="#000000", linewidth=3.4)
        axes.plot([low, high], [place, place], color="#F0E442", linewidth=2)
        axes.plot(middle, place, "D", color="#F0E442", markeredgecolor="#000000", markersize=4.5, label=label)
        words.append(f"attainable {interval_words(attainable)}")
    if claim is not None:
        axes.plot(claim, place, "|", color="#FFFFFF", markersize=14, markeredgewidth=4.5)
        axes.plot(claim, place, "|", color="#000000", markersize=14, markeredgewidth=2.2, label="claim")
        words.append(f"claim {digits(claim, decimals=3)}")
    if ceiling is not None:
        top = known(ceiling.value, None)
        axes.plot(top, place, "x", color="#444444", markersize=5.5, markeredgewidth=1.5, label="ceiling")
        words.append(f"ceiling {digits(top, decimals=3)}")
    return ", ".join(words)


def claimed_epsilon(record: AuditRecord, finding: Finding) -> float | None:
    """Give the epsilon that a finding is about: the one measured beside it, else the claim of its model."""
    beside = measured_named(finding, "claimed_epsilon", "epsilon")
    if beside is not None:
        return beside.value
    alone = len(record.models) == 1
    claims = (model.claim for model in record.models if alone or model.name == finding.subject)
    return next((claim.epsilon for claim in claims if claim is not None), None)
