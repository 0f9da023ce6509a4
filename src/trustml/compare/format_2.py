"""Reads tables of format 2, whose rows kept their facts in the words of their notes.

Those words were made by one program, which has ended, in the few forms below; nothing else may read a note. What has
none of these forms stays empty: nothing is guessed. Figures are as exact as the record has them: a p-value stands in a
row of its own, the confidence of an audit in its job, and a gain over random numbers with the three digits of its note.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from trustml.errors import RecordError
from trustml.measures.row import About, Facts, IntervalKind, Row, Verdict
from trustml.plan.job import CanaryJob, GameJob
from trustml.privacy.ledger import PrivacyUnit
from trustml.privacy.statement import PrivacyStatement
from trustml.record.store import RunDirectory

if TYPE_CHECKING:
    import pandas as pd

_NUMBER = r"[-+]?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:e[-+]?[0-9]{1,2})?"
_COUNT = r"[0-9]{1,9}"
_DELTA = rf"delta=(?P<delta>{_NUMBER})"
_RELATION = "relation: (?P<relation>add or remove one|zero out one|replace one)"
_TERMS = rf"{_DELTA}; unit: (?P<unit>example|user); {_RELATION}; sampling: [^;]+; accountant: .+"
_COMPARED = rf"(?:a lower bound \(>=\); )?{_DELTA}; {_RELATION}; [^;]+(?:; (?P<note>.*))?"
_ANY_RUNS = "(?:one run|many runs)"
_AUDITS = {
    "claimed_epsilon": "of (?:the training with canaries, from its ledger"
    rf"|one private step with noise multiplier {_NUMBER} on a batch that all are in); {_DELTA}; "
    rf"(?:it has no ledger|{_RELATION}; (?:accountant: [^;]+|Gaussian mechanism))",
    "audited_epsilon": rf"a lower bound \(>=\) at (?P<level>{_COUNT})% confidence; {_DELTA}; {_ANY_RUNS}: [^;]+; .*",
    "ceiling_all_correct": rf"{_COUNT}% confidence; {_DELTA}; {_ANY_RUNS}",
    "attainable_at_claim": rf"median and 90 % range of (?P<repetitions>{_COUNT}) simulated audits at the claim; "
    rf"{_COUNT}% confidence; {_DELTA}; {_ANY_RUNS}",
}
_AGREES: dict[str, Verdict] = {
    "fits what is proved of epsilon from below and from above": "fits",
    "WARNING: outside of what is proved of epsilon from below and from above: one of the two is wrong": "does not fit",
}
_RANGE = rf"(?P<mean>{_NUMBER}) \[(?P<low>{_NUMBER}), (?P<high>{_NUMBER})\]"
_AGAINST_RANDOM: dict[Verdict, str] = {
    "better than random": rf"better than random by {_RANGE}",
    "no better than random": rf"no better than random \({_RANGE}\): says nothing",
    "worse than random": rf"worse than random by {_RANGE}",
}
_FAILS = rf"fails the sanity check: similarity above (?P<limit>{_NUMBER}) with random weights"
_BOOTSTRAP = "bootstrap 95 % over examples"
_CAVEATS = (
    "tf-explain returns the mean gradient along the path: the factor (input - baseline) of the definition is missing, "
    "and both ends of the path weigh in full",
    "what is left is the quadrature: tf-explain weighs all points alike, both ends included",
)
_FEW_SEEDS = rf"descriptive: (?P<seeds>{_COUNT}) seeds?, a claim needs (?P<needed>{_COUNT})"
_SHARES: IntervalKind = "clopper-pearson"
_OVER_MODELS: IntervalKind = "jackknife over models"
_MEMBERSHIP: dict[str, IntervalKind] = {
    "Clopper-Pearson at the effective number of pairs of DeLong's variance": "effective pairs",
    "threshold chosen on one half of the examples, applied to the other; Clopper-Pearson of both shares": _SHARES,
    "Clopper-Pearson over the members, at the threshold chosen on these non-members": _SHARES,
    rf"t-interval of {_COUNT} degrees of freedom, jackknife over targets and over groups of examples": _OVER_MODELS,
    "no spread at all: Clopper-Pearson over the members of one target": _SHARES,
}
_BOUNDED = (
    rf"(?:.*; )?one-sided, (?P<each>{_NUMBER})% confidence, so that all (?P<attacks>{_COUNT}) attacks together have "
    rf"(?P<together>{_COUNT})%"
)
_INTERVALS: dict[str, IntervalKind] = {
    "step_time_median": "quartiles",
    "round_ratio": "quartiles",
    "attribution_completeness_error": "5th to 95th percentile",
    "explain_passes": "5th to 95th percentile",
}
_WORDS = {"quartiles": "quartiles", "5th to 95th percentile": "interval: 5th and 95th percentile over examples"}


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What other rows, and jobs, say of a row.

    Attributes
    ----------
    run : RunDirectory
    deltas : set of float
    terms : dict of str to About
        Delta and unit of privacy of each model, by its job.
    values : dict
        Value of each row, by where it stands.
    regimes : frozenset of str
    """

    run: RunDirectory
    deltas: set[float]
    terms: dict[str, About]
    values: dict[tuple[str, ...], float | None]
    regimes: frozenset[str]


