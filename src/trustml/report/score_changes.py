"""How far models are from each other in what they score: what privacy costs, and federation, and each framework."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from trustml.compare.score_changes import Change, change_of, framework_pairs, turned
from trustml.measures.between_models import SEEDS_FOR_A_CLAIM
from trustml.measures.measure import MEASURES, leading
from trustml.privacy.statement import at_most
from trustml.record.schema import Manifest, regimes_of
from trustml.report.tables import constant_models

if TYPE_CHECKING:
    import pandas as pd

Question: TypeAlias = Literal[
    "use", "privacy", "sweep", "federation", "groups", "framework", "speed", "leakage", "trust", "explanations"
]
Page: TypeAlias = Literal["", "models", "privacy", "attacks", "federated", "explanations", "speed", "record"]
Settings: TypeAlias = Mapping[str, Any]
MOST_TOLD = 4


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One sentence, and where its proof is.

    Attributes
    ----------
    question : Question
    text : str
        Without a full stop.
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
        """The text with a capital and a full stop."""
        return f"{self.text[:1].upper()}{self.text[1:]}."


def listed(names: Sequence[str], most: int = MOST_TOLD) -> str:
    """List names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def counted(number: int, one: str, several: str) -> str:
    """Write a number before the word that goes with it."""
    return f"{number:,} {one if number == 1 else several}"


def kept(rows: pd.DataFrame, flags: Iterable[object]) -> pd.DataFrame:
    """Give the rows whose flag holds."""
    import numpy as np

    return rows[np.array([bool(flag) for flag in flags], bool)]


def _worded(change: Change) -> str:
    """Write the value with its sign, and the interval where there is one."""
    if not math.isfinite(change.low) or not math.isfinite(change.high):
        return f"{_signed(change.value)} (no interval)"
    return f"{_signed(change.value)} [{_signed(change.low)}, {_signed(change.high)}]"


def _signed(value: float) -> str:
    rounded = round(value, 3)
    return f"{rounded:+.3f}" if rounded else "0.000"


def cost_answers(manifest: Manifest, table: pd.DataFrame, *, beside: Collection[str] = ()) -> list[Answer]:
    """How far each private and each federated regime is from the one that lacks just that; not those in `beside`."""
    asked = {name: fields for name, fields in regimes_of(manifest).items() if name not in beside}
    epsilons = table[(table.measure == "epsilon") & (table.regime.isin(list(asked)))]
    private = [name for name in asked if (epsilons.regime == name).any()]
    federated = [name for name, fields in asked.items() if name not in private and is_federated(fields)]
    found: list[Answer] = []
    told: tuple[tuple[Question, Page, list[str]], ...] = (
        ("privacy", "privacy", private),
        ("federation", "federated", federated),
    )
    for question, page, regimes in told:
        for regime in regimes[:MOST_TOLD]:
            promise = f" ({_promise(epsilons[epsilons.regime == regime])})" if question == "privacy" else ""
            other = _reference(asked, regime, federated if question == "privacy" else [])
            text = _cost(table, asked, regime, promise, other)
            found.append(Answer(question=question, text=text, page=page, measure="score_difference"))
        if len(regimes) > MOST_TOLD:
            text = f"{len(regimes) - MOST_TOLD} more such regimes are in the table"
            found.append(Answer(question=question, text=text, page=page, measure="score_difference"))
    return [answer for answer in found if answer.text]


def is_federated(regime: Settings) -> bool:
    """Whether examples stay with clients."""
    return regime.get("partition") is not None


def is_plain(regime: Settings) -> bool:
    """Whether it is plain training and no control."""
    control = regime.get("stop_at") or regime.get("random_labels") or regime.get("ablation")
    return regime["kind"] == "Plain" and not control


def _reference(asked: Mapping[str, Settings], regime: str, federated: Sequence[str]) -> str | None:
    """What a regime is compared with: federated with privacy with federated without, all else with the plain one."""
    if is_federated(asked[regime]):
        alike = [name for name in federated if asked[name]["partition"] == asked[regime]["partition"]]
        if alike:
            return alike[0]
    return next((name for name, fields in asked.items() if is_plain(fields)), None)


def _promise(epsilons: pd.DataFrame) -> str:
    known = epsilons[epsilons.value.notna()]
    if not known.value.map(math.isfinite).all():
        return "no finite epsilon"
    if len(known) < len(epsilons):  # a job that is not done says nothing of what it will promise
        return "epsilon not measured of every model"
    unit = f" per {known.privacy_unit.iloc[0]}" if known.privacy_unit.iloc[0] else ""
    return f"epsilon {at_most(float(known.value.max()), 2)}{unit}, delta {known.delta.max():g}"


