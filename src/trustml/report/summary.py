"""What a run answers, in a few sentences: what privacy costs, which framework, what can be trusted.

Every number is that of a row, and every answer names the measure behind it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trustml.compare.table import fact_of
from trustml.measures.measure import MEASURES, leading, of_family
from trustml.measures.reconstructed import FOUND, PROPERTY
from trustml.privacy.statement import PrivacyStatement, at_least, at_most
from trustml.record.schema import TYPED_ROWS, Manifest, regimes_of
from trustml.report.score_changes import (
    MOST_TOLD,
    Answer,
    Question,
    cost_answers,
    counted,
    framework_answer,
    is_federated,
    is_plain,
    kept,
    listed,
)
from trustml.report.speed.tables import load_words
from trustml.report.sweeps import beside_the_best, sweep_answers, tuned_answers
from trustml.report.tables import best_constant

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console


def summary(manifest: Manifest, table: pd.DataFrame, statements: Sequence[PrivacyStatement]) -> tuple[Answer, ...]:
    """Answer what a run can answer; what it cannot is said where people would expect it.

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
        _before(manifest, table),
        *tuned_answers(manifest, table),
        *cost_answers(manifest, table, beside=beside_the_best(manifest, table)),
        *sweep_answers(manifest, table),
        *_groups(table),
        framework_answer(manifest, table),
        _speed(manifest, table),
        _leakage(manifest, table),
        _trust(manifest, table, statements),
        _explanations(manifest, table),
    ]
    return tuple(answer for answer in found if answer is not None)


def _before(manifest: Manifest, table: pd.DataFrame) -> Answer | None:
    """What an old table cannot answer, as it is of before that was measured."""
    score = leading(set(table.measure))
    rows = table[(table.measure == score) & table.value.notna()]
    missing: dict[Question, str] = {}
    if score == "accuracy" and not fact_of(rows, "majority", default=0.0).any():
        missing["use"] = "whether models are better than always answering the same"
    plain = any(is_plain(fields) for fields in regimes_of(manifest).values())
    beside = plain and rows.groupby(["backend", "seed"]).regime.nunique().max() > 1
    if beside and not (table.measure == "score_difference").any():
        missing["privacy"] = "what privacy and federation cost"
    if not missing:
        return None
    what = " and ".join(missing.values())
    text = f"this table was made before trustml measured {what}, so nothing is said of that"
    return Answer(question=next(iter(missing)), text=text, measure=score)


def _use(table: pd.DataFrame) -> Answer | None:
    """Whether models are better than always answering the same."""
    score = leading(set(table.measure))
    asked = table[table.measure == score]
    rows = asked[asked.value.notna() & asked.low.notna()]
    constant = 0.0 if score == "r2" else max(fact_of(rows, "majority", default=0.0), default=0.0)
    if rows.empty or (score != "r2" and not constant):
        return None  # recorded before this was
    what = "the mean" if score == "r2" else best_constant(rows)[0]
    better, worse = rows[rows.low > constant], rows[rows.high < constant]
    same = rows[(rows.low <= constant) & (rows.high >= constant)]
    verb = "is" if len(better) == 1 else "are"
    parts = [f"{len(better)} of {len(asked)} models {verb} better than always answering {what} ({constant:.3f})"]
    for words, group in (("not told apart from it", same), ("worse than it", worse)):
        if len(group):
            parts.append(
                f"{words}: {listed([f'{r.regime} in {r.backend} ({r.value:.3f})' for r in group.itertuples()])}"
            )
    if len(asked) > len(rows):
        parts.append(f"{counted(len(asked) - len(rows), 'has', 'have')} no score with an interval")
    return Answer(question="use", text="; ".join(parts), measure=score)


def _groups(table: pd.DataFrame) -> list[Answer]:
    """What regimes do to the gap between groups; nothing where no groups were asked for."""
    if not (table.measure == "slice_gap_change").any():
        return []
    from trustml.report.accuracy.frames import gap_lines

    return [
        Answer(question="groups", text=line, page="models", measure="slice_gap_change")
        for line in gap_lines(table)[:MOST_TOLD]
    ]


