"""From ledgers to privacy statements: epsilon, what it is compared with, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from trustml.data.batches import BatchPlan, participation
from trustml.data.clients import read_federated_plan, rounds_visited
from trustml.measures.assumptions import assumptions_of
from trustml.measures.evidence import Evidence
from trustml.measures.releases import not_covered, releases_of
from trustml.measures.sweeps import choice_text, choices
from trustml.measures.wording import (
    clipping_text,
    mechanism_text,
    noise_source_text,
    released_text,
    sampling_text,
    trust_text,
)
from trustml.models.shapes import weight_shapes
from trustml.plan.job import TrainJob, trainable_of
from trustml.privacy.accounting import (
    Epsilon,
    epsilon_at_least,
    epsilon_if_poisson,
    epsilon_of,
    epsilon_rdp,
    epsilon_released,
    epsilon_unamplified,
    epsilon_with_tuning,
)
from trustml.privacy.crosscheck import SecondOpinion, prv_epsilons
from trustml.privacy.ledger import UNAMPLIFIED, ZERO_OUT, Charge, Drawn
from trustml.privacy.shuffle_bound import shuffle_lower_bound
from trustml.privacy.statement import Comparison, PrivacyCurve, PrivacyStatement, TrainedWeights, at_most
from trustml.record.files import read_arrays
from trustml.record.schema import tuned_runs
from trustml.record.starts import earlier_charges, is_void, start_title
from trustml.scenario.regimes import DPSGD, PrivateRegime
from trustml.scenario.trained_part import trained_part

_CURVE_POINTS = 9
_NOT_ASKED = SecondOpinion(why="Opacus's accountant is asked when the run ends")
_OTHER_SAMPLING = SecondOpinion(why="Opacus's accountant knows secret Poisson batches only")


def statements_of(evidence: Evidence, ledgers: Sequence[tuple[TrainJob, list[Charge]]]) -> list[PrivacyStatement]:
    """Give the statement of each private model that was charged for."""
    jobs = [(job, job.regime, charges) for job, charges in ledgers if isinstance(job.regime, PrivateRegime)]
    poisson = [(charges, regime.delta) for _, regime, charges in jobs if _is_poisson(charges)]
    answers = iter(prv_epsilons(poisson) if evidence.second_opinion else [_NOT_ASKED] * len(poisson))
    found = []
    for job, regime, charges in jobs:
        second = next(answers) if _is_poisson(charges) else _OTHER_SAMPLING
        found.append(_statement(evidence, job, regime, charges, prv=second))
    return found


def drawn_participation(evidence: Evidence, charges: Sequence[Charge]) -> int | None:
    """Most batches that any one example really was in, over all attempts; None if the plans are gone."""
    total = np.zeros(charges[0].examples, np.int64)
    plans = evidence.plans
    for charge in charges:
        if charge.plan not in plans:
            told = charge.sampling in UNAMPLIFIED
            if not told:
                return None
            total += charge.participation
            continue
        arrays = read_arrays(plans[charge.plan])
        if charge.unit == "user":
            rounds = read_federated_plan(arrays)
            total += rounds_visited(rounds, len(total), first=charge.first_step, end=charge.end_step)
            continue
        plan = BatchPlan(indices=arrays["indices"].astype(np.int64), offsets=arrays["offsets"].astype(np.int64))
        total += participation(plan, len(total), first=charge.first_step, end=charge.end_step)
    return int(total.max(initial=0))


def lower_bound_if_shuffled(charges: Sequence[Charge], *, delta: float) -> float | None:
    """Give the lower bound for as many whole shuffled epochs as were charged; None if the noise changed."""
    if len({charge.noise_multiplier for charge in charges}) > 1:
        return None
    per_epoch = math.ceil(charges[0].examples / charges[0].batch_size)
    return shuffle_lower_bound(
        noise_multiplier=charges[0].noise_multiplier,
        steps_per_epoch=per_epoch,
        epochs=sum(charge.steps for charge in charges) // per_epoch,
        delta=delta,
    )


def _trained(evidence: Evidence, job: TrainJob) -> TrainedWeights | None:
    """Say which weights a job trains, where not all of them."""
    trainable = trainable_of(job)
    if not trainable or not isinstance(job.regime, DPSGD):
        return None
    part = trained_part(trainable, job.model, job.input_shape)
    shapes = weight_shapes(part.architecture, job.input_shape)
    return TrainedWeights(
        names=part.trained,
        count=sum(math.prod(shapes[name]) for name in part.trained),
        weights=sum(map(math.prod, shapes.values())),
        start=start_title(evidence.manifest, job.regime),
    )


def _statement(
    evidence: Evidence, job: TrainJob, regime: PrivateRegime, charges: list[Charge], *, prv: SecondOpinion
) -> PrivacyStatement:
    runs = tuned_runs(evidence.manifest)
    earlier = earlier_charges(evidence.manifest, regime)
    epsilon = epsilon_released([charges, *earlier], delta=regime.delta, tuned_runs=runs)
    void = is_void(evidence.manifest, regime)
    first = charges[0]
    joint = first.precision**-0.5
    secret = all(charge.secret_sampling for charge in charges)
    correlated = first.noise != "independent"
    releases = releases_of(evidence, job, regime, charges)
    return PrivacyStatement(
        model=job.id,
        epsilon=epsilon.value if math.isfinite(epsilon.value) and not void else None,
        # from below nothing is proved of the best of several runs
        epsilon_at_least=epsilon_at_least(charges, delta=regime.delta) if runs is None else None,
        delta=regime.delta,
        unit_of_privacy=first.unit,
        neighboring_relation=epsilon.relation,
        accountant=epsilon.accountant,
        mechanism=mechanism_text(first),
        clipping=clipping_text(regime),
        clipping_norm=first.clipping_norm,
        noise_multiplier=joint,
        sampling=sampling_text(charges),
        sample_rate=first.sample_rate,
        expected_batch_size=first.batch_size,
        steps=sum(charge.steps for charge in charges),
        attempts=max(charge.attempt for charge in charges),
        data_size=first.examples,
        released=released_text(regime),
        hyperparameter_tuning=_tuning(evidence, charges, regime),
        trust_setting=trust_text(regime),
        source_of_noise=noise_source_text(job, regime, first.noise_source),
        comparisons=(
            *([] if runs is None else [_of_one_run(charges, regime, secret=secret)]),
            *_comparisons(evidence, charges, regime, epsilon, prv),
        ),
        assumptions=assumptions_of(evidence, job, regime, charges),
        not_covered=not_covered(releases),
        releases=releases,
        drawn=first.sampling,
        secret_sampling=secret,
        largest_participation=0 if secret else max(charge.largest_participation for charge in charges),
        accounted_by=epsilon.by,
        trained=_trained(evidence, job),
        curve=None if correlated else _curve(charges, regime, most=drawn_participation(evidence, charges)),
    )


def _comparisons(
    evidence: Evidence, charges: list[Charge], regime: PrivateRegime, epsilon: Epsilon, prv: SecondOpinion
) -> list[Comparison]:
    delta = regime.delta
    drawn, secret = charges[0].sampling, all(charge.secret_sampling for charge in charges)
    found: list[Comparison] = []
    if charges[0].noise != "independent":
        steps = "rounds" if charges[0].unit == "user" else "steps"
        note = f"correlated noise: one Gaussian mechanism over all {steps}, with nothing to amplify"
        return [_comparison("epsilon_rdp", epsilon_rdp([charges], delta=delta), note, drawn=drawn, secret=secret)]
    if not _is_poisson(charges):
        note = "if every batch had been a secret Poisson batch, which they were not"
        supposed = epsilon_if_poisson([charges], delta=delta)
        found.append(_comparison("epsilon_if_poisson", supposed, note, drawn="poisson", secret=True))
    lower = lower_bound_if_shuffled(charges, delta=delta)
    found.append(
        Comparison(
            name="epsilon_shuffle_lower",
            value=lower,
            bound="at least",
            relation=ZERO_OUT,
            accountant="Chua et al. 2024, largest coordinate" if lower is not None else "",
            note="had the batches been shuffled epochs" if lower is not None else "the noise changed on the way",
            drawn="shuffle",
        )
    )
    most = drawn_participation(evidence, charges)
    if most is None:
        gone = "the batches are not at hand any more"
        found.append(Comparison(name="epsilon_unamplified", value=None, note=gone, drawn=drawn, not_at_hand=True))
    else:
        note = f"over the {most} batches that one example was in at the most"
        known = epsilon_unamplified([charges], participation=most, delta=delta)
        found.append(_comparison("epsilon_unamplified", known, note, drawn=drawn, secret=secret))
    by_rdp = epsilon_rdp([charges], delta=delta)
    found.append(_comparison("epsilon_rdp", by_rdp, "the same charges by Renyi DP", drawn=drawn, secret=secret))
    second = _second_opinion(prv, epsilon)
    return [*found, msgspec.structs.replace(second, drawn=drawn, secret_sampling=secret)]


def _second_opinion(prv: SecondOpinion, epsilon: Epsilon) -> Comparison:
    if prv.value is None:
        return Comparison(name="epsilon_prv", value=None, note=prv.why)
    fits = "fits what is proved of epsilon from below and from above"
    apart = "WARNING: outside of what is proved of epsilon from below and from above: one of the two is wrong"
    return Comparison(
        name="epsilon_prv",
        value=prv.value,
        relation=epsilon.relation,
        accountant=f"Opacus PRV, error {prv.error:.2g}",
        note=fits if prv.agrees else apart,
        agrees=prv.agrees,
    )


def _comparison(name: str, epsilon: Epsilon, note: str, *, drawn: Drawn, secret: bool) -> Comparison:
    return Comparison(
        name=name,
        value=epsilon.value if math.isfinite(epsilon.value) else None,
        relation=epsilon.relation,
        accountant=epsilon.accountant,
        note=note,
        drawn=drawn,
        secret_sampling=secret,
    )


def _curve(charges: list[Charge], regime: PrivateRegime, *, most: int | None) -> PrivacyCurve:
    """Epsilon after a part of the steps; participation is taken in proportion to them."""
    total = sum(charge.steps for charge in charges)
    if most is None:
        most = math.ceil(total * charges[0].sample_rate)
    steps = sorted({max(1, round(total * part / _CURVE_POINTS)) for part in range(1, _CURVE_POINTS + 1)})
    poisson, lower, unamplified = [], [], []
    for count in steps:
        part = _first_steps(charges, count)
        poisson.append(epsilon_if_poisson([part], delta=regime.delta).value)
        lower.append(lower_bound_if_shuffled(part, delta=regime.delta))
        share = max(1, math.ceil(most * count / total))
        unamplified.append(epsilon_unamplified([part], participation=share, delta=regime.delta).value)
    finite = [
        tuple(v if v is not None and math.isfinite(v) else None for v in row) for row in (poisson, lower, unamplified)
    ]
    return PrivacyCurve(steps=tuple(steps), poisson=finite[0], shuffle_lower=finite[1], unamplified=finite[2])


def _first_steps(charges: list[Charge], count: int) -> list[Charge]:
    left, found = count, []
    for charge in charges:
        used = min(left, charge.steps)
        if used:
            found.append(msgspec.structs.replace(charge, end_step=charge.first_step + used))
        left -= used
    return found


def _is_poisson(charges: Sequence[Charge]) -> bool:
    return all(charge.sampling == "poisson" and charge.secret_sampling for charge in charges)


def _of_one_run(charges: list[Charge], regime: PrivateRegime, *, secret: bool) -> Comparison:
    """What would hold had this run been the only one, which the best of several is not."""
    found = epsilon_of(charges, delta=regime.delta)
    note = "if this run had not been chosen among others, which it was"
    return _comparison("epsilon_single_run", found, note, drawn=charges[0].sampling, secret=secret)


def _tuning(evidence: Evidence, charges: list[Charge], regime: PrivateRegime) -> str:
    tuning = evidence.manifest.scenario.get("tuning")
    choice = evidence.once(choices).get(regime.title)
    if choice is not None:
        return choice_text(choice)
    if not tuning:
        return "not part of a declared sweep; if hyperparameters were chosen on this data, that is not covered"
    found = epsilon_with_tuning([charges], runs=float(tuning["mean_runs"]), delta=regime.delta)
    return (
        f"best of a Poisson number of runs, {tuning['mean_runs']:g} in the mean: epsilon at most "
        f"{at_most(found.value, 4)} at delta {regime.delta:g}, under adding or removing or zeroing out one, for the "
        "released run (RepeatAndSelect, RDP, dp-accounting)"
    )