def with_columns_of_notes(
    run: RunDirectory, table: pd.DataFrame, *, statements: Sequence[PrivacyStatement]
) -> pd.DataFrame:
    """Fill the columns that a table of format 2 did not have, from the notes of its rows.

    Parameters
    ----------
    run : RunDirectory
    table : DataFrame
        With those columns, empty.
    statements : sequence of PrivacyStatement
        Of the run: they have the deltas whole, which the notes give to six digits.
    """
    from trustml.compare.table import rows_of, table_of

    rows = rows_of(table)
    deltas = {one.delta for one in statements}
    known = _Known(
        run=run,
        deltas=deltas,
        terms={row.job: _of_ledger(row, deltas) for row in rows if row.measure == "epsilon"},
        values={_place(row): row.value for row in rows},
        regimes=frozenset(row.regime for row in rows),
    )
    typed = table_of([msgspec.structs.replace(row, **msgspec.structs.asdict(_about(row, known))) for row in rows])
    return table.assign(**{name: typed[name].to_numpy() for name in About.__struct_fields__})


def _about(row: Row, known: _Known) -> About:
    """Give what the note of a row says, as far as it has a known form."""
    if row.measure in ("epsilon", "epsilon_all_releases"):
        found = _of_ledger(row, known.deltas)
    elif row.subject == "ledger":
        found = _of_comparison(row, known)
    elif row.kind in ("canary", "game"):
        found = _of_audit(row, known)
    elif row.measure.startswith("membership_"):
        found = _of_membership(row)
    elif row.measure.startswith(("attribution_agreement_", "attribution_max_", "logit_")):
        found = _of_pair(row, known.regimes)
    elif row.seed == -1 and row.measure.startswith(("explanation_", "change_of_")):
        found = _over_seeds(row, known)
    elif row.kind == "explain":
        found = _of_explanation(row)
    else:
        found = _of_model(row)
    return found


def _place(row: Row) -> tuple[str, ...]:
    return row.job, row.backend, row.regime, row.subject, row.method, row.measure


def _form(pattern: str, text: str) -> dict[str, str] | None:
    """Give the parts of a text of this form; None where it has another."""
    found = re.fullmatch(pattern, text, re.DOTALL)
    return None if found is None else {name: part for name, part in found.groupdict().items() if part is not None}


def _absent(reason: str) -> About:
    return About(verdict="absent", facts={"reason": reason})


def _whole_reason(row: Row) -> About:
    """Say why there is no value, where the note says nothing else."""
    found = _form(r"absent: (?P<reason>.+)", row.note) if row.value is None else None
    return About() if found is None else _absent(found["reason"])


def _of_ledger(row: Row, deltas: set[float]) -> About:
    """An epsilon: of one model, or of all releases."""
    count = rf"{_COUNT} private models?; " if row.measure == "epsilon_all_releases" else ""
    found = _form(count + _TERMS, row.note) if row.value is not None else None
    if found is None:
        return _whole_reason(row)
    unit = msgspec.convert(found["unit"], PrivacyUnit)
    return About(privacy_unit=unit, **_terms(found, deltas))


def _terms(found: dict[str, str], deltas: set[float]) -> dict[str, Any]:
    """Give delta, the one of the run that was written like that if it is one alone, and the neighbouring relation."""
    same = [one for one in deltas if f"{one:g}" == found["delta"]]
    return {
        "delta": same[0] if len(same) == 1 else float(found["delta"]),
        "relation": found.get("relation", ""),
    }


def _of_comparison(row: Row, known: _Known) -> About:
    """Another epsilon of a model, beside the one that holds: of its unit, at its delta."""
    model = known.terms.get(row.job, About())
    if row.value is None:
        absent = _whole_reason(row)
        return msgspec.structs.replace(absent, delta=model.delta, privacy_unit=model.privacy_unit)
    found = _form(_COMPARED, row.note)
    if found is None:
        return About()
    verdict = _AGREES.get(found.get("note", ""), "")
    return About(verdict=verdict, privacy_unit=model.privacy_unit, **_terms(found, known.deltas))