def _speed(manifest: Manifest, table: pd.DataFrame) -> Answer | None:
    """The private step, else the first regime's, in each framework."""
    rows = table[(table.measure == "step_time_median") & table.value.notna()]
    if rows.empty:
        return None
    private = set(table[(table.measure == "epsilon") & table.value.notna()].regime)
    regime = next((name for name in dict.fromkeys(rows.regime) if name in private), rows.regime.iloc[0])
    rows = rows[rows.regime == regime]
    times = rows.groupby("backend", sort=False).value.median()
    each = ", ".join(f"{_milliseconds(value)} ms in {backend}" for backend, value in times.items())
    asked = regimes_of(manifest)
    unit = "round" if is_federated(asked.get(regime, {})) else "step"
    text = f"a {unit} of {regime} takes {each}, after the first"
    if load_words(table):
        text += "; the machine was busy, nodes differ or times vary, so do not compare them"
    return Answer(question="speed", text=text, page="speed", measure="step_time_median")


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.0f}" if seconds >= 1 else f"{1e3 * seconds:.3g}"


def _leakage(manifest: Manifest, table: pd.DataFrame) -> Answer:
    """What attacks and audits of epsilon showed, by regime; that none was tried is said too."""
    parts = [*_audited(manifest, table), *_membership(table), *_remembered(table)]
    text = "; ".join(parts) or "no attack was tried, so nothing is shown of what models leak"
    return Answer(question="leakage", text=text, page="attacks", measure="membership_auc_at_least")


def _audited(manifest: Manifest, table: pd.DataFrame) -> list[str]:
    rows = table[(table.measure == "audited_epsilon") & table.value.notna()]
    if manifest.format >= TYPED_ROWS:  # older tables do not tell planted faults apart
        rows = kept(rows, (not fault for fault in fact_of(rows, "fault", default="")))
    elif len(rows):
        return ["the page on attacks has audits of epsilon"]
    broken = [str(name) for name in dict.fromkeys(rows[rows.verdict == "violated"].regime)]
    if broken:
        return [f"an audit refutes the claimed epsilon of {', '.join(broken)}"]
    if rows.empty:
        return []
    most = f"{at_least(rows.value.max(), 2)} at the most"
    if len(rows) == 1:
        return [f"an audit of epsilon refutes no claim; it shows {most}"]
    return [f"{len(rows)} audits of epsilon refute no claim; they show {most}"]


_LEAK = "more of what {} trained on than of what they did not"
_LEAKS = {FOUND: "from updates of {}", PROPERTY: "how common it was among rows is told by {}"}


def _remembered(table: pd.DataFrame) -> list[str]:
    """What comes out of models beyond membership: of which regimes something does, and of which nothing is shown."""
    rows = table[table.measure.isin(list(of_family("remembered"))) & table.value.notna()]
    parts = []
    for measure in dict.fromkeys(rows.measure):
        own = rows[(rows.measure == measure) & (rows.p_value.notna())]
        own = kept(own, (not trusted for trusted in fact_of(own, "trusted", default=False)))
        verdicts = (own.verdict == "above guessing").groupby(own.regime, sort=False).any()
        leaking, rest = ([str(name) for name, one in verdicts.items() if one == leaks] for leaks in (True, False))
        head = MEASURES[measure].title
        if leaking:
            parts.append(f"{head}: {_LEAKS.get(measure, _LEAK).format(listed(leaking))}")
        if rest:
            parts.append(f"{head}: nothing is shown of {listed(rest)}")
    return parts


def _membership(table: pd.DataFrame) -> list[str]:
    tried = table[table.measure.isin(list(of_family("membership"))) & (table.measure != "training_accuracy")]
    if tried.empty:
        return []
    rows = tried[(tried.measure == "membership_auc_at_least") & tried.value.notna()]
    trained = table[(table.measure == leading(set(table.measure))) & table.value.notna()]
    leaks, clean, open_ = [], [], []
    for regime in dict.fromkeys(trained.regime):
        group, models = rows[rows.regime == regime], trained[trained.regime == regime]
        if set(models.job) - set(group.job):
            open_.append(str(regime))
        best = group.sort_values("value").iloc[-1] if len(group) else None
        if best is not None and best.value > 0.5:
            leaks.append(f"{regime} (AUC at least {at_least(best.value, 3)} by {best.method}, {best.backend})")
        elif best is not None:
            clean.append(str(regime))
    parts = [f"attacks tell members of {listed(leaks)}"] if leaks else []
    if clean:
        parts.append(f"no attack that was tried tells members of {listed(clean)}, which is no proof that none can")
    if open_:
        parts.append(f"not all models were attacked with a result: {listed(open_)}")
    return parts


