"""What a sweep comes to: the best setting of each regime, chosen on rows of its own, and what choosing costs."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import RecordError
from trustml.measures.accuracy import explained, outputs_of, right_tokens, wilson_interval
from trustml.measures.evidence import Evidence
from trustml.measures.resampling import Statistic, estimates, mean_of
from trustml.measures.row import About, Facts, IntervalKind, Row
from trustml.measures.score_differences import model_difference
from trustml.models.answers import in_unit, right, score
from trustml.models.losses import AnyArray
from trustml.models.tasks import Labels, NextToken, Regression, Task
from trustml.privacy.accounting import Epsilon, epsilon_released
from trustml.privacy.ledger import Charge, read_ledger
from trustml.privacy.statement import at_most
from trustml.record.choices import composed_runs
from trustml.record.schema import JobRecord, Manifest, regimes_of, sweep_of
from trustml.record.starts import earlier_charges, is_void, once
from trustml.scenario.regimes import PrivateRegime
from trustml.scenario.sweep import Swept, SweptValue

GUARANTEE = frozenset({"epsilon", "noise_multiplier", "delta"})
"""Fields that say what is promised: nothing is chosen among their values, as the weakest promise would win. What others
change of it, steps at a given noise, is in the epsilon that is charged."""
_CHOOSING_SEED = 20_000  # of the public order by which held-out rows are shared out
_LEAST_ROWS = 20
_AS_ASKED = 1e-3  # relative; calibration ends that near to its target

_Indices: TypeAlias = npt.NDArray[np.int64]
_Fields: TypeAlias = tuple[tuple[str, SweptValue], ...]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Private models among which a sweep lets somebody choose.

    Attributes
    ----------
    of : str
        The regime that was swept over.
    fields : tuple of str
        In which the models differ.
    models : int
        That were charged for, over all backends and seeds.
    delta : float
    epsilon : Epsilon or None
        Of all of them together, with what they start from; None where a ledger cannot be read, they protect different
        users, or rows were trained on without a guarantee before.
    """

    of: str
    fields: tuple[str, ...]
    models: int
    delta: float
    epsilon: Epsilon | None


def choices(evidence: Evidence) -> dict[str, Choice]:
    """Give the choice that each private regime of a sweep is part of, by its title."""
    swept = sweep_of(evidence.manifest)
    found: dict[str, Choice] = {}
    for of in dict.fromkeys(one.of for one in swept):
        titles = {one.regime for one in swept if one.of == of}
        choice = _choice(evidence, of, titles, fields=tuple(dict.fromkeys(one.field for one in swept if one.of == of)))
        if choice is not None:
            found |= dict.fromkeys(titles, choice)
    return found


def _choice(evidence: Evidence, of: str, titles: set[str], *, fields: tuple[str, ...]) -> Choice | None:
    ledgers: list[list[Charge]] = []
    regimes: list[PrivateRegime] = []
    readable = True
    for record, job in evidence.trained():
        if record.regime not in titles or not isinstance(job.regime, PrivateRegime):
            continue
        try:
            charges = read_ledger(evidence.run.job_folder(record.id) / "ledger.jsonl")
        except RecordError:
            readable = False
            continue
        if charges:
            ledgers.append(charges)
            regimes.append(job.regime)
    if not ledgers:
        return None
    together = readable and len({(charges[0].unit, charges[0].users) for charges in ledgers}) == 1
    delta, manifest = max(regime.delta for regime in regimes), evidence.manifest
    epsilon = None
    if together and not any(is_void(manifest, regime) for regime in regimes):
        before = once(earlier_charges(manifest, regime) for regime in regimes)
        runs = composed_runs(manifest, regimes)
        epsilon = epsilon_released([*ledgers, *before], delta=delta, tuned_runs=runs)
    return Choice(of=of, fields=fields, models=len(ledgers), delta=delta, epsilon=epsilon)


