"""One accountant for every framework: an upper bound on epsilon of what was really done.

With secret Poisson batches it is that of the subsampled Gaussian mechanism under adding or removing one example: the
least of several proved bounds (`bounds`). Batches of fixed size have their own bound, under replacing one example (Wang
et al., AISTATS 2019, by Renyi DP). Shuffled or published batches have no proved amplification that is of use here, so
there it is the Gaussian mechanism composed over the batches that one example is in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trustml.privacy.bound_kinds import CLOSED_FORM, GRID, PARTICIPATION, RENYI, BoundKind
from trustml.privacy.bounds import epsilon_bounds, epsilon_upper
from trustml.privacy.events import NoiseEvent, by_plan, mechanisms_of, replaces, without_amplification
from trustml.privacy.ledger import ADD_OR_REMOVE, REPLACE, ZERO_OUT, Charge, Drawn, NeighboringRelation
from trustml.privacy.renyi import renyi_epsilon
from trustml.privacy.tails import epsilon_with_tails, total_variation

RDP_ORDERS = (*(2 + step / 4 for step in range(36)), *range(11, 64), 128, 256, 512, 1024)


@dataclass(frozen=True, kw_only=True)
class Epsilon:
    """An epsilon and what it rests on.

    Attributes
    ----------
    value : float
        Upper bound in nats; infinite where the accountant finds none.
    relation : {"add or remove one", "zero out one", "replace one"}
        Neighbouring relation.
    accountant : str
        Which bound it is, the least of those that are proved; with a version.
    by : BoundKind
        The same without one.
    """

    value: float
    relation: NeighboringRelation
    accountant: str
    by: BoundKind


def epsilon_of(charges: Sequence[Charge], *, delta: float) -> Epsilon:
    """Epsilon of one model: all charges of all its attempts, composed.

    Parameters
    ----------
    charges : sequence of Charge
    delta : float

    Returns
    -------
    Epsilon
    """
    return epsilon_of_releases([charges], delta=delta)


def epsilon_of_releases(releases: Sequence[Sequence[Charge]], *, delta: float) -> Epsilon:
    """Epsilon of several models together, composed as their batches were really shared.

    Parameters
    ----------
    releases : sequence of sequences of Charge
        The charges of each model.
    delta : float

    Returns
    -------
    Epsilon
    """
    return _with_tails(_epsilon_of_mechanisms, releases, delta=delta)


def _with_tails(
    bound: Callable[[Sequence[NoiseEvent], float], Epsilon],
    releases: Sequence[Sequence[Charge]],
    *,
    delta: float,
) -> Epsilon:
    """Bound with what is left of delta once the tails of the noise that was drawn are paid for."""
    variation = total_variation((c.noise_source, c.steps * c.coordinates) for charges in releases for c in charges)
    mechanisms = mechanisms_of(releases)
    seen: list[Epsilon] = []

    def at(left: float) -> float:
        seen.append(bound(mechanisms, left))
        return seen[-1].value

    value = epsilon_with_tails(at, variation=variation, delta=delta)
    return replace(seen[-1], value=value, relation=_relation(releases, seen[-1].relation))


def _relation(releases: Sequence[Sequence[Charge]], usual: NeighboringRelation) -> NeighboringRelation:
    """Replacing one where all charges are of local privacy; beside others it is no less for zeroing out."""
    charges = [charge for release in releases for charge in release]
    return REPLACE if charges and all(map(replaces, charges)) else usual


def _epsilon_of_mechanisms(mechanisms: Sequence[NoiseEvent], delta: float) -> Epsilon:
    kinds = {mechanism.kind for mechanism in mechanisms}
    if kinds == {"without replacement"}:
        return epsilon_without_replacement(mechanisms, delta=delta)
    # Where relations differ, all are taken under "zero out one". Poisson's bound holds there as it is; a fixed
    # size loses its amplification, because it was proved for replacing one.
    plain = _without_fixed(mechanisms)
    relation = ADD_OR_REMOVE if kinds <= {"poisson"} else ZERO_OUT
    value, by = epsilon_upper(plain, delta=delta)
    return Epsilon(value=value, relation=relation, accountant=_named(by), by=by)


def epsilon_at_least(charges: Sequence[Charge], *, delta: float) -> float | None:
    """Lower bound on the epsilon of one model, by tests that anyone could make.

    Parameters
    ----------
    charges : sequence of Charge
    delta : float

    Returns
    -------
    float or None
        No smaller epsilon holds for what was charged; None where nothing is proved from below: with secret batches
        that are shuffled or of fixed size, with correlated noise, whose sensitivity is itself a bound, and with known
        batches, or cohorts of which clients may drop out, charged in several blocks, or batches in turn in several
        attempts: the most of each need not hold the same example.
    """
    for entry in charges:
        unproved = entry.secret_sampling and entry.sampling in ("shuffle", "fixed")
        may_drop_out = entry.unit == "user" and entry.sampling in ("all", "in turn")
        uneven = entry.sampling in ("poisson", "fixed") or may_drop_out
        apart = len(charges) > 1 and not entry.secret_sampling and uneven
        again = entry.sampling == "in turn" and entry.attempt != charges[0].attempt  # in another order
        if unproved or apart or again or entry.noise != "independent":
            return None
    return epsilon_bounds(mechanisms_of([charges]), delta=delta).low


def epsilon_without_replacement(mechanisms: Sequence[NoiseEvent], *, delta: float) -> Epsilon:
    """Batches of fixed size: the smaller of the amplified bound and the plain one, both under replacing one.

    Replacing an example moves the clipped sum by up to twice the clipping norm, so both count half the noise.
    """
    amplified = float(without_replacement(mechanisms).get_epsilon(delta))
    unamplified = gaussian_epsilon(math.fsum(4 * m.count / m.noise_multiplier**2 for m in mechanisms), delta=delta)
    if amplified < unamplified:
        name = f"RDP, dp-accounting {package_version('dp-accounting')}"
        return Epsilon(value=amplified, relation=REPLACE, accountant=name, by=RENYI)
    return Epsilon(value=unamplified, relation=REPLACE, accountant=CLOSED_FORM, by=CLOSED_FORM)


def without_replacement(mechanisms: Sequence[NoiseEvent]) -> Any:
    """Accountant of batches of fixed size, by Renyi DP, which can be asked at any delta."""
    import dp_accounting

    accountant = _rdp(dp_accounting.NeighboringRelation.REPLACE_ONE)
    for m in mechanisms:
        event = dp_accounting.SampledWithoutReplacementDpEvent(
            m.examples, m.batch_size, dp_accounting.GaussianDpEvent(m.noise_multiplier / 2)
        )
        accountant.compose(event, m.count)
    return accountant


def epsilon_if_poisson(releases: Sequence[Sequence[Charge]], *, delta: float) -> Epsilon:
    """What would hold if every batch had been a secret Poisson batch: for comparison, not a claim.

    Batches of one group after another are Poisson batches of each already.
    """
    import msgspec

    def assumed_of(charge: Charge) -> Charge:
        sampling: Drawn = "cyclic poisson" if charge.sampling == "cyclic poisson" else "poisson"
        return msgspec.structs.replace(charge, sampling=sampling, secret_sampling=True)

    assumed = [list(map(assumed_of, charges)) for charges in releases]
    value, by = epsilon_upper(mechanisms_of(assumed), delta=delta)
    return Epsilon(value=value, relation=ADD_OR_REMOVE, accountant=_named(by), by=by)


def epsilon_unamplified(releases: Sequence[Sequence[Charge]], *, participation: int, delta: float) -> Epsilon:
    """Epsilon without any amplification: the Gaussian mechanism over the batches that one example was in.

    Parameters
    ----------
    releases : sequence of sequences of Charge
    participation : int
        Most batches, over all plans together, that any one example was in.
    delta : float
    """
    charges = [charge for plan in by_plan(releases) for charge in plan]
    found = without_amplification(_in_a_row(charges), participation=participation)
    value = gaussian_epsilon(math.fsum(m.count / m.noise_multiplier**2 for m in found), delta=delta)
    return Epsilon(value=value, relation=_relation(releases, ZERO_OUT), accountant=CLOSED_FORM, by=CLOSED_FORM)


def epsilon_rdp(releases: Sequence[Sequence[Charge]], *, delta: float) -> Epsilon:
    """Measure the same charges by Renyi DP alone: never below `epsilon_of_releases`, which takes the least bound."""
    return _with_tails(_renyi_of_mechanisms, releases, delta=delta)


def _renyi_of_mechanisms(mechanisms: Sequence[NoiseEvent], delta: float) -> Epsilon:
    if {m.kind for m in mechanisms} == {"without replacement"}:
        return epsilon_without_replacement(mechanisms, delta=delta)
    relation = ADD_OR_REMOVE if all(m.kind == "poisson" for m in mechanisms) else ZERO_OUT
    value = renyi_epsilon(_without_fixed(mechanisms), delta=delta)
    return Epsilon(value=value, relation=relation, accountant=_named(RENYI), by=RENYI)


def _rdp_event(mechanisms: Sequence[NoiseEvent]) -> Any:
    """Give all mechanisms as one event of dp-accounting, under adding or removing one."""
    import dp_accounting

    return dp_accounting.ComposedDpEvent(
        [dp_accounting.SelfComposedDpEvent(_event(m), m.count) for m in _without_fixed(mechanisms)]
    )


def gaussian_epsilon(precision: float, *, delta: float) -> float:
    """Exact epsilon of Gaussian mechanisms whose ``1 / noise_multiplier**2`` add up to `precision`.

    Balle and Wang, ICML 2018, theorem 8.
    """
    import dp_accounting

    return float(dp_accounting.get_epsilon_gaussian(precision**-0.5, delta)) if precision > 0 else 0.0


def _named(by: BoundKind) -> str:
    return f"{by}, trustml {package_version('trustml')}" if by in (GRID, RENYI, PARTICIPATION) else by


def _without_fixed(mechanisms: Sequence[NoiseEvent]) -> list[NoiseEvent]:
    return [
        NoiseEvent(kind="gaussian", noise_multiplier=m.noise_multiplier, count=m.count)
        if m.kind == "without replacement"
        else m
        for m in mechanisms
    ]


def package_version(package: str) -> str:
    """Version of a package that accounts, for its name."""
    from importlib.metadata import version

    return version(package)


def _rdp(relation: Any) -> Any:
    import dp_accounting

    return dp_accounting.rdp.RdpAccountant(orders=RDP_ORDERS, neighboring_relation=relation)


def _event(mechanism: NoiseEvent) -> Any:
    import dp_accounting

    gaussian = dp_accounting.GaussianDpEvent(mechanism.noise_multiplier)
    if mechanism.kind == "gaussian":
        return gaussian
    return dp_accounting.PoissonSampledDpEvent(mechanism.sample_rate, gaussian)


def _in_a_row(charges: Sequence[Charge]) -> list[Charge]:
    """Lay plans one behind the other, so that no two of them share a step."""
    import msgspec

    start, found, offsets = 0, [], {}
    for charge in charges:
        if charge.plan not in offsets:
            offsets[charge.plan] = start
            start += max(other.end_step for other in charges if other.plan == charge.plan)
        shift = offsets[charge.plan]
        found.append(
            msgspec.structs.replace(
                charge, first_step=charge.first_step + shift, end_step=charge.end_step + shift, plan=""
            )
        )
    return found


def epsilon_released(releases: Sequence[Sequence[Charge]], *, delta: float, tuned_runs: float | None) -> Epsilon:
    """Epsilon of the models of a run, with the choice of that run among others where there was one.

    Parameters
    ----------
    releases : sequence of sequences of Charge
        The charges of each model.
    delta : float
    tuned_runs : float, optional
        Mean number of runs of which this one is the best, as for :func:`epsilon_with_tuning`; None where it is the
        only one.
    """
    if tuned_runs is None:
        return epsilon_of_releases(releases, delta=delta)
    return epsilon_with_tuning(releases, runs=tuned_runs, delta=delta)


def epsilon_with_tuning(releases: Sequence[Sequence[Charge]], *, runs: float, delta: float) -> Epsilon:
    """Epsilon of the best of a random number of runs like this one (Papernot and Steinke, ICLR 2022, arXiv 2110.03620).

    The number of runs must be drawn from a Poisson distribution before the first of them starts, and only the
    best run may be released. A fixed number of runs costs more.

    Parameters
    ----------
    releases : sequence of sequences of Charge
        The charges of each model of one run.
    runs : float
        Mean number of runs, 1 or more.
    delta : float

    Returns
    -------
    Epsilon
        Upper bound, by Renyi DP.
    """
    import dp_accounting

    mechanisms = mechanisms_of(releases)
    accountant = dp_accounting.rdp.RdpAccountant(orders=RDP_ORDERS)
    accountant.compose(dp_accounting.dp_event.RepeatAndSelectDpEvent(_rdp_event(mechanisms), runs, float("inf")))
    value = epsilon_with_tails(
        lambda left: float(accountant.get_epsilon(left)),
        variation=runs
        * total_variation((c.noise_source, c.steps * c.coordinates) for charges in releases for c in charges),
        delta=delta,
    )
    relation = ADD_OR_REMOVE if all(m.kind == "poisson" for m in mechanisms) else ZERO_OUT
    name = f"RDP of RepeatAndSelect, dp-accounting {package_version('dp-accounting')}"
    return Epsilon(value=value, relation=relation, accountant=name, by=RENYI)