def _trust(manifest: Manifest, table: pd.DataFrame, statements: Sequence[PrivacyStatement]) -> Answer | None:
    """What the claims rest on, and how jobs ended."""
    parts = _not_done(manifest)
    behind = [one.model for one in statements if one.understated is not None]
    if behind:
        parts.append(f"the record of {', '.join(behind)} says less than its ledger")
    together = table[(table.measure == "epsilon_all_releases") & table.value.notna()]
    counts = fact_of(together, "private_models", default=0)
    for count, value, unit in zip(counts, together.value, together.privacy_unit, strict=True):
        if count > 1 and math.isfinite(value):
            each = f" per {unit}" if unit else ""
            parts.append(f"{count} private models together have epsilon {at_most(float(value), 2)}{each}")
    if statements:
        parts.append(f"epsilon follows from the ledger, and {_rests_on(statements)}")
    if not parts:
        return None
    return Answer(question="trust", text="; ".join(parts), page="privacy" if statements else "record")


def _not_done(manifest: Manifest) -> list[str]:
    """How many jobs did not end well, and how many were never begun; while a run goes on, those are still to come."""
    states = Counter(record.status for record in manifest.jobs)
    ill = len(manifest.jobs) - states["ok"] - states["pending"]
    waiting = states["pending"]
    if manifest.status == "running":
        ill, waiting = ill - states["running"], 0
    counts = {"did not end well": ill, "were not begun": waiting}
    return [f"{count} of {len(manifest.jobs)} jobs {what}" for what, count in counts.items() if count]


def _rests_on(statements: Sequence[PrivacyStatement]) -> str:
    """How the assumptions of some statements stand; what does not hold is named."""
    names = {
        status: list(dict.fromkeys(a.name for one in statements for a in one.assumptions if a.status == status))
        for status in ("not met", "not checked")
    }
    told = []
    for status, found in names.items():
        which = f" ({'; '.join(found)})" if status == "not met" else ""
        if found:
            told.append(f"{len(found)} {'is' if len(found) == 1 else 'are'} {status}{which}")
    return f"of the assumptions it rests on {' and '.join(told)}" if told else "every assumption it rests on is met"


def _explanations(manifest: Manifest, table: pd.DataFrame) -> Answer | None:
    """Whether libraries agree on the same weights as they come, and how far privacy changes what is explained."""
    rows = table[(table.measure == "attribution_agreement_spearman") & table.value.notna()]
    native = [
        one == other == "native"
        for one, other in zip(
            fact_of(rows, "first_variant", default=""), fact_of(rows, "second_variant", default=""), strict=True
        )
    ]
    same = kept(rows, (one and pair == "same weights" for one, pair in zip(native, rows.pair, strict=True)))
    parts = []
    if len(same):
        worst, agree = same.sort_values("value").iloc[0], int((same.value > 0.99).sum())
        have = "has" if agree == 1 else "have"
        parts.append(
            f"on the same weights {agree} of {len(same)} comparisons of two libraries, as they come, {have} a rank "
            f"correlation above 0.99; the least is {worst.value:.2f} ({worst['first']} and {worst['second']}, "
            f"{worst.method})"
        )
    asked = regimes_of(manifest)
    plain = next((name for name, fields in asked.items() if is_plain(fields)), "")
    private = set(table[(table.measure == "epsilon") & table.value.notna()].regime)
    rows = rows[rows.pair == "two regimes"]
    pairs = zip(rows["first"], rows["second"], strict=True)
    regimes = kept(rows, (plain in pair and private & set(pair) for pair in pairs))
    if len(regimes):
        least = regimes.sort_values("value").iloc[0]
        what = "it" if parts else "the rank correlation of explanations"  # of the same weights nothing was said
        parts.append(
            f"between plain and private models {what} is {least.value:.2f} at the least ({least['first']} and "
            f"{least['second']} in {least.backend}, {least.method})"
        )
    if not parts:
        return None
    measure = "attribution_agreement_spearman"
    return Answer(question="explanations", text="; ".join(parts), page="explanations", measure=measure)


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
    "groups": "Are groups served alike?",
    "sweep": "Which setting?",
    "framework": "Which framework?",
    "speed": "How fast?",
    "leakage": "What does an attacker get?",
    "trust": "Can the claims be trusted?",
    "explanations": "Do the explanations hold?",
}