def choice_text(choice: Choice) -> str:
    """Say what it costs to choose among the private models of a sweep."""
    if choice.epsilon is None:
        cost = "together they have no epsilon here"
    else:
        value = f"{at_most(choice.epsilon.value, 4)} at delta {choice.delta:g}"
        cost = f"epsilon at most {value}, under {choice.epsilon.relation}, holds for all together"
    return (
        f"one of {choice.models} models of {choice.of} that differ in {', '.join(choice.fields)}: who chooses among "
        f"them by what they score releases every one of them, and {cost}"
    )


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Regimes that promise the same and differ in how they are trained.

    Attributes
    ----------
    title : str
        Of the regime that was swept over, with what its candidates promise where that was swept over, too.
    regimes : dict
        Title to the fields in which it differs from the others.
    """

    title: str
    regimes: dict[str, dict[str, SweptValue]]


def promises(manifest: Manifest, charged: Mapping[str, float]) -> dict[str, float]:
    """Epsilon that each private regime of a sweep promises, by its title.

    Parameters
    ----------
    manifest : Manifest
    charged : mapping of str to float
        Largest epsilon that a model of a regime came to. Noise that was calibrated reaches its target but for a little,
        and promises the target; all else promises what it was charged for.
    """
    asked, found = regimes_of(manifest), {}
    for title in dict.fromkeys(one.regime for one in sweep_of(manifest)):
        target = asked[title].get("epsilon")
        came_to = charged.get(title)
        if target is not None and (came_to is None or came_to <= target * (1 + _AS_ASKED)):
            found[title] = float(target)
        elif came_to is not None:
            found[title] = came_to
    return found


def charged_candidates(evidence: Evidence) -> list[Candidates]:
    """Give the candidates of a run's sweeps, by what their ledgers come to."""
    charged: dict[str, float] = {}
    swept = {one.regime for one in sweep_of(evidence.manifest)}
    for record, job in evidence.trained():
        if record.regime not in swept or not isinstance(job.regime, PrivateRegime):
            continue
        try:
            charges = read_ledger(evidence.run.job_folder(record.id) / "ledger.jsonl")
        except RecordError:
            continue
        if charges:
            released = [charges, *earlier_charges(evidence.manifest, job.regime)]
            runs = composed_runs(evidence.manifest, [job.regime])
            value = epsilon_released(released, delta=job.regime.delta, tuned_runs=runs).value
            if is_void(evidence.manifest, job.regime):
                value = math.inf
            charged[record.regime] = max(value, charged.get(record.regime, 0.0))
    return candidates(sweep_of(evidence.manifest), promised=promises(evidence.manifest, charged))


def candidates(swept: Sequence[Swept], *, promised: Mapping[str, float]) -> list[Candidates]:
    """Group the regimes of sweeps by what they promise; groups of one are left out.

    Parameters
    ----------
    swept : sequence of Swept
    promised : mapping of str to float
        Epsilon of each private regime: more steps or larger batches at the same noise promise less.
    """
    settings: dict[str, dict[str, SweptValue]] = {}
    of = {}
    for one in swept:
        settings.setdefault(one.regime, {})[one.field] = one.value
        of[one.regime] = one.of
    groups: dict[tuple[str, _Fields, str], dict[str, dict[str, SweptValue]]] = {}
    for regime, fields in settings.items():
        said = tuple((field, value) for field, value in fields.items() if field in GUARANTEE)
        rest = {field: value for field, value in fields.items() if field not in GUARANTEE}
        epsilon = at_most(promised[regime], 3) if regime in promised else ""
        groups.setdefault((of[regime], said, epsilon), {})[regime] = rest
    several = Counter((title, said) for title, said, _ in groups)
    found = []
    for (title, said, epsilon), regimes in groups.items():
        words = [title, *(f"{field} {value}" for field, value in said)]
        if several[title, said] > 1:
            words.append(f"at epsilon {epsilon}")
        if len(regimes) > 1:
            found.append(Candidates(title=" ".join(words), regimes=regimes))
    return found


@dataclass(frozen=True, kw_only=True)
class _Best:
    group: Candidates
    records: dict[int, JobRecord]  # by seed
    regime: str


