"""Which framework for which need, as far as a run can tell: figures by framework, and which are told apart.

Nothing here is an opinion: a framework is recommended for a need where a test over several starts tells it apart from
every other, corrected (Bonferroni) for all comparisons of that need. Else it says why none can be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from trustml.compare.score_changes import LEVEL, FrameworkPair, framework_pairs
from trustml.compare.table import busy_rows, fact_of
from trustml.measures.between_models import SEEDS_FOR_A_CLAIM
from trustml.measures.entry import Measure
from trustml.measures.measure import MEASURES, leading

if TYPE_CHECKING:
    import pandas as pd

Untold: TypeAlias = Literal["", "one framework", "few starts", "busy", "unequal nodes", "alike", "no test"]
"""Why no framework is told apart for a need: there is nothing to compare it with; there are too few starts of each;
others used the machine; jobs had nodes of several kinds; the test does not tell; or no test can be made, as figures are
of the same examples."""


LEAST_GAP = 0.02
"""Of logarithms: what differs by less than 2 % is alike for whoever chooses, however surely it differs."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """What somebody may want of a framework.

    Attributes
    ----------
    title : str
    measure : str
        Whose rows answer it; ``score`` stands for what the table leads with.
    timed : bool
        Whether a busy machine spoils it.
    by_method : bool
        Whether it has a row for every method of explanation: those that all frameworks' own libraries have are taken.
    """

    title: str
    measure: str
    timed: bool = False
    by_method: bool = False


NEEDS = (
    Need(title="models that score best", measure="score"),
    Need(title="fast training", measure="step_time_median", timed=True),
    Need(title="a fast first step", measure="step_time_first", timed=True),
    Need(title="little memory", measure="peak_memory"),
    Need(title="fast explanations", measure="explain_time", timed=True, by_method=True),
    Need(title="faithful explanations", measure="deletion_auc", by_method=True),
)
"""In the order in which they are answered, and after them the files that were exported."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What one framework has for a need.

    Attributes
    ----------
    backend : str
    value : float
        Median over starts, of explanations' times the sum over methods; for faithfulness the share of explanations.
    low, high : float
        Of one start the interval of its row, NaN where it has none; of several the smallest and the largest.
    count : int
        Starts behind it, each with a seed and a process of its own; for faithfulness explanations, a method of a model
        each.
    jobs : tuple of str
        Whose rows they are.
    """

    backend: str
    value: float
    low: float
    high: float
    count: int
    jobs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The answer to one need in one regime.

    Attributes
    ----------
    need : Need
    measure : str
        A name of :data:`MEASURES`.
    regime : str
    best : str
        The framework that is told apart from every other; empty where none is.
    untold : Untold
        Why not.
    figures : tuple of Figure
        The best first.
    """

    need: Need
    measure: str
    regime: str
    best: str
    untold: Untold
    figures: tuple[Figure, ...]


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """A target that a model reached, and what was lost on the way.

    Attributes
    ----------
    backend, regime, job, file : str
    differ, differ_low, differ_high, logits : float
        Share of predictions that differ with its interval, and relative difference of logits; NaN where not measured.
    score, score_low, score_high : float
        Score less that of the model, on the same examples, with its paired interval.
    attributions, attributions_least : float
        Rank agreement of attributions, in the mean and of the worst example, by the way of explaining whose worst
        example agrees least.
    attributions_by : str
        That way.
    """

    backend: str
    regime: str
    job: str
    file: str
    differ: float
    differ_low: float
    differ_high: float
    logits: float
    score: float
    score_low: float
    score_high: float
    attributions: float
    attributions_least: float
    attributions_by: str


def recommendations(table: pd.DataFrame) -> tuple[Recommendation, ...]:
    """Answer every need that the table has rows for, by regime.

    Parameters
    ----------
    table : DataFrame
        The tidy table of one run.
    """
    found: list[Recommendation] = []
    for need in NEEDS:
        name = leading(set(table.measure)) if need.measure == "score" else need.measure
        rows = table[(table.measure == name) & table.value.notna() & (table.job != "")]
        for regime in dict.fromkeys(rows.regime):
            found += _answer(need, name, str(regime), rows[rows.regime == regime], table)
    return tuple(found)


def exported_files(table: pd.DataFrame) -> tuple[ExportedFile, ...]:
    """Every file that the run's models were exported to."""
    files = []
    for (job, file), group in table[table.job != ""].groupby(["job", "subject"], sort=False):
        if not (group.measure == "deployed_logit_difference").any():
            continue
        group = group.assign(least=fact_of(group, "least_agreement", default=math.nan).astype(float))
        # Of several ways of explaining the one that agrees least, as an audit judges by; the others have one row.
        values = group.sort_values(["least", "value"], kind="stable").drop_duplicates("measure").set_index("measure")
        differ, score, agree = (
            values.reindex([f"deployed_{name}"]).iloc[0]
            for name in ("disagreement", "score_difference", "attribution_agreement")
        )
        files.append(
            ExportedFile(
                backend=str(group.backend.iloc[0]),
                regime=str(group.regime.iloc[0]),
                job=str(job),
                file=str(file),
                differ=float(differ.value),
                differ_low=float(differ.low),
                differ_high=float(differ.high),
                logits=float(values.value["deployed_logit_difference"]),
                score=float(score.value),
                score_low=float(score.low),
                score_high=float(score.high),
                attributions=float(agree.value),
                attributions_least=float(agree.least),
                attributions_by=str(agree.method) if math.isfinite(agree.value) else "",
            )
        )
    return tuple(files)


