"""What the charts of federated training are drawn from, read from a run: long tables, one row a round."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pandas as pd

from trustml.compare.table import fact_of
from trustml.errors import RecordError
from trustml.measures.entry import Measure
from trustml.measures.evidence import Evidence
from trustml.measures.federated import federated_jobs, history_of, rounds_of
from trustml.measures.measure import of_family, shown_in
from trustml.models.tasks import facts_of
from trustml.plan.job import TrainJob, short_model
from trustml.privacy.accounting import epsilon_of
from trustml.privacy.ledger import Charge, read_ledger
from trustml.privacy.statement import PrivacyStatement, at_most
from trustml.record.schema import JobRecord
from trustml.report.documents import Cell
from trustml.scenario.federated import FederatedSpec

_POINTS = 8
_SPREAD = ("client_mean", "client_tenth", "client_best")


@dataclass(frozen=True, kw_only=True)
class FederatedFrames:
    """Long tables of a run's finished federated trainings.

    Attributes
    ----------
    history : DataFrame
        Held-out ``accuracy`` by ``round``, or ``r2``: the score of the task.
    targets : DataFrame
        Target accuracy of each regime; none for a regression.
    spread : DataFrame
        ``mean``, ``tenth`` and ``best`` accuracy of clients by ``round``, as far as it is at hand.
    rounds : DataFrame
        ``asked``, ``participants`` and ``update_norm`` by ``round`` of regimes without privacy: those of private
        regimes stay private even where ``private/`` is at hand.
    clips : DataFrame
        ``clipping_norm`` by ``round`` where it moves.
    """

    history: pd.DataFrame
    targets: pd.DataFrame
    spread: pd.DataFrame
    rounds: pd.DataFrame
    clips: pd.DataFrame


def federated_frames(evidence: Evidence) -> FederatedFrames:
    """Read the tables of all finished federated trainings.

    Raises
    ------
    RecordError
        If a file cannot be read.
    """
    found: dict[str, list[pd.DataFrame]] = {"history": [], "spread": [], "rounds": [], "clips": []}
    targets = []
    score = facts_of(evidence.task).score
    for record, job in federated_jobs(evidence):
        assert isinstance(job.regime, FederatedSpec)
        if score == "accuracy":
            targets.append({"regime": record.regime, "target": job.regime.target_accuracy})
        history = history_of(evidence, record)
        found["history"].append(_frame(record, {"round": history.rounds, score: history.score}))
        arrays = rounds_of(evidence, job)
        if arrays is None:
            continue
        if all(name in arrays for name in _SPREAD):
            spread = {name.removeprefix("client_"): arrays[name] for name in _SPREAD}
            found["spread"].append(_frame(record, {"round": history.rounds, **spread}).dropna())
        every = {"round": range(1, len(arrays["asked"]) + 1)}
        if job.mechanism is None:
            of_round = {name: arrays[name] for name in ("asked", "participants", "update_norm")}
            found["rounds"].append(_frame(record, {**every, **of_round}))
        elif job.mechanism.count_noise:  # its steps follow a noisy count, which epsilon pays for
            found["clips"].append(_frame(record, {**every, "clipping_norm": arrays["clipping_norm"]}))
    return FederatedFrames(
        targets=pd.DataFrame(targets, columns=["regime", "target"]).drop_duplicates(),
        history=_joined(found["history"], [score]),
        spread=_joined(found["spread"], ["mean", "tenth", "best"]),
        rounds=_joined(found["rounds"], ["asked", "participants", "update_norm"]),
        clips=_joined(found["clips"], ["clipping_norm"]),
    )


def user_statements(evidence: Evidence, statements: Sequence[PrivacyStatement]) -> list[PrivacyStatement]:
    """Statements of federated trainings whose unit of privacy is a user."""
    federated = {record.id for record, job in evidence.trained() if isinstance(job.regime, FederatedSpec)}
    return [one for one in statements if one.unit_of_privacy == "user" and one.model in federated]


def epsilon_by_round(evidence: Evidence, statements: Sequence[PrivacyStatement]) -> pd.DataFrame:
    """User-level epsilon of each model as rounds add up; models with the same one share a line.

    Secret Poisson cohorts have it in the statement's curve. For others it is accounted here from the beginnings of
    the ledger, because no series of the curve is their claim. The last point is always the claim itself. Correlated
    noise has a guarantee for the whole training alone: one point, with ``whole``.

    Parameters
    ----------
    evidence : Evidence
    statements : sequence of PrivacyStatement
        Of one unit of privacy, that of users.
    """
    regimes = {record.id: record.regime for record, _ in evidence.trained()}
    lines: dict[tuple[str, float, bool, tuple[tuple[int, float], ...]], list[str]] = {}
    for one in statements:
        if one.epsilon is None:
            continue
        points = _points(evidence, one)
        key = (regimes[one.model], one.delta, one.curve is None, points)
        lines.setdefault(key, []).append(short_model(one.model))
    rows = [
        {
            "models": ", ".join(models),
            "regime": regime,
            "delta": delta,
            "whole": whole,
            "round": number,
            "epsilon": epsilon,
        }
        for (regime, delta, whole, points), models in lines.items()
        for number, epsilon in points
    ]
    return pd.DataFrame(rows, columns=["models", "regime", "delta", "whole", "round", "epsilon"])


def summary_frame(evidence: Evidence, table: pd.DataFrame, statements: Sequence[PrivacyStatement]) -> pd.DataFrame:
    """One line for each federated regime and framework, in cells; means over seeds, but the largest epsilon.

    Parameters
    ----------
    evidence : Evidence
    table : DataFrame
        Tidy rows.
    statements : sequence of PrivacyStatement
        Those for users.
    """
    cells: dict[tuple[str, str], list[tuple[JobRecord, TrainJob]]] = {}
    for record, job in federated_jobs(evidence):
        cells.setdefault((record.regime, record.backend), []).append((record, job))
    stated = {one.model: one for one in statements}
    measures = applicable(shown_in("federated page"), table)
    found = []
    for (regime, backend), jobs in cells.items():
        rows = table[table.job.isin([record.id for record, _ in jobs])]
        found.append(
            {
                "regime": regime,
                "framework": backend,
                "user epsilon": _epsilon(jobs, stated),  # last, it would be out of sight on a page of usual width
                **{one.head: _cell(rows[rows.measure == name].value, one) for name, one in measures.items()},
            }
        )
    return pd.DataFrame(found)


def applicable(measures: dict[str, Measure], table: pd.DataFrame) -> dict[str, Measure]:
    """Leave out measures that mean nothing for the task of the run, and those that lead tables of other tasks."""
    unfit = set(table[fact_of(table, "not_applicable", default=False).to_numpy(bool)].measure)
    others = of_family("accuracy").keys() - set(table.measure)
    return {name: one for name, one in measures.items() if name not in unfit | others}


def _frame(record: JobRecord, columns: dict[str, object]) -> pd.DataFrame:
    own: dict[str, object] = {"regime": record.regime, "backend": record.backend, "seed": record.seed}
    return pd.DataFrame({**own, **columns})


def _joined(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    if frames:
        return pd.concat(frames, ignore_index=True)
    return pd.DataFrame(columns=["round", *columns, "regime", "backend", "seed"])


def _points(evidence: Evidence, statement: PrivacyStatement) -> tuple[tuple[int, float], ...]:
    """Rounds charged and epsilon after them; the last is the claim."""
    assert statement.epsilon is not None
    end = (statement.steps, statement.epsilon)
    if statement.curve is None:
        return (end,)
    try:
        charges = read_ledger(evidence.run.job_folder(statement.model) / "ledger.jsonl")
    except RecordError:
        return (end,)
    if all(charge.sampling == "poisson" and charge.secret_sampling for charge in charges):
        drawn = zip(statement.curve.steps, statement.curve.poisson, strict=True)
        return (*((step, value) for step, value in drawn if value is not None and step < statement.steps), end)
    return (*_prefixes(_without_names(charges), delta=statement.delta, below=statement.steps), end)


def _without_names(charges: Sequence[Charge]) -> tuple[Charge, ...]:
    """Number the plans: within one model it matters only which charges share one, and seeds are then alike."""
    plans = list(dict.fromkeys(charge.plan for charge in charges))
    return tuple(msgspec.structs.replace(charge, plan=str(plans.index(charge.plan))) for charge in charges)


@functools.lru_cache(maxsize=64)  # a second or two where cohorts are of fixed size, and every click draws the page anew
def _prefixes(charges: tuple[Charge, ...], *, delta: float, below: int) -> tuple[tuple[int, float], ...]:
    """Epsilon of the ledger's beginnings. Lines are not cut: a part of one may hold all its participation."""
    ends = sorted({max(1, round(len(charges) * part / _POINTS)) for part in range(1, _POINTS + 1)})
    found = []
    for end in ends:
        rounds = sum(charge.steps for charge in charges[:end])
        if rounds < below and math.isfinite(value := epsilon_of(charges[:end], delta=delta).value):
            found.append((rounds, value))
    return tuple(found)


