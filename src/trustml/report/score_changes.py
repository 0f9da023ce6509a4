"""How far models are from each other in what they score: what privacy costs, and federation, and each framework."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

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
_LEVEL = 0.05


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


def kept(rows: pd.DataFrame, flags: Iterable[object]) -> pd.DataFrame:
    """Give the rows whose flag holds."""
    import numpy as np

    return rows[np.array([bool(flag) for flag in flags], bool)]


@dataclass(frozen=True, kw_only=True)
class _Change:
    """A score less another, in one backend: over held-out examples, or over seeds."""

    value: float
    low: float
    high: float
    seeds: int

    def is_told(self, *, pairs: int = 1) -> bool:
        """Whether it is not 0 when so many are looked at: by its interval, made wider by Bonferroni's rule."""
        if not math.isfinite(self.low) or not math.isfinite(self.high) or 1 < self.seeds < SEEDS_FOR_A_CLAIM:
            return False
        wider = _quantile(self.seeds, pairs) / _quantile(self.seeds, 1)
        low, high = (self.value + (end - self.value) * wider for end in (self.low, self.high))
        return (low > 0 or high < 0) and high > low

    @property
    def words(self) -> str:
        """The value with its sign, and the interval where there is one."""
        if not math.isfinite(self.low) or not math.isfinite(self.high):
            return f"{_signed(self.value)} (no interval)"
        return f"{_signed(self.value)} [{_signed(self.low)}, {_signed(self.high)}]"


def _quantile(seeds: int, pairs: int) -> float:
    level = 1 - _LEVEL / (2 * pairs)
    if seeds == 1:
        return NormalDist().inv_cdf(level)
    from scipy import stats

    return float(stats.t.ppf(level, seeds - 1))


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
    if known.empty or len(known) < len(epsilons) or not known.value.map(math.isfinite).all():
        return "no finite epsilon"
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
    if not any(change.is_told(pairs=len(changes)) for change in changes.values()):
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


def _changes(table: pd.DataFrame, other: str, regime: str) -> dict[str, _Change]:
    """Score of a regime less that of another, by backend."""
    rows = table[(table.measure == "score_difference") & (table.pair == "two regimes") & table.value.notna()]
    rows = rows[rows["first"].isin([other, regime]) & rows["second"].isin([other, regime])]
    return {
        str(backend): _change([_turned(row, same=str(row.second) == regime) for row in group.itertuples()])
        for backend, group in rows.groupby("backend", sort=False)
    }


def _turned(row: Any, *, same: bool) -> _Change:
    if same:
        return _Change(value=row.value, low=row.low, high=row.high, seeds=1)
    return _Change(value=-row.value, low=-row.high, high=-row.low, seeds=1)


def _change(each: Sequence[_Change]) -> _Change:
    """One seed with its interval; the mean of several, with Student's interval where there are enough."""
    if len(each) == 1:
        return each[0]
    import numpy as np

    values, seeds = np.array([one.value for one in each]), len(each)
    if seeds < SEEDS_FOR_A_CLAIM:
        return _Change(value=float(values.mean()), low=float(values.min()), high=float(values.max()), seeds=seeds)
    from trustml.compare.contrast import jackknife  # scipy takes a second, and one seed needs none

    found = jackknife(lambda seeds_left: float(values[seeds_left].mean()), seeds)
    return _Change(value=found.value, low=found.low, high=found.high, seeds=seeds)


def _by_backend(changes: Mapping[str, _Change]) -> str:
    """Write changes one after another, and of what their intervals are: once where it is the same."""
    kinds = {change.seeds for change in changes.values()}
    if len(kinds) == 1:
        each = ", ".join(f"{change.words} in {backend}" for backend, change in changes.items())
        return f"{each} ({_over(kinds.pop())})"
    return ", ".join(f"{change.words} in {backend} ({_over(change.seeds)})" for backend, change in changes.items())


def _over(seeds: int) -> str:
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
    rows = table[(table.measure == "score_difference") & (table.pair == "trained apart") & table.value.notna()]
    if rows.empty:
        return None
    score = MEASURES[leading(set(table.measure))].title
    pairs: dict[tuple[str, str, str], list[Any]] = {}
    for row in rows.itertuples():
        first, second = sorted((str(row.first), str(row.second)))
        pairs.setdefault((str(row.regime), first, second), []).append(row)
    changes = [
        (*names, _change([_turned(row, same=str(row.second) == names[2]) for row in group]), _least_p(group))
        for names, group in pairs.items()
    ]
    apart = [one for one in changes if _is_apart(one[3], one[4], pairs=len(changes))]
    if apart:
        words = [
            f"{second if change.value > 0 else first} is {abs(change.value):.3f} above "
            f"{first if change.value > 0 else second} in {regime}"
            for regime, first, second, change, _ in apart
        ]
        text = f"by {score} {listed(words)}, of {len(changes)} pairs"
    else:
        regime, first, second, widest, _ = max(changes, key=lambda one: abs(one[3].value))
        text = (
            f"no framework is told apart from another by {score}, over {len(changes)} pairs: the largest difference is "
            f"{abs(widest.value):.3f} ({regime}, {first} and {second}; {_over(widest.seeds)})"
        )
    absent = [name for name in manifest.scenario["backends"] if name not in {n for one in changes for n in one[1:3]}]
    if absent:
        text += f"; nothing can be said of {', '.join(absent)}"
    return Answer(question="framework", text=text, measure="score_difference")


def _least_p(rows: Sequence[Any]) -> float:
    known = [float(row.p_value) for row in rows if row.p_value is not None and math.isfinite(row.p_value)]
    return min(known, default=math.nan)


def _is_apart(change: _Change, p_value: float, *, pairs: int) -> bool:
    """Whether a pair differs when all pairs are looked at: by its test where there is one, else by its interval."""
    if change.seeds == 1 and math.isfinite(p_value):
        return p_value * pairs < _LEVEL
    return change.is_told(pairs=pairs)
