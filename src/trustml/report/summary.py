"""What a run answers, in three to five sentences: what privacy costs, which framework, what can be trusted.

Every number is that of a row, and every sentence names the measures behind it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from trustml.compare.table import fact_of
from trustml.measures.measure import MEASURES, leading
from trustml.privacy.statement import PrivacyStatement
from trustml.record.schema import TYPED_ROWS, Manifest
from trustml.report.speed.tables import load_words
from trustml.report.tables import best_constant

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

Question: TypeAlias = Literal["use", "privacy", "federation", "framework", "speed", "leakage", "trust", "explanations"]
Page: TypeAlias = Literal["", "privacy", "attacks", "federated", "explanations", "speed", "record"]
_LEVEL = 0.05
_MOST_REGIMES = 3
_MOST_TOLD = 4


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One sentence, and where its proof is.

    Attributes
    ----------
    question : Question
    text : str
    page : Page
        Of the dashboard; empty for the overview itself.
    measure : str
        Whose rows it is made from, above all.
    """

    question: Question
    text: str
    page: Page = ""
    measure: str = ""

    @property
    def sentence(self) -> str:
        """The text with a capital, unless it begins with a name, and a full stop."""
        first = self.text.partition(" ")[0]
        return f"{self.text if not first.islower() else self.text[:1].upper() + self.text[1:]}."


@dataclass(frozen=True, kw_only=True)
class _Change:
    """A score less another, in one backend: of one seed over examples, or over seeds."""

    backend: str
    value: float
    low: float
    high: float
    seeds: int

    @property
    def is_told(self) -> bool:
        return self.low > 0 or self.high < 0


def summary(manifest: Manifest, table: pd.DataFrame, statements: Sequence[PrivacyStatement]) -> tuple[Answer, ...]:
    """Answer what a run can answer; what it cannot is left out, or said where people would expect it.

    Parameters
    ----------
    manifest : Manifest
    table : DataFrame
        The tidy table.
    statements : sequence of PrivacyStatement
    """
    if table[table.measure == leading(set(table.measure))].value.notna().sum() == 0:
        return ()
    found = [
        _use(table),
        *_costs(manifest, table),
        _frameworks(table),
        _speed(manifest, table),
        _leakage(manifest, table),
        _trust(manifest, statements),
        _explanations(manifest, table),
    ]
    return tuple(answer for answer in found if answer is not None)


def _use(table: pd.DataFrame) -> Answer | None:
    """Whether models are better than always answering the same."""
    score = leading(set(table.measure))
    rows = table[(table.measure == score) & table.value.notna() & table.low.notna()]
    constant = 0.0 if score == "r2" else max(fact_of(rows, "majority", default=0.0), default=0.0)
    if rows.empty or (score != "r2" and not constant):
        return None  # recorded before this was
    what = "the mean" if score == "r2" else best_constant(rows)[0]
    no_more = rows[rows.low <= constant]
    names = [f"{row.regime} in {row.backend} ({row.value:.3f})" for row in no_more.itertuples()]
    text = f"{len(rows) - len(names)} of {len(rows)} models are better than always answering {what} ({constant:.3f})"
    if names:
        more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
        text += f"; not told apart from it: {', '.join(names[:_MOST_TOLD])}{more}"
    return Answer(question="use", text=text, measure=score)