def _cell(every: pd.Series[float], measure: Measure) -> Cell:
    """One measure over the seeds."""
    if measure.unit == "rounds":
        return _to_target(every)
    values = every.dropna()
    return Cell(measure.text(float(values.mean())), float(values.mean())) if len(values) else Cell("-")


def _to_target(every: pd.Series[float]) -> Cell:
    reached = every.dropna()
    if every.empty:
        return Cell("-")
    if reached.empty:
        return Cell("never", math.inf)
    # A mean over the seeds that got there alone would flatter.
    missed = f" ({len(every) - len(reached)} of {len(every)} seeds never)" if len(reached) < len(every) else ""
    return Cell(f"{reached.mean():.3g}{missed}", math.inf if missed else float(reached.mean()))


def _epsilon(jobs: Sequence[tuple[JobRecord, TrainJob]], stated: dict[str, PrivacyStatement]) -> Cell:
    if all(job.mechanism is None for _, job in jobs):
        return Cell("none", math.inf)
    if all(job.mechanism is not None and job.mechanism.unit == "example" for _, job in jobs):
        return Cell("none: private for examples", math.inf)
    found = [stated[record.id].epsilon if record.id in stated else None for record, _ in jobs]
    finite = [epsilon for epsilon in found if epsilon is not None]
    if len(finite) < len(found):
        return Cell("not stated", math.inf)
    return Cell(at_most(max(finite), 2), max(finite))
