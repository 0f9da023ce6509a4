"""The numbers of a private training, fixed before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from trustml.data.batches import BatchPlan, participation
from trustml.data.dataset import Ints
from trustml.errors import PrivacyError, ScenarioError
from trustml.frameworks.table import entry_of
from trustml.models.weights import Weights
from trustml.plan.cycles import groups_of, noise_of_groups
from trustml.plan.job import Mechanism
from trustml.privacy.calibration import (
    affordable_steps,
    calibrated_noise,
    calibrated_noise_fixed,
    calibrated_noise_unamplified,
)
from trustml.privacy.ledger import UNAMPLIFIED, Charge, NoiseKind, relation_of
from trustml.privacy.noise_strategy import noise_strategy
from trustml.privacy.tails import NoiseSource, noise_source, spared
from trustml.scenario.clipping import Adaptive
from trustml.scenario.federated import (
    BandedMatrix,
    BufferedToeplitz,
    IndependentNoise,
    NoiseMechanism,
    TreeAggregation,
)
from trustml.scenario.regimes import DPSGD, Sampling
from trustml.scenario.spec import BackendName

COUNT_SENSITIVITY = 0.5
"""An example counts as +1/2 or -1/2, so it moves the count of unclipped examples by this much."""


@dataclass(frozen=True, kw_only=True)
class NoiseDraw:
    """Where the noise comes from.

    Attributes
    ----------
    source : str
        See :data:`trustml.privacy.tails.TAILS`; empty where it is not known.
    coordinates : int
        Numbers of one step: one a weight, and one for the count of an adaptive clipping norm.
    """

    source: NoiseSource
    coordinates: int


UNKNOWN = NoiseDraw(source="", coordinates=0)


def drawn_for(
    mechanism: Mechanism, *, backend: str, stock: bool = False, federated: bool = False, weights: Weights
) -> NoiseDraw:
    """Say what a backend draws for a mechanism, and how much."""
    numbers = sum(array.size for array in weights.values()) + bool(mechanism.count_noise)
    if mechanism.noise == "tree aggregation" and federated:  # TFF draws for every level anew
        numbers *= 1 + mechanism.total_steps.bit_length()
    return NoiseDraw(source=noise_source(backend, federated=federated, stock=stock), coordinates=numbers)


def plan_mechanism(regime: DPSGD, *, field: str, examples: int, plan: BatchPlan) -> Mechanism:
    """Calibrate the noise to the target, or take the one that was given.

    Parameters
    ----------
    regime : DPSGD
    field : str
        Path of the regime in the scenario, for errors.
    examples : int
        Size of the training set; of users, where the unit is one, their number.
    plan : BatchPlan
        The batches as drawn; where they are not secret, the target must hold without amplification.

    Raises
    ------
    ScenarioError
        If the target cannot be reached.
    """
    steps = regime.total_steps(examples)
    secret = regime.sampling_seed is None
    an_epoch = math.ceil(examples / regime.batch_size)
    groups = groups_of(regime, examples)
    separation = an_epoch if regime.sampling == "in turn" else groups
    largest = _told_participation(regime, plan, examples, separation=separation)
    noise = regime.noise_multiplier
    if noise is None:
        try:
            noise = _calibrated(regime, examples=examples, steps=steps, largest=largest)
        except ScenarioError as error:
            raise ScenarioError(f"{field}.epsilon", error.problem, fix=error.fix) from error
    count_noise = 0.0
    if isinstance(regime.clipping, Adaptive):
        noise, count_noise = split_noise(noise, regime.clipping, batch_size=regime.batch_size, field=field)
    return Mechanism(
        noise_multiplier=noise,
        count_noise=count_noise,
        clipping_norm=regime.clipping_norm,
        sample_rate=groups * regime.batch_size / examples,
        expected_batch_size=regime.batch_size,
        examples=examples,
        sampling=regime.sampling,
        secret_sampling=secret,
        largest_participation=largest,
        total_steps=steps,
        steps=steps,
        steps_per_charge=_steps_per_charge(regime, steps=steps, an_epoch=an_epoch),
        unit=regime.unit,
        noise=noise_kind(regime.mechanism),
        separation=separation,
    )


def noise_kind(mechanism: NoiseMechanism) -> NoiseKind:
    """Name the way the noise of steps, or of rounds, hangs together."""
    match mechanism:
        case IndependentNoise():
            return "independent"
        case TreeAggregation():
            return "tree aggregation"
        case BandedMatrix():
            return "banded matrix factorisation"
        case BufferedToeplitz():
            return "buffered linear Toeplitz"


def _steps_per_charge(regime: DPSGD, *, steps: int, an_epoch: int) -> int:
    """Give a tenth of an epoch, so that a kill wastes little, and a thousand charges at most."""
    if not isinstance(regime.mechanism, IndependentNoise):
        return steps  # one release
    if regime.sampling in ("shuffle", "in turn"):
        return an_epoch
    return max(1, an_epoch // 10, math.ceil(steps / 1000))


def stock_mechanism(regime: DPSGD, backend: BackendName, *, field: str, examples: int) -> Mechanism:
    """Give the numbers of the library's own training loop, as that really samples.

    Opacus's loader draws Poisson batches at the rate 1 / (number of batches of an epoch); its generator is
    PyTorch's default one. Keras shuffles, and nothing is amplified.

    Raises
    ------
    ScenarioError
        If the target cannot be reached, or the regime wants a sampling that the library does not do.
    """
    batches = math.ceil(examples / regime.batch_size)
    epochs = 20 if regime.epochs is None else regime.epochs
    noise_of = entry_of(backend).noise
    assert noise_of is not None  # an engine is not supported without
    real: Sampling = noise_of.engine_sampling
    steps = epochs * batches
    noise = regime.noise_multiplier
    if noise is None:
        assert regime.epsilon is not None
        try:
            noise = (
                calibrated_noise(epsilon=regime.epsilon, delta=regime.delta, sample_rate=1 / batches, steps=steps)
                if real == "poisson"
                else calibrated_noise_unamplified(epsilon=regime.epsilon, delta=regime.delta, participation=epochs)
            )
        except ScenarioError as error:
            raise ScenarioError(f"{field}.epsilon", error.problem, fix=error.fix) from error
    return Mechanism(
        noise_multiplier=noise,
        clipping_norm=regime.clipping_norm,
        sample_rate=1 / batches if real == "poisson" else regime.batch_size / examples,
        expected_batch_size=regime.batch_size,
        examples=examples,
        sampling=real,
        secret_sampling=True,
        largest_participation=steps if real == "poisson" else epochs,
        total_steps=steps,
        steps=steps,
        steps_per_charge=batches,
    )


def split_noise(noise: float, clipping: Adaptive, *, batch_size: int, field: str) -> tuple[float, float]:
    """Share one noise multiplier between the gradient and the count of unclipped examples.

    Andrew et al., NeurIPS 2021, theorem 1: a step that releases both is one Gaussian mechanism whose noise
    multiplier z has ``z**-2 = z_gradient**-2 + (2 * count_noise)**-2``.

    Returns
    -------
    noise_multiplier, count_noise : float

    Raises
    ------
    ScenarioError
        If the noise on the count leaves nothing for the gradient.
    """
    count_noise = clipping.count_noise or max(batch_size / 10, noise)
    left = noise**-2 - (COUNT_SENSITIVITY / count_noise) ** 2
    if left <= 0:
        raise ScenarioError(
            f"{field}.clipping.count_noise",
            f"{count_noise} spends the whole noise multiplier {noise:.4g} on the count",
            fix=f"use more than {noise / 2:.4g}, or 0 for the default",
        )
    return left**-0.5, count_noise


def joint_noise(mechanism: Mechanism) -> float:
    """Noise multiplier of all that a step releases: of the gradient and of the count (:func:`split_noise`)."""
    if not mechanism.count_noise:
        return mechanism.noise_multiplier
    return float((mechanism.noise_multiplier**-2 + (COUNT_SENSITIVITY / mechanism.count_noise) ** 2) ** -0.5)


def make_charge(
    mechanism: Mechanism,
    *,
    first: int,
    end: int,
    plan: str,
    data: str,
    block: int | None = None,
    drawn: NoiseDraw = UNKNOWN,
) -> Charge:
    """Give the ledger's line for steps ``first <= step < end`` of this attempt's plan.

    Parameters
    ----------
    mechanism : Mechanism
    first, end : int
    plan, data : str
        Commitment to the batches; fingerprint of the data.
    block : int, optional
        Most batches of the block that any one example is in; None where that is not told.
    drawn : NoiseDraw
        What draws the noise, and how many numbers a step.
    """
    steps = end - first
    return Charge(
        attempt=mechanism.attempt,
        first_step=first,
        end_step=end,
        noise_multiplier=mechanism.noise_multiplier,
        quantile_noise_multiplier=mechanism.count_noise / COUNT_SENSITIVITY,
        clipping_norm=mechanism.clipping_norm,
        sample_rate=mechanism.sample_rate,
        batch_size=mechanism.expected_batch_size,
        examples=mechanism.examples,
        sampling=mechanism.sampling,
        secret_sampling=mechanism.secret_sampling,
        participation=steps if block is None else block,
        largest_participation=mechanism.largest_participation,
        plan=plan,
        data=data,
        unit=mechanism.unit,
        relation=mechanism.relation or relation_of(mechanism.sampling, secret=mechanism.secret_sampling),
        noise=mechanism.noise,
        users=mechanism.users if mechanism.unit == "user" else "",  # what examples are of composes with all
        noise_source=drawn.source,
        coordinates=drawn.coordinates,
    )


def tells_participation(mechanism: Mechanism) -> bool:
    """Whether the ledger may say how often examples are drawn: not where that is a secret, and no mere bound."""
    public = mechanism.sampling in UNAMPLIFIED or not mechanism.secret_sampling
    return public or mechanism.noise != "independent"


def check_draws(mechanism: Mechanism, sizes: Ints, *, examples: int, name: str) -> None:
    """Refuse batches that hold more than what is charged for, as those of another plan would.

    The sum over Poisson batches is binomial: it is further above its mean than is allowed here with probability 1e-13
    at the most. What is not drawn at random is counted where it is charged.

    Parameters
    ----------
    mechanism : Mechanism
    sizes : int array of shape (steps,)
        Examples of each batch, or clients of each cohort.
    examples : int
        Of whom there are so many.
    name : str
        Of the job, for errors.

    Raises
    ------
    PrivacyError
    """
    most = float(mechanism.expected_batch_size)
    total = float(sizes.max(initial=0))
    if mechanism.sampling in ("poisson", "cyclic poisson"):
        expected = mechanism.sample_rate * examples * len(sizes) / mechanism.separation
        most, total = expected + 8 * math.sqrt(expected) + 32, float(sizes.sum())
    if mechanism.sampling in ("poisson", "cyclic poisson", "fixed") and total > most:
        raise PrivacyError(
            f"{name}: its batches are larger than those of rate {mechanism.sample_rate:.4g} that it is charged for; "
            "its plan is another one's or damaged, so start a new run"
        )


def next_attempt(
    mechanism: Mechanism,
    spent: list[Charge],
    regime: DPSGD,
    *,
    plan: BatchPlan,
    start_step: int,
    allow_overrun: bool,
) -> Mechanism:
    """Give the mechanism of another attempt, after `spent`, on batches of its own.

    It takes as many steps as still fit under the target; all that are left if the regime has no target or the
    user accepts a larger epsilon.
    """
    attempt = 1 + max((entry.attempt for entry in spent), default=0)
    if regime.engine == "core":
        largest = _told_participation(regime, plan, mechanism.examples, separation=mechanism.separation)
        fresh = msgspec.structs.replace(
            mechanism, attempt=attempt, start_step=start_step, steps=len(plan), largest_participation=largest
        )
    else:  # the library's own training loop draws its batches, and begins anew
        fresh = msgspec.structs.replace(mechanism, attempt=attempt, steps=mechanism.total_steps)
    if not spent or regime.epsilon is None or allow_overrun:
        return fresh
    steps = steps_within(fresh, spent, epsilon=regime.epsilon, delta=regime.delta)
    if regime.engine != "core":
        steps -= steps % fresh.steps_per_charge  # it runs whole epochs
    return msgspec.structs.replace(fresh, steps=steps)


def steps_within(fresh: Mechanism, spent: Sequence[Charge], *, epsilon: float, delta: float) -> int:
    """Steps of another attempt that still fit under the target after what is spent."""
    told = fresh.largest_participation if tells_participation(fresh) else None
    planned = make_charge(
        fresh, first=0, end=fresh.steps, plan=f"attempt {fresh.attempt}", data="", block=told, drawn=drawn_by(spent)
    )
    return affordable_steps(spent, planned, epsilon=epsilon, delta=delta)


def drawn_by(charges: Sequence[Charge]) -> NoiseDraw:
    """Give what drew the noise of earlier charges."""
    last = charges[-1]
    return NoiseDraw(source=last.noise_source, coordinates=last.coordinates)


def _told_participation(regime: DPSGD, plan: BatchPlan, examples: int, *, separation: int) -> int:
    """Most batches of any one example; with correlated noise, the squared sensitivity of all that is released."""
    if not isinstance(regime.mechanism, IndependentNoise):
        return noise_strategy(regime.mechanism, steps=len(plan), separation=separation).participation
    secret = regime.sampling_seed is None and regime.sampling not in UNAMPLIFIED
    return len(plan) if secret else int(participation(plan, examples).max(initial=0))


def _calibrated(regime: DPSGD, *, examples: int, steps: int, largest: int) -> float:
    assert regime.epsilon is not None
    if regime.sampling == "cyclic poisson":
        return noise_of_groups(regime, examples, groups=groups_of(regime, examples))
    delta = spared(regime.delta)
    if regime.sampling_seed is not None or regime.sampling in UNAMPLIFIED:
        return calibrated_noise_unamplified(epsilon=regime.epsilon, delta=delta, participation=max(1, largest))
    if regime.sampling == "fixed":
        return calibrated_noise_fixed(
            epsilon=regime.epsilon,
            delta=delta,
            batch_size=regime.batch_size,
            examples=examples,
            steps=steps,
        )
    return calibrated_noise(epsilon=regime.epsilon, delta=delta, sample_rate=regime.batch_size / examples, steps=steps)