def _costs(manifest: Manifest, table: pd.DataFrame) -> list[Answer]:
    """What each private and each federated regime costs against the plain one."""
    training = manifest.scenario["training"]
    asked = {regime.get("name") or regime["kind"]: regime for regime in training}
    plain = _plain_title(manifest)
    epsilons = table[(table.measure == "epsilon") & table.value.notna()]
    private = [name for name in asked if (epsilons.regime == name).any()]
    federated = [name for name, fields in asked.items() if name not in private and fields.get("partition") is not None]
    if plain is None:
        text = "what privacy costs cannot be told from this run: it has no plain model to compare with"
        return [Answer(question="privacy", text=text)] if private else []
    found: list[Answer] = []
    questions: tuple[tuple[Question, Page, list[str]], ...] = (
        ("privacy", "privacy", private),
        ("federation", "federated", federated),
    )
    for question, page, regimes in questions:
        for regime in regimes[:_MOST_REGIMES]:
            changes = _changes(table, plain, regime)
            if changes:
                what = (
                    f"{regime} ({_promise(epsilons[epsilons.regime == regime])})" if question == "privacy" else regime
                )
                text = _cost_text(what, plain, changes, table, regime)
                found.append(Answer(question=question, text=text, page=page, measure="score_difference"))
    return found


def _is_plain(regime: dict[str, Any]) -> bool:
    control = regime.get("stop_at") or regime.get("random_labels") or regime.get("ablation")
    return regime["kind"] == "Plain" and not control


def _plain_title(manifest: Manifest) -> str | None:
    """Title of the regime that others are compared with."""
    training = manifest.scenario["training"]
    return next((regime.get("name") or regime["kind"] for regime in training if _is_plain(regime)), None)


def _promise(epsilons: pd.DataFrame) -> str:
    value = MEASURES["epsilon"].text(float(epsilons.value.max()))
    unit = f" per {epsilons.privacy_unit.iloc[0]}" if epsilons.privacy_unit.iloc[0] else ""
    return f"epsilon {value}{unit}, delta {epsilons.delta.max():g}"


def _changes(table: pd.DataFrame, plain: str, regime: str) -> list[_Change]:
    """Score of a regime less that of the plain one, by backend."""
    rows = table[(table.measure == "score_difference") & (table.pair == "two regimes") & table.value.notna()]
    rows = rows[rows["first"].isin([plain, regime]) & rows["second"].isin([plain, regime])]
    return [
        _change(str(backend), group, sign=1 if group["second"].iloc[0] == regime else -1)
        for backend, group in rows.groupby("backend", sort=False)
    ]


def _change(backend: str, rows: pd.DataFrame, *, sign: int) -> _Change:
    if len(rows) == 1:
        low, high = sorted((sign * rows.low.iloc[0], sign * rows.high.iloc[0]))
        return _Change(backend=backend, value=sign * rows.value.iloc[0], low=low, high=high, seeds=1)
    from scipy import stats

    value, seeds = float(sign * rows.value.mean()), len(rows)
    reach = float(stats.t.ppf(0.975, seeds - 1) * rows.value.std(ddof=1) / math.sqrt(seeds))
    return _Change(backend=backend, value=value, low=value - reach, high=value + reach, seeds=seeds)


def _cost_text(what: str, plain: str, changes: list[_Change], table: pd.DataFrame, regime: str) -> str:
    score = MEASURES[leading(set(table.measure))].title
    listed = ", ".join(f"{_interval(change, sign=-1)} in {change.backend}" for change in changes)
    told = [change for change in changes if change.is_told]
    text = f"{what} costs {score} against {plain}: {listed}"
    if not told:
        text += "; none of it is told apart from no cost"
    dead = _dead(table, regime)
    if dead:
        text += f"; {regime} answers the same for every example in {', '.join(dead)}: it has learned nothing there"
    return f"{text} ({_seeds(changes[0].seeds)})"


def _dead(table: pd.DataFrame, regime: str) -> list[str]:
    rows = table[(table.measure == leading(set(table.measure))) & (table.regime == regime) & table.value.notna()]
    same = (fact_of(rows, "classes_answered", default=2) == 1) | (fact_of(rows, "one_value", default=False) == True)  # noqa: E712
    return list(dict.fromkeys(rows[same.to_numpy(bool)].backend))


