"""A sweep as a curve and in sentences: what each value scores, what is best, and what choosing costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trustml.compare.table import fact_of
from trustml.measures.measure import MEASURES, leading
from trustml.measures.sweeps import candidates, promises
from trustml.privacy.statement import at_most
from trustml.record.schema import Manifest, regimes_of, sweep_of
from trustml.report.score_changes import Answer, is_plain, listed

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_LOG_FROM = 8.0
"""Largest over smallest value, from which an axis is logarithmic."""
_MOST_SETTINGS = 8


def sweep_frame(manifest: Manifest, table: pd.DataFrame) -> pd.DataFrame:
    """Score of every swept model beside the value that it was trained with.

    Returns
    -------
    DataFrame
        Columns ``of``, ``field``, ``value``, ``rest`` (the other swept fields, in words), ``regime``, ``backend``,
        ``seed``, ``score``, ``low``, ``high``, ``epsilon``. The field is the first that the sweep goes over.
    """
    import pandas as pd

    columns = ["of", "field", "value", "rest", "regime", "backend", "seed", "score", "low", "high", "epsilon"]
    settings: dict[str, dict[str, Any]] = {}
    of = {}
    for one in sweep_of(manifest):
        settings.setdefault(one.regime, {})[one.field] = one.value
        of[one.regime] = one.of
    scores = table[(table.measure == leading(set(table.measure))) & table.value.notna()]
    epsilons = {(r.regime, r.backend, r.seed): r.value for r in table[table.measure == "epsilon"].itertuples()}
    rows = []
    for regime, fields in settings.items():
        (field, value), *others = fields.items()
        rest = ", ".join(f"{name} {other}" for name, other in others)
        for row in scores[scores.regime == regime].itertuples():
            epsilon = epsilons.get((row.regime, row.backend, row.seed))
            rows.append(
                (of[regime], field, value, rest, regime, row.backend, row.seed, row.value, row.low, row.high, epsilon)
            )
    return pd.DataFrame(rows, columns=columns)


def sweep_charts(manifest: Manifest, table: pd.DataFrame) -> list[alt.LayerChart]:
    """Draw one curve for each regime that was swept over: value against score, with intervals."""
    frame = sweep_frame(manifest, table)
    score = MEASURES[leading(set(table.measure))].title
    return [_chart(frame[frame.of == of], str(of), score) for of in dict.fromkeys(frame.of)]


def _chart(rows: pd.DataFrame, of: str, score: str) -> alt.LayerChart:
    import altair as alt

    from trustml.report.figures import backend_colour, backend_shape, top_legend

    field = str(rows.field.iloc[0])
    rows = rows.assign(
        line=rows.backend + " " + rows.rest + " " + rows.seed.astype(str),
        bound=rows.epsilon.map(lambda value: at_most(value, 3), na_action="ignore"),
    )
    base = alt.Chart(rows).encode(x=_axis(list(rows.value), f"{field} of {of}"), color=backend_colour(rows.backend))
    title = f"{score}, 95 % interval"
    y = alt.Y("score:Q", title=title, scale=alt.Scale(zero=False))
    lines = base.mark_line(strokeWidth=2).encode(y=y, detail="line:N")
    if 1 < rows.rest.nunique() <= _MOST_SETTINGS:
        lines = lines.encode(
            strokeDash=alt.StrokeDash("rest:N", title="with", legend=top_legend(rows.rest, lines=True))
        )
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        y=y,
        shape=backend_shape(rows.backend),
        tooltip=[
            "regime",
            "backend",
            "seed",
            alt.Tooltip("score:Q", format=".3f"),
            alt.Tooltip("bound:N", title="epsilon, at most"),
        ],
    )
    intervals = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    joined = [lines] if rows.rest.nunique() <= _MOST_SETTINGS else []  # settings that were drawn are on no line
    return alt.layer(intervals, *joined, points).properties(height=320)


def _axis(values: Sequence[Any], title: str) -> alt.X:
    """Numbers on an axis of numbers, logarithmic where they differ by much; all else in its order."""
    import altair as alt

    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return alt.X("value:N", title=title, sort=list(dict.fromkeys(values)))
    far = min(values) > 0 and max(values) >= _LOG_FROM * min(values)
    return alt.X(
        "value:Q", title=title, scale=alt.Scale(type="log" if far else "linear", zero=False, nice=False, padding=20)
    )


def sweep_answers(manifest: Manifest, table: pd.DataFrame) -> list[Answer]:
    """Say what a sweep shows, what each regime comes to at its best, and what choosing costs."""
    frame = sweep_frame(manifest, table)
    found = []
    for of in dict.fromkeys(frame.of):
        rows = frame[frame.of == of]
        first = rows[rows.backend == rows.backend.iloc[0]]
        means = first.groupby(["value", "rest"], sort=False).score.mean()
        each = [f"{score:.3f} at {_setting(value, rest)}" for (value, rest), score in means.items()]
        more = ", in other frameworks as the curve shows" if rows.backend.nunique() > 1 else ""
        text = f"over {rows.field.iloc[0]}, {of} scores {listed(each, _MOST_SETTINGS)} in {first.backend.iloc[0]}{more}"
        cost = _cost_of_choosing(table, rows)
        found.append(Answer(question="sweep", text=f"{text}{cost}", measure=leading(set(table.measure))))
    tuned = table[(table.measure == "epsilon_single_run") & table.value.notna()]
    singles = dict(zip(tuned.job, tuned.value, strict=True))
    for row in table[(table.measure == "epsilon") & table.job.isin(tuned.job)].to_dict("records"):
        single = float(singles[row["job"]])
        epsilon = at_most(float(row["value"]), 2)
        text = (
            f"{row['regime']} is the best of a random number of runs, the others of which are not released: with that "
            f"choice its epsilon is at most {epsilon} at delta {row['delta']:g}; one run alone would have "
            f"{at_most(single, 2)}. It was chosen by its score on the held-out examples, which looks better than it is"
        )
        found.append(Answer(question="sweep", text=text, page="privacy", measure="epsilon"))
    return found


def _setting(value: Any, rest: str) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (f"{value:g}" if number else str(value)) + (f" with {rest}" if rest else "")


def _cost_of_choosing(table: pd.DataFrame, rows: pd.DataFrame) -> str:
    """What holds for all private models together, which is what choosing one of them by its score costs."""
    count = int(rows.epsilon.notna().sum())
    if count < 2:
        return ""
    together = table[(table.measure == "epsilon_all_releases") & table.value.notna()]
    several = len(together) == 1
    what = f": epsilon at most {at_most(float(together.value.iloc[0]), 2)} for all of the run" if several else ""
    return f"; to choose among its {count} private models by what they score is to release them all{what}"


def beside_the_best(manifest: Manifest, table: pd.DataFrame) -> frozenset[str]:
    """Swept regimes that are not to be held against others, as :func:`tuned_answers` tells of those at their best."""
    asked = regimes_of(manifest)
    best = set(table[(table.measure == "tuned_score") & table.value.notna()].regime)
    compared = set(table[(table.measure == "tuned_score_difference") & table.value.notna()].regime)
    found: set[str] = set()
    private = table[(table.measure == "epsilon") & table.value.notna()]
    charged = {str(regime): float(rows.value.max()) for regime, rows in private.groupby("regime")}
    for group in candidates(sweep_of(manifest), promised=promises(manifest, charged)):
        plain = best & {title for title in group.regimes if is_plain(asked[title])}
        if compared & set(group.regimes) or plain:
            found |= set(group.regimes) - plain
    return frozenset(found)


def tuned_answers(manifest: Manifest, table: pd.DataFrame) -> list[Answer]:
    """What a regime costs where it and the plain one have each its own best setting."""
    rows = table[(table.measure == "tuned_score_difference") & table.value.notna()]
    if rows.empty:
        return []
    asked = regimes_of(manifest)
    settings, chosen = fact_of(rows, "setting", default=""), fact_of(rows, "chosen_on", default=0)
    each = [
        f"{row.regime} scores {row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}] in {row.backend} "
        f"({setting}{f', seed {row.seed}' if rows.seed.nunique() > 1 else ''})"
        for row, setting in zip(rows.itertuples(), settings, strict=True)
        if not is_plain(asked[str(row.regime)])
    ]
    if not each:
        return []
    text = (
        f"each at its own best setting, chosen on {max(chosen)} of the held-out examples and measured on "
        f"{rows.n.max()} others, against the plain one: {listed(each, _MOST_SETTINGS)}"
    )
    return [Answer(question="privacy", text=text, page="privacy", measure="tuned_score_difference")]
