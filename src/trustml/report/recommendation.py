"""What :mod:`trustml.compare.recommendation` found, in words: which framework for which need."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trustml.compare.recommendation import ExportedFile, Figure, Recommendation, Untold
from trustml.measures.between_models import SEEDS_FOR_A_CLAIM
from trustml.measures.measure import MEASURES

if TYPE_CHECKING:
    from rich.console import Console

_WHY: dict[Untold, str] = {
    "one framework": "only one framework has figures, so there is nothing to choose between",
    "few starts": f"which is best cannot be told from fewer than {SEEDS_FOR_A_CLAIM} seeds each: others may order "
    "them otherwise",
    "busy": "others used the machine meanwhile, so times tell nothing",
    "unequal nodes": "jobs ran on nodes of several kinds, so times tell of these as well",
    "alike": "none is told apart from all others",
    "no test": "these are shares of the same examples and models, of which no test can be made",
}


def recommended(one: Recommendation) -> str:
    """Give the sentence of one need and regime, without its figures."""
    if one.best:
        return f"{one.best}, told apart from every other at 5 %"
    return _WHY[one.untold]


def figure_words(one: Recommendation, figure: Figure) -> str:
    """Write what a framework has, with its interval where there is one."""
    measure = MEASURES[one.measure]
    if measure.family == "explanations":
        return f"{figure.backend} {round(figure.value * figure.count)} of {figure.count}"
    unit = f" {measure.number.unit}" if measure.number.unit else ""
    text = f"{figure.backend} {measure.text(figure.value)}{unit}"
    if math.isfinite(figure.low) and math.isfinite(figure.high):
        text += f" [{measure.text(figure.low)}, {measure.text(figure.high)}]"
    return text


def spread_words(answers: Sequence[Recommendation]) -> str:
    """Say what the figures of a need are, and what stands in brackets."""
    measure = MEASURES[answers[0].measure]
    if measure.family == "explanations":
        return "explanations of the methods that all have, whose order is better than a random one"
    counts = {figure.count for one in answers for figure in one.figures}
    if max(counts) > 1:
        return f"median, smallest and largest of {'up to ' if len(counts) > 1 else ''}{max(counts)} seeds"
    over = {"quartiles": "quartiles of the steps", "interval": "95 % interval over examples"}.get(measure.spread, "")
    return f"one seed{'; ' if over else ''}{over}"


def file_words(one: ExportedFile) -> str:
    """Write what an exported file lost."""
    parts = []
    if math.isfinite(one.logits):
        parts.append(f"logits differ by {one.logits:.1e} of the largest")
    if math.isfinite(one.differ):
        parts.append(f"{one.differ:.2%} of predictions differ")
    if math.isfinite(one.differ_high):
        parts[-1] += f" [{one.differ_low:.2%}, {one.differ_high:.2%}]"
    if math.isfinite(one.score_high):
        parts.append(f"score differs by {one.score:+.3f} [{one.score_low:+.3f}, {one.score_high:+.3f}]")
    if math.isfinite(one.attributions):
        parts.append(f"attributions by {one.attributions_by} agree at {one.attributions:.3f}")
    if math.isfinite(one.attributions_least):
        parts[-1] += f", of the worst example at {one.attributions_least:.3f}"
    return f"{one.file} of {one.job}: {', '.join(parts) or 'not measured'}"


def print_recommendations(out: Console, found: Sequence[Recommendation], files: Sequence[ExportedFile]) -> None:
    """Print an answer for every need, and the rows it is made from; what holds for all regimes is said once."""

    def line(text: str, style: str = "") -> None:
        out.print(text, soft_wrap=True, markup=False, highlight=False, style=style)

    for need, group in itertools.groupby(found, lambda one: one.need):
        answers = list(group)
        said = {recommended(one) for one in answers}
        line(f"For {need.title}: {said.pop()}" if len(said) == 1 else f"For {need.title}:", "bold")
        for one in answers:
            verdict = f" {recommended(one)}:" if said else ""
            line(f"  {one.regime}:{verdict} " + ", ".join(figure_words(one, figure) for figure in one.figures))
        regimes = ", ".join(one.regime for one in answers)
        line(f"  ({spread_words(answers)}; rows: {answers[0].measure} of {regimes})", "dim")
    if not files:
        line(
            "For deployment: no model of this run was exported, so nothing is known; "
            "`trustml export RUN JOB --to TARGET` does it",
            "bold",
        )
        return
    line("For deployment: what was tried, and what was lost on the way", "bold")
    for backend, exported in itertools.groupby(sorted(files, key=lambda one: one.backend), lambda one: one.backend):
        for file in exported:
            line(f"  {backend}: {file_words(file)}")
    line(
        "  (one model each; 95 % interval over examples; "
        "rows: deployed_logit_difference, deployed_disagreement, deployed_score_difference, "
        "deployed_attribution_agreement)",
        "dim",
    )