def _cost(table: pd.DataFrame, asked: Mapping[str, Settings], regime: str, promise: str, other: str | None) -> str:
    score = MEASURES[leading(set(table.measure))].title
    if other is None:
        return f"with {regime}{promise}: there is no plain model in this run to compare with"
    changes = _changes(table, other, regime)
    if not changes:
        old = not (table.measure == "score_difference").any()
        return "" if old else f"with {regime}{promise}: no model of it can be compared with {other}"
    text = f"with {regime}{promise} {score} changes against {other} by {_by_backend(changes)}"
    if all(1 < change.seeds < SEEDS_FOR_A_CLAIM for change in changes.values()):
        text += f"; fewer than {SEEDS_FOR_A_CLAIM} seeds are too few to tell it from luck"
    elif not any(change.is_told(pairs=len(changes)) for change in changes.values()):
        text += "; none of it is told apart from no change"
    if is_federated(asked[regime]) and not is_federated(asked[other]) and promise:
        text += "; what federation costs is in it"
    if _settings(asked[regime]) != _settings(asked[other]):
        text += "; each has settings of its own"
    dead = _dead(table, regime)
    if dead:
        text += f"; {regime} answers the same for every example in {', '.join(dead)}: it has learned nothing there"
    return text


def _settings(regime: Settings) -> tuple[Any, ...]:
    """What two regimes would have in common, were they tuned alike."""
    return tuple(regime.get(name) for name in ("batch_size", "epochs", "rounds", "optimizer", "client_optimizer"))


def _changes(table: pd.DataFrame, other: str, regime: str) -> dict[str, Change]:
    """Score of a regime less that of another, by backend."""
    rows = table[(table.measure == "score_difference") & (table.pair == "two regimes") & table.value.notna()]
    rows = rows[rows["first"].isin([other, regime]) & rows["second"].isin([other, regime])]
    return {
        str(backend): change_of([turned(row, same=str(row.second) == regime) for row in group.itertuples()])
        for backend, group in rows.groupby("backend", sort=False)
    }


def _by_backend(changes: Mapping[str, Change]) -> str:
    """Write changes one after another, and of what their intervals are: once where it is the same."""
    kinds = {change.seeds for change in changes.values()}
    if len(kinds) == 1:
        each = ", ".join(f"{_worded(change)} in {backend}" for backend, change in changes.items())
        return f"{each} ({over_seeds(kinds.pop())})"
    return ", ".join(
        f"{_worded(change)} in {backend} ({over_seeds(change.seeds)})" for backend, change in changes.items()
    )


def over_seeds(seeds: int) -> str:
    """Say what an interval is over."""
    if seeds == 1:
        return "95 % interval over held-out examples; one seed, and another may differ"
    if seeds < SEEDS_FOR_A_CLAIM:
        return f"smallest and largest of {seeds} seeds"
    return f"95 % interval over {seeds} seeds"


def _dead(table: pd.DataFrame, regime: str) -> list[str]:
    rows = table[(table.measure == leading(set(table.measure))) & (table.regime == regime) & table.value.notna()]
    return list(dict.fromkeys(constant_models(rows).backend))


def framework_answer(manifest: Manifest, table: pd.DataFrame) -> Answer | None:
    """Whether frameworks differ in how good their models are, all pairs taken together."""
    pairs = framework_pairs(table)
    if not pairs:
        return None
    score = MEASURES[leading(set(table.measure))].title
    apart = [one for one in pairs if one.is_apart(pairs=len(pairs))]
    if apart:
        words = [
            f"{one.second if one.change.value > 0 else one.first} is {abs(one.change.value):.3f} above "
            f"{one.first if one.change.value > 0 else one.second} in {one.regime}"
            for one in apart
        ]
        text = f"by {score} {listed(words)}, of {counted(len(pairs), 'pair', 'pairs')}"
    else:
        widest = max(pairs, key=lambda one: abs(one.change.value))
        which = "the difference" if len(pairs) == 1 else f"over {len(pairs)} pairs the largest difference"
        text = (
            f"no framework is told apart from another by {score}: {which} is "
            f"{abs(widest.change.value):.3f} ({widest.regime}, {widest.first} and {widest.second}; "
            f"{over_seeds(widest.change.seeds)})"
        )
    known = {name for one in pairs for name in (one.first, one.second)}
    absent = [name for name in manifest.scenario["backends"] if name not in known]
    if absent:
        text += f"; nothing can be said of {', '.join(absent)}"
    return Answer(question="framework", text=text, measure="score_difference")
