"""What cannot work in the explanations of a scenario, said before anything runs.

What depends on the model or the backend is no error: that method is left out with its reason, and the others
go on (:mod:`trustml.catalogue.available`).
"""

from __future__ import annotations

import math
from collections import Counter

from trustml.errors import ScenarioError
from trustml.models.outcome import why_no_quantity
from trustml.scenario import methods as m
from trustml.scenario.baselines import Background, Baseline, Constants, Disclosed, Median, rows_shown
from trustml.scenario.regimes import PrivateRegime
from trustml.scenario.spec import Explanations, Scenario


def check_explanations(scenario: Scenario) -> None:
    """Check every setting of every method.

    Raises
    ------
    ScenarioError
    """
    explanations = scenario.explanations
    if why := why_no_quantity(scenario.task, explanations.quantity):
        raise ScenarioError("explanations.quantity", f"{explanations.quantity}: {why}", fix="use logit")
    names = Counter(method.title for method in explanations.methods)
    for index, method in enumerate(explanations.methods):
        field = f"explanations.methods.{index}"
        if names[method.title] > 1:
            raise ScenarioError(f"{field}.name", f"{method.title!r} names two methods", fix="give each its own name")
        if not all(c.isalnum() or c in "-_" for c in method.title) or len(method.title) > 64:
            raise ScenarioError(
                f"{field}.name", f"{method.title!r} is no plain name", fix="use letters, digits, - and _"
            )
        if isinstance(method, m.SmoothGrad):
            _check_method(method.of, f"{field}.of")
            if isinstance(method.of, m.IntegratedGradients) and method.of.max_completeness_error:
                raise ScenarioError(
                    f"{field}.of.max_completeness_error",
                    "an average over noise has the same points for all samples",
                    fix="leave it out and set n_steps",
                )
        _check_method(method, field)
        _check_patch(explanations, getattr(method, "patch", 1), f"{field}.patch")
    _check_patch(explanations, explanations.probes.patch, "explanations.probes.patch")
    _number(explanations.probes.baseline, "explanations.probes.baseline")
    _check_median(explanations.probes.baseline, "explanations.probes.baseline")
    _check_rows(scenario)


def check_target(target: str | int, *, classes: int, what: str = "classes") -> None:
    """Check a target class, or output, against how many there are.

    Raises
    ------
    ScenarioError
    """
    if isinstance(target, int) and not 0 <= target < classes:
        raise ScenarioError(
            "explanations.target", f"{target} is none of the {classes} {what}", fix=f"use 0 to {classes - 1}"
        )


def check_rows(rows: tuple[int, ...], *, heldout: int) -> None:
    """Check numbers of chosen examples against how many there are.

    Raises
    ------
    ScenarioError
    """
    for place, row in enumerate(rows):
        field = f"explanations.rows.{place}"
        if row >= heldout:
            raise ScenarioError(
                field, f"{row} is none of the {heldout} held-out examples", fix=f"use 0 to {heldout - 1}"
            )
        if row in rows[:place]:
            raise ScenarioError(field, f"{row} is named twice", fix="name every example once")


def _check_method(method: m.Method, field: str) -> None:
    _number(m.baseline_of(method), f"{field}.baseline")
    _check_median(m.baseline_of(method), f"{field}.baseline")
    background = m.background_of(method)
    if background is not None:
        if background.rows == "uniform" and not background.low < background.high:
            text = f"{background.low} is not below {background.high}"
            raise ScenarioError(f"{field}.background.low", text, fix="give the lowest and the highest value")
        if (background.rows == "public") != bool(background.path):
            text = "goes with rows='public', and public rows need it"
            raise ScenarioError(f"{field}.background.path", text, fix="name an .npz file, or leave it out")


def _check_patch(explanations: Explanations, patch: int, field: str) -> None:
    if explanations.groups and patch != 1:
        problem = f"{patch} joins values, and so does explanations.groups"
        raise ScenarioError(field, problem, fix="leave one of them out")


def _check_median(baseline: Baseline | None, field: str) -> None:
    if isinstance(baseline, Median) and (baseline.rows == "public") != bool(baseline.path):
        problem = "goes with rows='public', and public rows need it"
        raise ScenarioError(f"{field}.path", problem, fix="name an .npz file, or say whose rows in rows=...")


def _check_rows(scenario: Scenario) -> None:
    """Refuse what would show somebody's rows beside a model that promises privacy."""
    explanations = scenario.explanations
    private = [regime.title for regime in scenario.training if isinstance(regime, PrivateRegime)]
    used: list[tuple[str, Baseline | Background | None]] = [
        ("explanations.probes.baseline", explanations.probes.baseline)
    ]
    for index, method in enumerate(explanations.methods):
        field = f"explanations.methods.{index}"
        inner = f"{field}.of" if isinstance(method, m.SmoothGrad) else field
        used += [(f"{inner}.baseline", m.baseline_of(method)), (f"{field}.background", m.background_of(method))]
    for field, rows in used:
        whose = rows_shown(rows)
        if not private or whose in ("none", "public"):
            continue
        wanted: Disclosed = "training rows" if whose == "training" else "held-out rows"
        if wanted in explanations.discloses:
            continue
        safe = 'Background(rows="uniform") or rows="public"' if isinstance(rows, Background) else "a number or Blur()"
        so = "no epsilon then holds" if whose == "training" else "the statement lists them"
        raise ScenarioError(
            field,
            f"{_named(rows)} lets {whose} rows be read from the attributions, which the epsilon of {private[0]} does "
            "not cover",
            fix=f'use {safe}; or add "{wanted}" to explanations.discloses, and {so}',
        )


def _named(rows: Baseline | Background | None) -> str:
    if isinstance(rows, Background | Median):
        return f"{type(rows).__name__}(rows={rows.rows!r})"
    return type(rows).__name__


def _number(baseline: Baseline | None, field: str) -> None:
    numbers = baseline.values if isinstance(baseline, Constants) else (baseline,)
    for number in numbers:
        if isinstance(number, float | int) and not math.isfinite(number):
            raise ScenarioError(field, f"{number} is not finite", fix="use a number")