def _of_audit(row: Row, known: _Known) -> About:
    """What canaries or a game showed, and what was claimed; of which unit, the notes do not say."""
    if row.value is None:
        return _whole_reason(row)
    found = _form(_AUDITS.get(row.measure, "-"), row.note)
    if found is None:
        return About()
    about = About(**_terms(found, known.deltas))
    if row.measure == "attainable_at_claim":
        facts: Facts = {"repetitions": int(found["repetitions"])}
        return msgspec.structs.replace(about, confidence=0.9, interval="simulated audits", facts=facts)
    if row.measure != "audited_epsilon":
        return about
    claim = known.values.get((*_place(row)[:-1], "claimed_epsilon"))
    verdict: Verdict = "" if claim is None else "violated" if row.value > claim else "not refuted"
    confidence = _audit_confidence(row, known.run, percent=found["level"])
    return msgspec.structs.replace(about, verdict=verdict, confidence=confidence)


def _audit_confidence(row: Row, run: RunDirectory, *, percent: str) -> float | None:
    """Give the confidence of an audit as its job has it; the note rounded it."""
    try:
        job = run.job(row.job)
    except (RecordError, OSError):
        return None
    of = job.canaries if isinstance(job, CanaryJob) else job.game if isinstance(job, GameJob) else None
    return of.confidence if of is not None and f"{of.confidence:.0%}" == f"{percent}%" else None


def _of_membership(row: Row) -> About:
    """How well members were told from others."""
    columns: dict[str, Any] = {"pair": "members and held-out", "first": "members", "second": "held-out"}
    if row.value is None and row.note.startswith("absent: "):
        return _whole_reason(row)
    if row.value is None:
        found = _form(rf"(?:{_COUNT} models; )?(?P<reason>.+)", row.note)
        return About() if found is None else msgspec.structs.replace(_absent(found["reason"]), **columns)
    if row.measure == "membership_auc_at_least":
        found = _form(_BOUNDED, row.note)
        if found is None:
            return About()
        verdict: Verdict = "above guessing" if row.value > 0.5 else "not above guessing"
        return About(verdict=verdict, confidence=_each(found), **columns)
    for how, interval in _MEMBERSHIP.items():
        found = _form(rf"(?:.*; )?(?P<level>{_COUNT})%: {how}", row.note)
        if found is not None:
            return About(interval=interval, confidence=int(found["level"]) / 100, **columns)
        if _form(rf"{_COUNT} models; {how}", row.note) is not None:
            return About(interval=interval, confidence=0.95, **columns)  # of models taken together, always
    return About()


def _each(found: dict[str, str]) -> float | None:
    """Give the confidence of one of several bounds that hold together, if the note's digits agree with it."""
    attacks, together = int(found["attacks"]), int(found["together"]) / 100
    each = 1 - (1 - together) / attacks if attacks else math.nan
    return each if f"{each:.3%}" == f"{found['each']}%" else None


def _of_pair(row: Row, regimes: frozenset[str]) -> About:
    """Two explanations, or the logits of two libraries."""
    parts = row.note.split("; ")
    facts: Facts = {}
    if row.value is None:
        first = parts.pop(0)
        if first not in ("absent: not defined for any example", "absent: all attributions are zero"):
            return About()
        facts["reason"] = first.removeprefix("absent: ")
    few = _form(_FEW_SEEDS, parts[0]) if parts else None
    if few is not None:
        parts.pop(0)
        facts |= {"seeds": int(few["seeds"]), "seeds_for_a_claim": int(few["needed"])}
    if not parts:
        return About()
    found = _of_weights(row, parts[0]) if parts[0].startswith("same weights") else _of_models(row, parts[0], regimes)
    if not found.pair:
        return About()
    facts |= found.facts | _caveat(parts[1:])
    found = msgspec.structs.replace(found, facts=facts)
    if row.value is None:
        return msgspec.structs.replace(found, verdict="absent")
    if parts[-1] == _BOOTSTRAP:
        return msgspec.structs.replace(found, interval="bootstrap over examples", confidence=0.95)
    return found


def _of_weights(row: Row, words: str) -> About:
    """Two libraries, of one model."""
    sides = row.subject.split(" ~ ")
    if len(sides) != 2:
        return About()
    if row.measure.startswith("logit_"):
        same = words == "same weights, same inputs"
        return About(pair="same weights", first=sides[0], second=sides[1]) if same else About()
    if words != "same weights":
        return About()
    facts: Facts = {"first_variant": _variant(sides[0]), "second_variant": _variant(sides[1])}
    return About(pair="same weights", first=sides[0], second=sides[1], facts=facts)


