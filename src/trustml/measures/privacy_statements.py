"""From ledgers to privacy statements: epsilon, what it is compared with, and what it rests on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from trustml.measures.client_privacy import of_clients
from trustml.measures.evidence import Evidence
from trustml.measures.group_privacy import of_groups
from trustml.measures.participation import drawn_participation
from trustml.measures.releases import not_covered, releases_of
from trustml.measures.started_assumptions import assumptions_of
from trustml.measures.sweeps import choice_text, choices
from trustml.measures.wording import (
    clipping_text,
    contribution_of,
    mechanism_text,
    noise_source_text,
    released_text,
    sampling_text,
    trust_text,
)
from trustml.models.shapes import weight_shapes
from trustml.plan.cycles import stated_groups
from trustml.plan.job import TrainJob, trainable_of
from trustml.privacy.accounting import (
    Epsilon,
    epsilon_at_least,
    epsilon_if_poisson,
    epsilon_rdp,
    epsilon_released,
    epsilon_unamplified,
)
from trustml.privacy.crosscheck import SecondOpinion, prv_epsilons
from trustml.privacy.events import by_plan, participation_of
from trustml.privacy.ledger import UNAMPLIFIED, ZERO_OUT, Charge, Drawn
from trustml.privacy.shuffle_bound import shuffle_lower_bound
from trustml.privacy.statement import Comparison, PrivacyCurve, PrivacyStatement, TrainedWeights, at_most
from trustml.record.choices import composed_runs
from trustml.record.schema import tuned_runs
from trustml.record.starts import composed_with, earlier_charges, is_void, start_title
from trustml.scenario.federated import DPFedAvg, LocalDPFedAvg
from trustml.scenario.regimes import DPSGD, PrivateRegime
from trustml.scenario.trained_part import trained_part

_CURVE_POINTS = 9
_NOT_ASKED = SecondOpinion(why="Opacus's accountant is asked when the run ends")
_OTHER_SAMPLING = SecondOpinion(why="Opacus's accountant knows secret Poisson batches only")
_VOID = "no epsilon holds: rows of this data were trained on before without a guarantee that composes with this one"
_OF_THE_BEST = "of the best of several runs epsilon alone is computed: this would be of a run that was not chosen"


@dataclass(frozen=True, kw_only=True)
class Charged:
    """What a model was charged for, and what the start of its training was."""

    regime: PrivateRegime
    own: list[Charge]
    before: list[Charge]
    void: bool

    @property
    def all(self) -> list[Charge]:
        """Charges of both, which compose."""
        return [*self.own, *self.before]


def statements_of(evidence: Evidence, ledgers: Sequence[tuple[TrainJob, list[Charge]]]) -> list[PrivacyStatement]:
    """Give the statement of each private model that was charged for."""
    jobs = [
        (job, _charged(evidence, job.regime, charges))
        for job, charges in ledgers
        if isinstance(job.regime, PrivateRegime)
    ]
    poisson = [(charged.all, charged.regime.delta) for _, charged in jobs if _is_poisson(charged.all)]
    answers = iter(prv_epsilons(poisson) if evidence.second_opinion else [_NOT_ASKED] * len(poisson))
    found = []
    for job, charged in jobs:
        second = next(answers) if _is_poisson(charged.all) else _OTHER_SAMPLING
        found.append(_statement(evidence, job, charged, prv=second))
    return found


def _charged(evidence: Evidence, regime: PrivateRegime, charges: list[Charge]) -> Charged:
    before = list(itertools.chain.from_iterable(earlier_charges(evidence.manifest, regime)))
    return Charged(regime=regime, own=charges, before=before, void=is_void(evidence.manifest, regime))


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


def _statement(evidence: Evidence, job: TrainJob, charged: Charged, *, prv: SecondOpinion) -> PrivacyStatement:
    regime, charges, runs = charged.regime, charged.own, tuned_runs(evidence.manifest)
    of_both = composed_runs(evidence.manifest, [regime])
    epsilon = epsilon_released([charged.all], delta=regime.delta, tuned_runs=of_both)
    first = charges[0]
    joint = first.precision**-0.5
    secret = all(charge.secret_sampling for charge in charges)
    correlated = first.noise != "independent"
    releases = releases_of(evidence, job, regime, charges)
    most = None if correlated else drawn_participation(evidence, charges)
    others = _comparisons(charged, epsilon, prv, most=most)
    if of_both is not None:
        others = [_without_value(one, _OF_THE_BEST) for one in others]
    return PrivacyStatement(
        model=job.id,
        epsilon=epsilon.value if math.isfinite(epsilon.value) and not charged.void else None,
        # from below nothing is proved of the best of several runs
        epsilon_at_least=epsilon_at_least(charges, delta=regime.delta) if runs is None else None,
        delta=regime.delta,
        unit_of_privacy=first.unit,
        neighboring_relation=epsilon.relation,
        accountant=epsilon.accountant,
        mechanism=mechanism_text(first, regime),
        clipping=clipping_text(regime),
        clipping_norm=first.clipping_norm,
        noise_multiplier=joint,
        sampling=sampling_text(charges, contribution_of(regime)),
        sample_rate=first.sample_rate,
        expected_batch_size=first.batch_size,
        steps=sum(charge.steps for charge in charges),
        attempts=max(charge.attempt for charge in charges),
        data_size=first.examples,
        released=released_text(regime),
        hyperparameter_tuning=_tuning(evidence, charged),
        trust_setting=trust_text(regime),
        source_of_noise=noise_source_text(job, regime, first.noise_source),
        comparisons=(
            *([] if runs is None else [_of_one_run(evidence, charged, secret=secret)]),
            *others,
            *of_clients(evidence, job, regime, charges, why_none=_why_no_client(evidence, charged)),
            *of_groups(evidence, job, regime, charges, why_none=_why_no_group(evidence, charged)),
        ),
        assumptions=assumptions_of(evidence, job, regime, charges),
        not_covered=not_covered(releases),
        releases=releases,
        drawn=first.sampling,
        secret_sampling=secret,
        largest_participation=0 if secret else max(charge.largest_participation for charge in charges),
        accounted_by=epsilon.by,
        trained=_trained(evidence, job),
        cyclic=stated_groups(regime, charges),
        curve=None if correlated or charged.void or of_both is not None else _curve(charged, most=most),
        composed_with=composed_with(evidence.manifest, regime),
        contribution=contribution_of(regime),
    )


def _comparisons(charged: Charged, epsilon: Epsilon, prv: SecondOpinion, *, most: int | None) -> list[Comparison]:
    """Other epsilons for all that was charged; upper bounds have no value where no epsilon holds.

    `most` is the largest participation as it was drawn, None where that is not at hand.
    """
    charges, delta = charged.own, charged.regime.delta
    drawn, secret = charges[0].sampling, all(charge.secret_sampling for charge in charges)
    by_rdp = epsilon_rdp([charged.all], delta=delta)
    if charges[0].noise != "independent":
        found = _of_correlated(charged, by_rdp, drawn=drawn, secret=secret)
        return [_voided(one) for one in found] if charged.void else found
    found = []
    if isinstance(charged.regime, LocalDPFedAvg):  # nothing to draw: everybody sees who takes part
        found.append(_comparison("epsilon_rdp", by_rdp, "the same charges by Renyi DP", drawn=drawn, secret=secret))
        return [_voided(one) for one in found] if charged.void else found
    if not _is_poisson(charged.all):
        note = "if every batch had been a secret Poisson batch, which they were not"
        supposed = epsilon_if_poisson([charged.all], delta=delta)
        found.append(_comparison("epsilon_if_poisson", supposed, note, drawn="poisson", secret=True))
    found.append(_if_shuffled(charged))
    found.append(_unamplified(charged, most=most, drawn=drawn, secret=secret))
    found.append(_comparison("epsilon_rdp", by_rdp, "the same charges by Renyi DP", drawn=drawn, secret=secret))
    second = _second_opinion(prv, epsilon)
    found.append(msgspec.structs.replace(second, drawn=drawn, secret_sampling=secret))
    return [_voided(one) for one in found] if charged.void else found


def _of_correlated(charged: Charged, by_rdp: Epsilon, *, drawn: Drawn, secret: bool) -> list[Comparison]:
    """Compare what a training under correlated noise costs by Renyi DP, and were its batches known."""
    if drawn != "cyclic poisson" or not secret:
        steps = "rounds" if isinstance(charged.regime, DPFedAvg) else "steps"
        note = f"correlated noise: one Gaussian mechanism over all {steps}, with nothing to amplify"
        return [_comparison("epsilon_rdp", by_rdp, note, drawn=drawn, secret=secret)]
    visits, before = sum(charge.participation for charge in charged.own), _told_participation(charged.before)
    found = [_comparison("epsilon_rdp", by_rdp, "the same charges by Renyi DP", drawn=drawn, secret=secret)]
    if before is None:
        gone = "the batches of its start are not told"
        none = Comparison(name="epsilon_unamplified", value=None, note=gone, drawn=drawn, secret_sampling=secret)
        return [none, *found]
    most = visits + before
    known = epsilon_unamplified([charged.all], participation=most, delta=charged.regime.delta)
    note = f"over the {most} steps in which one example can be drawn"
    return [_comparison("epsilon_unamplified", known, note, drawn=drawn, secret=secret), *found]


def _why_no_group(evidence: Evidence, charged: Charged) -> str:
    """Say why nothing is proved of several examples together; empty where something is."""
    if charged.void:
        return _VOID
    if start_title(evidence.manifest, charged.regime):  # other rows, too, may be of the same users
        return "how many rows of a user its start was trained on is not told"
    if tuned_runs(evidence.manifest) is not None:
        return "nothing is proved of a group where a run was chosen among others"
    return ""


def _why_no_client(evidence: Evidence, charged: Charged) -> str:
    """Say why nothing is proved of one client by its rounds; empty where something is."""
    if charged.void:
        return _VOID
    if charged.before:
        return "what each client lost to its start is not told"
    if tuned_runs(evidence.manifest) is not None:
        return "nothing is proved of one client where a run was chosen among others"
    return ""


def _if_shuffled(charged: Charged) -> Comparison:
    """Lower bound of this training alone, which is one of both together, too."""
    lower = lower_bound_if_shuffled(charged.own, delta=charged.regime.delta)
    return Comparison(
        name="epsilon_shuffle_lower",
        value=lower,
        bound="at least",
        relation=ZERO_OUT,
        accountant="Chua et al. 2024, largest coordinate" if lower is not None else "",
        note="had the batches been shuffled epochs" if lower is not None else "the noise changed on the way",
        drawn="shuffle",
        own=lower is not None and (bool(charged.before) or charged.void),
    )


def _unamplified(charged: Charged, *, most: int | None, drawn: Drawn, secret: bool) -> Comparison:
    before = _told_participation(charged.before)
    if most is None or before is None:
        gone = "the batches are not at hand any more" if most is None else "the batches of its start are not told"
        name, left_out = "epsilon_unamplified", most is None
        return Comparison(name=name, value=None, note=gone, drawn=drawn, secret_sampling=secret, not_at_hand=left_out)
    note = f"over the {most + before} batches that one example was in at the most"
    known = epsilon_unamplified([charged.all], participation=most + before, delta=charged.regime.delta)
    return _comparison("epsilon_unamplified", known, note, drawn=drawn, secret=secret)


def _told_participation(charges: Sequence[Charge]) -> int | None:
    """Most batches that an example was in by the charges themselves; None where they do not tell."""
    for charge in charges:  # nodes of a tree add up to a squared sensitivity, which is no number of batches
        told = not charge.secret_sampling or charge.sampling in (*UNAMPLIFIED, "cyclic poisson")
        if not told or charge.noise == "tree aggregation":
            return None
    return sum(participation_of(plan) for plan in by_plan([charges]))


def _voided(other: Comparison) -> Comparison:
    return other if other.bound == "at least" else _without_value(other, _VOID)


def _without_value(other: Comparison, why: str) -> Comparison:
    return Comparison(
        name=other.name,
        value=None,
        bound=other.bound,
        note=why,
        drawn=other.drawn,
        secret_sampling=other.secret_sampling,
    )


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


def _curve(charged: Charged, *, most: int | None) -> PrivacyCurve:
    """Epsilon after a part of the steps; participation is taken in proportion to them."""
    charges, delta = charged.own, charged.regime.delta
    before = _told_participation(charged.before)
    total = sum(charge.steps for charge in charges)
    if most is None:
        most = math.ceil(total * charges[0].sample_rate)
    steps = sorted({max(1, round(total * part / _CURVE_POINTS)) for part in range(1, _CURVE_POINTS + 1)})
    drawn = not isinstance(charged.regime, LocalDPFedAvg)  # there is nothing to draw otherwise
    poisson: list[float | None] = []
    lower: list[float | None] = []
    unamplified: list[float | None] = []
    for count in steps:
        part = _first_steps(charges, count)
        both = [*part, *charged.before]
        poisson.append(epsilon_if_poisson([both], delta=delta).value if drawn else None)
        lower.append(lower_bound_if_shuffled(part, delta=delta) if drawn and not charged.before else None)
        share = max(1, math.ceil(most * count / total))
        if before is None:
            unamplified.append(None)
            continue
        unamplified.append(epsilon_unamplified([both], participation=share + before, delta=delta).value)
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


def _of_one_run(evidence: Evidence, charged: Charged, *, secret: bool) -> Comparison:
    """What would hold had this run been the only one, which the best of several is not."""
    runs = evidence.manifest.start.tuned_runs if evidence.manifest.start and charged.before else None
    found = epsilon_released([charged.all], delta=charged.regime.delta, tuned_runs=runs)
    note = "if this run had not been chosen among others, which it was"
    single = _comparison("epsilon_single_run", found, note, drawn=charged.own[0].sampling, secret=secret)
    return _voided(single) if charged.void else single


def _tuning(evidence: Evidence, charged: Charged) -> str:
    tuning = evidence.manifest.scenario.get("tuning")
    choice = evidence.once(choices).get(charged.regime.title)
    if choice is not None:
        return choice_text(choice)
    if not tuning:
        return "not part of a declared sweep; if hyperparameters were chosen on this data, that is not covered"
    best = f"best of a Poisson number of runs, {tuning['mean_runs']:g} in the mean: "
    if charged.void:
        return best + "no epsilon holds, as its start saw rows of this data without a guarantee that composes"
    delta = charged.regime.delta
    runs = composed_runs(evidence.manifest, [charged.regime], own=float(tuning["mean_runs"]))
    found = epsilon_released([charged.all], delta=delta, tuned_runs=runs)
    return (
        f"{best}epsilon at most {at_most(found.value, 4)} at delta {delta:g}, under adding or removing or zeroing out "
        "one, for the released run (RepeatAndSelect, RDP, dp-accounting)"
    )