def _interval(change: _Change, *, sign: int) -> str:
    low, high = sorted((sign * change.low, sign * change.high))
    value, low, high = (round(number, 3) + 0.0 for number in (sign * change.value, low, high))  # no minus before 0
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _seeds(seeds: int) -> str:
    if seeds == 1:
        return "95 % interval over held-out examples; one seed, and another may differ"
    return f"95 % interval over {seeds} seeds"


def _frameworks(table: pd.DataFrame) -> Answer | None:
    """Whether frameworks differ in how good their models are, all pairs taken together."""
    rows = table[(table.measure == "score_difference") & (table.pair == "trained apart") & table.value.notna()]
    if rows.empty:
        return None
    score = MEASURES[leading(set(table.measure))].title
    changes = [
        (str(regime), str(first), str(second), _change(str(first), group, sign=1), group.p_value.min())
        for (regime, first, second), group in rows.groupby(["regime", "first", "second"], sort=False)
    ]
    apart = [one for one in changes if _is_apart(one[3], one[4], pairs=len(changes))]
    if not apart:
        regime, first, second, widest, _ = max(changes, key=lambda one: abs(one[3].value))
        text = (
            f"no framework is told apart from another by {score}, over {len(changes)} pairs: the largest difference is "
            f"{abs(widest.value):.3f} ({regime}, {first} and {second})"
        )
    else:
        listed = ", ".join(
            f"{second if change.value > 0 else first} is {abs(change.value):.3f} above "
            f"{first if change.value > 0 else second} in {regime}"
            for regime, first, second, change, _ in apart[:_MOST_REGIMES]
        )
        more = f" and {len(apart) - _MOST_REGIMES} more" if len(apart) > _MOST_REGIMES else ""
        text = f"by {score} {listed}{more}, of {len(changes)} pairs"
    return Answer(question="framework", text=f"{text} ({_seeds(changes[0][3].seeds)})", measure="score_difference")


def _is_apart(change: _Change, p_value: float, *, pairs: int) -> bool:
    """Whether a pair differs when all pairs are looked at: Bonferroni where there is a test, else its interval."""
    if change.seeds == 1 and p_value == p_value:
        return p_value * pairs < _LEVEL
    return change.is_told


def _speed(manifest: Manifest, table: pd.DataFrame) -> Answer | None:
    """The private step, else the first regime's, in each framework."""
    rows = table[(table.measure == "step_time_median") & table.value.notna()]
    if rows.empty:
        return None
    private = table[(table.measure == "epsilon") & table.value.notna()].regime
    regimes = [regime for regime in dict.fromkeys(rows.regime) if regime in set(private)] or list(rows.regime)
    rows = rows[rows.regime == regimes[0]]
    times = rows.groupby("backend", sort=False).value.median()
    listed = ", ".join(f"{1e3 * value:.3g} ms in {backend}" for backend, value in times.items())
    text = f"a step of {regimes[0]} takes {listed}, after the first"
    if load_words(table):
        text += "; the machine was busy or steps vary, so do not compare them"
    return Answer(question="speed", text=text, page="speed", measure="step_time_median")


def _leakage(manifest: Manifest, table: pd.DataFrame) -> Answer | None:
    """What attacks on membership showed, by regime; that none was tried is said too."""
    rows = table[(table.measure == "membership_auc_at_least") & table.value.notna()]
    refuted = table[(table.measure == "audited_epsilon") & (table.verdict == "violated")]
    refuted = refuted[(fact_of(refuted, "fault", default="") == "").to_numpy(bool)]
    parts = []
    if len(refuted) and manifest.format >= TYPED_ROWS:  # older tables do not tell planted faults apart
        parts.append(f"an audit refutes the claimed epsilon of {', '.join(dict.fromkeys(refuted.regime))}")
    if rows.empty and not parts:
        text = "no attack was tried, so nothing is shown of what models leak"
        return Answer(question="leakage", text=text, page="attacks")
    leaks, clean = [], []
    for regime, group in rows.groupby("regime", sort=False):
        best = group.sort_values("value").iloc[-1]
        if best.value > 0.5:
            leaks.append(f"{regime} (AUC at least {best.value:.3f} by {best.method}, {best.backend})")
        else:
            clean.append(str(regime))
    if leaks:
        parts.append(f"attacks tell members of {', '.join(leaks)}")
    if clean:
        parts.append(f"no attack that was tried tells members of {', '.join(clean)}")
    return Answer(
        question="leakage",
        text="; ".join(parts),
        page="attacks",
        measure="membership_auc_at_least",
    )