def _variant(name: str) -> str:
    if re.fullmatch(r"common \([^()]+\)", name):
        return "common"
    return "completed" if name.endswith(" (completed)") else "native"


def _of_models(row: Row, words: str, regimes: frozenset[str]) -> About:
    """Two models that differ in one thing: the regime, the library or the seed."""
    if words == "two regimes":
        start = f"{row.regime} ~ "
        rest = row.subject.removeprefix(start)
        others = [one for one in regimes if rest.startswith(f"{one} (") and rest.endswith(")")]
        if not row.subject.startswith(start) or len(others) != 1:
            return About()
        name = rest[len(others[0]) + 2 : -1]
        return About(pair="two regimes", first=row.regime, second=others[0], facts={"explained_by": name})
    if words == "trained apart, same start":
        found = _form(r"(?P<first>[^~() ]+) ~ (?P<second>[^~() ]+) \((?P<name>common)\)", row.subject)
        pair: Any = "trained apart"
    else:
        found = _form(r"(?P<first>seed [0-9]+) ~ (?P<second>seed [0-9]+) \((?P<name>.+)\)", row.subject)
        pair = "two seeds" if words == "noise floor: same regime, other seed" else ""
    if found is None or not pair:
        return About()
    return About(pair=pair, first=found["first"], second=found["second"], facts={"explained_by": found["name"]})


def _over_seeds(row: Row, known: _Known) -> About:
    """What a regime does, over seeds; the p-value has a row of its own."""
    end = f" ~ {row.regime}"
    if not row.subject.endswith(end):
        return About()
    sides: dict[str, Any] = {"first": row.subject.removesuffix(end), "second": row.regime}
    about = About(pair="two regimes over seeds", **sides)
    if row.note == "permutation within seeds":
        return about
    parts = row.note.split("; ")
    if parts[-1] != "jackknife 95 % over seeds":
        return About()
    p_value = known.values.get((*_place(row)[:-1], f"{row.measure}_p"))
    tested = p_value is not None and parts[0] == f"permutation p = {p_value:.3g}"
    about = msgspec.structs.replace(about, interval="jackknife over seeds", confidence=0.95)
    return msgspec.structs.replace(about, p_value=p_value) if tested else about


def _of_explanation(row: Row) -> About:
    """What an explanation is worth."""
    parts = row.note.split("; ")
    if row.value is None:
        undefined = parts[0] == "absent: not defined for any example"
        return _absent("not defined for any example") if undefined else _whole_reason(row)
    found = _against_random(parts[0])
    if parts[-1] == _BOOTSTRAP:
        return msgspec.structs.replace(found, interval="bootstrap over examples", confidence=0.95)
    interval = _interval(row, parts)
    return About(interval=interval, facts=_caveat(parts) if interval else {})


def _caveat(parts: list[str]) -> Facts:
    known = [one for one in parts if one in _CAVEATS]
    return {"caveat": known[0]} if known else {}


def _against_random(words: str) -> About:
    """Give what an explanation is worth against random numbers, with the figures that say so."""
    if words == "the random control":
        return About(verdict="random control")
    if (found := _form(_FAILS, words)) is not None:
        return About(verdict="fails the sanity check", facts={"limit": float(found["limit"])})
    for verdict, form in _AGAINST_RANDOM.items():
        if (found := _form(form, words)) is not None:
            name = "loss" if verdict == "worse than random" else "gain"
            ends = {f"{name}_{end}": float(found[end]) for end in ("low", "high")}
            return About(verdict=verdict, facts={name: float(found["mean"]), **ends})
    return About()


def _of_model(row: Row) -> About:
    """Accuracy, time, memory and rounds of a model."""
    if row.value is None and row.measure == "rounds_to_target":
        found = _form(rf"target accuracy {_NUMBER}, looked at every {_COUNT} round\(s\); absent: (?P<why>.+)", row.note)
        return About() if found is None else _absent(found["why"])
    if row.value is None:
        return _whole_reason(row)
    if row.measure == "accuracy" and row.note == "Wilson 95 %":
        return About(interval="wilson", confidence=0.95)
    return About(interval=_interval(row, row.note.split("; ")))


def _interval(row: Row, parts: list[str]) -> IntervalKind:
    """Give what an interval of a spread is; each measure has one kind."""
    interval = _INTERVALS.get(row.measure, "")
    return interval if interval and _WORDS[interval] in parts else ""