def tuned_rows(evidence: Evidence) -> list[Row]:
    """Score of each swept regime with its own best setting, and how far that is from the plain one with its own.

    Settings are chosen on half of the held-out rows, by a public order, and judged on the other half.
    """
    groups = evidence.once(charged_candidates)
    count = len(evidence.heldout["test_labels"]) if groups else 0
    if count < 2 * _LEAST_ROWS:
        return []
    order = np.random.default_rng(_CHOOSING_SEED).permutation(count)
    choosing, judging = np.sort(order[: count // 2]), np.sort(order[count // 2 :])
    rows: list[Row] = []
    for backend in dict.fromkeys(record.backend for record, _ in evidence.trained()):
        best = [one for group in groups if (one := _best(evidence, group, backend, choosing)) is not None]
        for one in best:
            each = (_score_row(evidence, one, record, choosing, judging) for record in one.records.values())
            rows += [row for row in each if row is not None]
        rows += _difference_rows(evidence, best, choosing, judging)
    return rows


def _best(evidence: Evidence, group: Candidates, backend: str, rows: _Indices) -> _Best | None:
    """The regime whose models, over all seeds, have the best score on the rows that are for choosing."""
    done: dict[str, dict[int, JobRecord]] = {}
    for record, _ in evidence.trained():
        if record.regime in group.regimes and record.backend == backend and record.status == "ok":
            done.setdefault(record.regime, {})[record.seed] = record
    whole = {
        title: records for title, records in done.items() if set(records) == set(evidence.manifest.scenario["seeds"])
    }
    if len(whole) < 2:
        return None
    means = {
        title: fmean(_score_on(evidence, one, rows) for one in records.values()) for title, records in whole.items()
    }
    regime = max(means, key=lambda title: means[title])
    return _Best(group=group, records=whole[regime], regime=regime)


def _score_on(evidence: Evidence, record: JobRecord, rows: _Indices) -> float:
    outputs, labels = outputs_of(evidence, record)
    return score(evidence.task, outputs[rows], labels[rows])


def _score_row(evidence: Evidence, best: _Best, record: JobRecord, choosing: _Indices, judging: _Indices) -> Row | None:
    outputs, labels = (part[judging] for part in outputs_of(evidence, record))
    facts = _facts(best, choosing)
    kind: IntervalKind = "wilson"
    if _counts(evidence):
        hits = int(right(evidence.task, outputs, labels).sum())
        value, interval = hits / len(labels), wilson_interval(hits, len(labels))
    else:
        found = estimates({"": _score_statistic(evidence.task, outputs, labels)}, examples=len(labels))[""]
        value, interval, kind = found.value, (found.low, found.high), "bootstrap over examples"
        facts |= found.facts
    if not math.isfinite(value):  # all targets are the same
        return None
    about = About(interval=kind, confidence=0.95, facts=facts)
    return evidence.row(
        "tuned_score", value, record=record, subject=best.group.title, n=len(labels), interval=interval, about=about
    )


def _counts(evidence: Evidence) -> bool:
    """Whether an example is right or wrong as a whole."""
    return not isinstance(evidence.task, Regression | Labels | NextToken)


def _score_statistic(task: Task, outputs: AnyArray, labels: AnyArray) -> Statistic:
    """What :func:`trustml.models.answers.score` chose by, where it is no count of examples."""
    match task:
        case Regression():
            return explained(*(in_unit(task, part)[:, 0] for part in (labels, outputs)))
        case NextToken():
            return right_tokens(outputs, labels)
        case _:
            return mean_of(right(task, outputs, labels))


def _facts(best: _Best, choosing: _Indices) -> Facts:
    setting = ", ".join(f"{field} {value}" for field, value in best.group.regimes[best.regime].items())
    return {"setting": setting, "candidates": len(best.group.regimes), "chosen_on": len(choosing)}


def _difference_rows(evidence: Evidence, best: Sequence[_Best], choosing: _Indices, judging: _Indices) -> list[Row]:
    """Each regime at its best less the first plain one at its best, on the rows that nothing was chosen on."""
    asked = regimes_of(evidence.manifest)
    plain = next((one for one in best if _is_plain(asked[one.regime])), None)
    if plain is None:
        return []
    rows = []
    for other, seed in itertools.product((one for one in best if one is not plain), plain.records):
        pair = [tuple(part[judging] for part in outputs_of(evidence, one.records[seed])) for one in (plain, other)]
        found = model_difference(evidence.task, *_of_both(pair))
        if found is None:
            continue
        about = About(
            pair="two regimes", first=plain.regime, second=other.regime, interval=found.interval, confidence=0.95,
            p_value=found.p_value, facts=_facts(other, choosing) | found.facts,
        )  # fmt: skip
        rows.append(
            evidence.row(
                "tuned_score_difference",
                found.value,
                record=other.records[seed],
                subject=f"{plain.group.title} ~ {other.group.title}",
                n=len(judging),
                interval=(found.low, found.high),
                about=about,
            )
        )
    return rows


def _is_plain(regime: Mapping[str, Any]) -> bool:
    """Whether it is trained as a plain model would be, and is no control."""
    return regime["kind"] == "Plain" and not any(regime.get(name) for name in ("stop_at", "random_labels", "ablation"))


def _of_both(pair: Sequence[tuple[AnyArray, ...]]) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Outputs of the first and of the second model, and their labels."""
    (first, labels), (second, _) = pair
    return first, second, labels