def _answer(need: Need, name: str, regime: str, rows: pd.DataFrame, table: pd.DataFrame) -> Iterable[Recommendation]:
    measure = MEASURES[name]
    if need.by_method:
        rows = _of_common_methods(rows)
    if measure.family == "explanations":
        figures = _shares(rows)
        best = ""
        untold: Untold = "no test" if len(figures) > 1 else "one framework"
    else:
        by_backend = {str(backend): group for backend, group in rows.groupby("backend", sort=False)}
        figures = [_figure(backend, group) for backend, group in by_backend.items()]
        figures.sort(key=lambda one: one.value, reverse=measure.better == "higher")
        best, untold = _told(need, measure, regime, figures, by_backend, table)
    if figures:
        yield Recommendation(need=need, measure=name, regime=regime, best=best, untold=untold, figures=tuple(figures))


def _figure(backend: str, rows: pd.DataFrame) -> Figure:
    by_start = _by_start(rows)
    one = len(by_start) == 1
    return Figure(
        backend=backend,
        value=float(by_start.median()),
        low=float(rows.low.iloc[0] if one else by_start.min()),
        high=float(rows.high.iloc[0] if one else by_start.max()),
        count=len(by_start),
        jobs=tuple(dict.fromkeys(str(job) for job in rows.job)),
    )


def _by_start(rows: pd.DataFrame) -> pd.Series:
    """One value a seed: the median of its rows, summed over methods where it is of several."""
    return rows.groupby(["seed", "method"], sort=False).value.median().groupby(level="seed").sum()


def _of_common_methods(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of frameworks' own libraries, of methods that all of them have; controls are none."""
    variants = fact_of(rows, "variant", default="native")
    own = rows[(variants == "native") & (rows.verdict != "random control")]
    # Every start of every framework must have it: whose slow method failed is not faster for that.
    starts = len(own[["backend", "seed"]].drop_duplicates())
    have = own[["backend", "seed", "method"]].drop_duplicates().groupby("method").size()
    return own[own.method.isin(have[have == starts].index)]


def _shares(rows: pd.DataFrame) -> list[Figure]:
    """Share of explanations whose deletion is better than that of random order."""
    asked = rows[rows.verdict.isin(["better than random", "no better than random", "worse than random"])]
    figures = []
    for backend, group in asked.groupby("backend", sort=False):
        better = group.verdict == "better than random"
        jobs = tuple(dict.fromkeys(str(job) for job in group.job))
        share = float(better.mean())
        figures.append(
            Figure(backend=str(backend), value=share, low=math.nan, high=math.nan, count=len(group), jobs=jobs)
        )
    return sorted(figures, key=lambda one: -one.value)


def _told(
    need: Need,
    measure: Measure,
    regime: str,
    figures: Sequence[Figure],
    rows: dict[str, pd.DataFrame],
    table: pd.DataFrame,
) -> tuple[str, Untold]:
    """Give the framework that is told apart from all others, or why there is none."""
    if len(figures) < 2:
        return "", "one framework"
    if min(one.count for one in figures) < SEEDS_FOR_A_CLAIM:
        return "", "few starts"
    if need.timed and _is_busy(table, need):
        return "", "busy"
    if need.timed and _has_unequal_nodes(table):
        return "", "unequal nodes"
    first, *others = (one.backend for one in figures)
    if need.measure == "score":
        pairs = [one for one in framework_pairs(table) if one.regime == regime]
        apart = [_is_above(first, other, pairs) for other in others]
    else:
        apart = [_is_less(rows[first], rows[other], tests=len(others)) for other in others]
    return (first, "") if all(apart) else ("", "alike")


def _is_busy(table: pd.DataFrame, need: Need) -> bool:
    """Whether a machine was busy beside a job whose times the need is about, or beside a training."""
    timed = table[table.measure.isin(("step_time_median", need.measure)) & table.value.notna()]
    return bool(busy_rows(timed).any())


def _has_unequal_nodes(table: pd.DataFrame) -> bool:
    return bool(fact_of(table[table.value.notna()], "unequal_nodes", default=False).astype(bool).any())


def _is_above(first: str, other: str, pairs: Sequence[FrameworkPair]) -> bool:
    """Whether a framework's scores are above another's over the seeds that both have."""
    for one in pairs:
        if {one.first, one.second} == {first, other}:
            above = one.change.value > 0 if one.second == first else one.change.value < 0
            return above and one.is_apart(pairs=len(pairs))
    return False


def _is_less(first: pd.DataFrame, other: pd.DataFrame, *, tests: int) -> bool:
    """Whether starts of one are below those of another: Welch's test of logarithms, as times differ by factors."""
    import numpy as np
    from scipy import stats

    logs = [np.log(_by_start(rows).to_numpy(float)) for rows in (first, other)]
    if logs[1].mean() - logs[0].mean() <= LEAST_GAP:
        return False
    return float(stats.ttest_ind(*logs, equal_var=False).pvalue) * tests < LEVEL