def _trust(manifest: Manifest, statements: Sequence[PrivacyStatement]) -> Answer | None:
    """What the claims rest on, and how jobs ended."""
    missing = sum(record.status not in ("ok", "pending", "running") for record in manifest.jobs)
    parts = [f"{missing} of {len(manifest.jobs)} jobs did not end well"] if missing else []
    if statements:
        behind = [one.model for one in statements if one.understated is not None]
        if behind:
            parts.append(f"the record of {', '.join(behind)} says less than its ledger")
        count = {
            status: list(dict.fromkeys(a.name for one in statements for a in one.assumptions if a.status == status))
            for status in ("not met", "not checked")
        }
        parts.append(
            f"epsilon follows from the ledger, and rests on what is not met ({len(count['not met'])}: "
            f"{'; '.join(count['not met'])}) and what is not checked ({len(count['not checked'])})"
        )
    if not parts:
        return None
    return Answer(question="trust", text="; ".join(parts), page="privacy" if statements else "record")


def _explanations(manifest: Manifest, table: pd.DataFrame) -> Answer | None:
    """Whether libraries agree on the same weights, and how far privacy changes what is explained."""
    rows = table[(table.measure == "attribution_agreement_spearman") & table.value.notna()]
    same = rows[rows.pair == "same weights"]
    parts = []
    if len(same):
        worst = same.sort_values("value").iloc[0]
        agree = int((same.value > 0.99).sum())
        parts.append(
            f"on the same weights {agree} of {len(same)} comparisons of two libraries have a rank correlation above "
            f"0.99; the least is {worst.value:.2f} ({worst['first']} and {worst['second']}, {worst.method})"
        )
    plain = _plain_title(manifest) or ""
    private = set(table[(table.measure == "epsilon") & table.value.notna()].regime)
    rows = rows[rows.pair == "two regimes"]
    pairs = zip(rows["first"], rows["second"], strict=True)
    regimes = rows[[plain in pair and bool(private & set(pair)) for pair in pairs]]
    if len(regimes):
        least = regimes.sort_values("value").iloc[0]
        parts.append(
            f"between plain and private models it is {least.value:.2f} at the least ({least['first']} and "
            f"{least['second']} in {least.backend}, {least.method})"
        )
    if not parts:
        return None
    return Answer(
        question="explanations",
        text="; ".join(parts),
        page="explanations",
        measure="attribution_agreement_spearman",
    )


def print_summary(out: Console, answers: Sequence[Answer]) -> None:
    """Print what a run answers."""
    for question, group in worded(answers):
        out.print(question, style="bold")
        for answer in group:
            out.print(f"  {answer.sentence}", soft_wrap=True, markup=False, highlight=False)
    if answers:
        out.print()


def worded(answers: Sequence[Answer]) -> list[tuple[str, list[Answer]]]:
    """Group answers by their question, under its words."""
    return [(_WORDS[question], list(group)) for question, group in itertools.groupby(answers, lambda one: one.question)]


_WORDS: dict[Question, str] = {
    "use": "Are the models of use?",
    "privacy": "What does privacy cost?",
    "federation": "What does federation cost?",
    "framework": "Which framework?",
    "speed": "How fast?",
    "leakage": "What does an attacker get?",
    "trust": "Can the claims be trusted?",
    "explanations": "Do the explanations hold?",
}
