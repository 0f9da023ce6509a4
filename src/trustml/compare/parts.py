"""What each part of private training does to explanations, and whether less noise does less.

A private regime is taken apart by its ablations: the schedule alone; with clipping; with noise. Each is compared with
the one that lacks a single part, both against the same plain models, so along one way from plain to private the effects
add up: schedule, then clipping, then noise; or noise first. Where the ways differ, parts act together and no share
belongs to one alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from trustml.compare.contrast import LEAST_SEEDS, Agreements, Doubles, Estimate, difference, trend
from trustml.measures.accuracy import held_out_score
from trustml.measures.evidence import Evidence
from trustml.measures.row import Facts
from trustml.plan.job import TrainJob
from trustml.scenario.regimes import DPSGD, Plain, Regime

LEAST_DOSES = 3


@dataclass(frozen=True, kw_only=True)
class Found:
    """An estimate on two regimes.

    Attributes
    ----------
    measure : str
    first, second : str
        Titles of the regimes; the row is of the second.
    estimate : Estimate
    facts : dict
    """

    measure: str
    first: str
    second: str
    estimate: Estimate
    facts: Facts


def part_estimates(evidence: Evidence, agreements: Mapping[str, Agreements]) -> list[Found]:
    """Estimates on all pairs that differ in a part, and on all regimes that differ in epsilon.

    Parameters
    ----------
    evidence : Evidence
    agreements : mapping of str to Agreements
        Of each regime with the plain one, by title.
    """
    regimes = {job.regime.title: job.regime for _, job in evidence.trained() if isinstance(job, TrainJob)}
    found = []
    for fewer, more, part in pairs_of_parts(regimes):
        if {fewer, more} <= agreements.keys() and len(agreements[fewer].cross) == len(agreements[more].cross):
            estimate = difference(agreements[more], agreements[fewer])
            found.append(
                Found(
                    measure="explanation_effect_of_part",
                    first=fewer,
                    second=more,
                    estimate=estimate,
                    facts={"part": part},
                )
            )
    for series in dose_series(regimes):
        # Regimes without explanations, or not of the same seeds, are no series.
        if series.keys() <= agreements.keys() and len({len(agreements[title].cross) for title in series}) == 1:
            cross = [agreements[title].cross for title in series]
            found.append(_trend("explanation_trend", series, cross, regimes=regimes))
    return found


def accuracy_trends(evidence: Evidence, *, backend: str) -> list[Found]:
    """The same trends of the held-out accuracy: whether a larger epsilon makes better models in the first place."""
    regimes = {job.regime.title: job.regime for _, job in evidence.trained() if isinstance(job, TrainJob)}
    by_seed: dict[str, dict[int, float]] = {title: {} for title in regimes}
    for record, _ in evidence.trained():
        if record.status == "ok" and record.backend == backend:
            by_seed[record.regime][record.seed] = held_out_score(evidence, record)
    found = []
    for series in dose_series(regimes):
        seeds = sorted(set.intersection(*(set(by_seed[title]) for title in series)))
        if len(seeds) >= LEAST_SEEDS:
            shares = [np.array([by_seed[title][seed] for seed in seeds]) for title in series]
            cross = [np.tile(share, (len(seeds), 1)) for share in shares]
            found.append(_trend("accuracy_trend", series, cross, regimes=regimes))
    return found


def pairs_of_parts(regimes: Mapping[str, Regime]) -> Iterator[tuple[str, str, str]]:
    """Titles of two regimes of which the second has one part more, and the part."""
    private = {title: one for title, one in regimes.items() if isinstance(one, DPSGD)}
    arms = {
        title: (one.ablation.keeps, private[one.ablation.of])
        for title, one in regimes.items()
        if isinstance(one, Plain) and one.ablation is not None and one.ablation.of in private
    }
    for title, (keeps, of) in arms.items():
        for other, (kept, theirs) in arms.items():
            if keeps == "schedule" != kept and of.differs_in_noise_alone(theirs):
                yield title, other, kept
        for other, whole in private.items():
            if (keeps == "noise" and of == whole) or (keeps == "clipping" and of.differs_in_noise_alone(whole)):
                yield title, other, "noise" if keeps == "clipping" else "clipping"


def dose_series(regimes: Mapping[str, Regime]) -> list[dict[str, float]]:
    """Titles of regimes that differ in epsilon alone, with the epsilon of each: private ones, and their controls.

    A control's epsilon is that of the private regime it belongs to; of itself it has none.
    """
    private = {title: one for title, one in regimes.items() if isinstance(one, DPSGD) and one.epsilon is not None}
    groups: list[tuple[DPSGD, list[str]]] = []
    for title, one in private.items():
        own = next((titles for like, titles in groups if _differ_in_epsilon_alone(like, one)), None)
        if own is None:
            groups.append((one, [title]))
        else:
            own.append(title)
    series = []
    for _, titles in groups:
        for belongs in (_is_itself, _is_noise_of, _stops_at):
            doses: dict[str, float] = {}
            for title, regime in regimes.items():
                for other in titles:
                    epsilon = private[other].epsilon
                    if epsilon is not None and belongs(title, regime, other):
                        doses[title] = epsilon
            if len(set(doses.values())) == len(doses) >= LEAST_DOSES:
                series.append(dict(sorted(doses.items(), key=lambda item: item[1])))
    return series


def _differ_in_epsilon_alone(first: DPSGD, second: DPSGD) -> bool:
    """Whether two regimes take the same steps, and what their noise must reach differs in epsilon alone."""
    same = first.delta == second.delta and first.sampling_seed == second.sampling_seed
    return same and first.differs_in_noise_alone(second)


def _is_itself(title: str, regime: Regime, private: str) -> bool:
    return title == private


def _is_noise_of(title: str, regime: Regime, private: str) -> bool:
    ablation = regime.ablation if isinstance(regime, Plain) else None
    return ablation is not None and ablation.keeps == "noise" and ablation.of == private


def _stops_at(title: str, regime: Regime, private: str) -> bool:
    return isinstance(regime, Plain) and regime.stop_at == private


def _trend(measure: str, series: Mapping[str, float], cross: list[Doubles], *, regimes: Mapping[str, Regime]) -> Found:
    """Slope over doublings of epsilon."""
    titles, doses = list(series), np.log2(list(series.values()))
    facts: Facts = {"epsilons": ", ".join(f"{epsilon:g}" for epsilon in series.values())}
    if not isinstance(regimes[titles[0]], DPSGD):
        facts["controls"] = True
    return Found(
        measure=measure,
        first=titles[0],
        second=titles[-1],
        estimate=trend(np.stack(cross), doses),
        facts=facts,
    )
