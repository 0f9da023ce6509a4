"""What banded noise on cyclic Poisson batches tells of one example, against its charge: by arithmetic, and by attack.

The attack is the strongest there is. Everybody else's gradients are known and nought, the example's is 1 in every step
that it is in, its group is told, and the likelihood of all outputs is worked out over every set of steps it can be in.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.privacy.test_tails import made
from trustml.data.batches import comes_in_cycles, cyclic_poisson_batches, make_plan
from trustml.plan.cycles import error_of_sums, groups_of
from trustml.plan.mechanism import plan_mechanism
from trustml.privacy.accounting import epsilon_of, epsilon_of_releases, gaussian_epsilon
from trustml.privacy.events import mechanisms_of
from trustml.privacy.groups import epsilon_of_group
from trustml.privacy.ledger import ADD_OR_REMOVE, ZERO_OUT, Charge, relation_of
from trustml.privacy.noise_strategy import banded_error, noise_matrix, noise_strategy
from trustml.scenario.federated import BandedMatrix
from trustml.scenario.regimes import DPSGD

DELTA, TRIALS = 1e-2, 100_000


def charged(*, groups: int, steps: int, noise: float, rate: float, **changes) -> Charge:
    """One line of a ledger: of 1,000 examples, so many groups, each drawn from at `rate`."""
    visits = -(-steps // groups)
    usual = {
        "end_step": steps, "noise_multiplier": noise, "sample_rate": rate, "batch_size": round(1000 * rate / groups),
        "examples": 1000, "sampling": "cyclic poisson", "secret_sampling": True, "participation": visits,
        "largest_participation": visits, "noise": "banded matrix factorisation",
        "relation": relation_of("cyclic poisson", secret=True),
    }  # fmt: skip
    return made(**{**usual, **changes})


@pytest.mark.parametrize(
    ("groups", "steps", "noise", "rate"), [(1, 300, 1.0, 0.02), (4, 90, 1.5, 0.2), (7, 7, 0.8, 0.5)]
)
def test_the_charge_is_that_of_one_groups_poisson_batches(groups, steps, noise, rate):
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
    from dp_accounting.pld import PLDAccountant

    charge = charged(groups=groups, steps=steps, noise=noise, rate=rate)
    assert charge.groups == groups
    accountant = PLDAccountant(value_discretization_interval=1e-3)
    event = PoissonSampledDpEvent(rate, GaussianDpEvent(noise))
    accountant.compose(SelfComposedDpEvent(event, math.ceil(steps / groups)))
    found = epsilon_of([charge], delta=1e-5)
    assert found.value == pytest.approx(accountant.get_epsilon(1e-5), rel=2e-2)
    assert found.relation == ADD_OR_REMOVE


def test_one_group_is_dp_sgd():
    for noise, rate, steps in ((0.7, 0.01, 500), (2.0, 0.1, 40)):
        one = charged(groups=1, steps=steps, noise=noise, rate=rate)
        sgd = made(
            end_step=steps, noise_multiplier=noise, sample_rate=rate, batch_size=round(1000 * rate), examples=1000,
            sampling="poisson", secret_sampling=True, participation=steps, largest_participation=steps,
        )  # fmt: skip
        assert epsilon_of([one], delta=1e-5) == epsilon_of([sgd], delta=1e-5)


@settings(deadline=None, max_examples=6)
@given(st.sampled_from([0.8, 1.5, 4.0]), st.sampled_from([0.005, 0.02]))
def test_more_groups_cost_more_and_never_as_much_as_batches_that_are_known(noise, rate):
    steps, found = 240, []
    for groups in (1, 2, 4, 8):
        charge = charged(groups=groups, steps=steps, noise=noise, rate=groups * rate)
        found.append(epsilon_of([charge], delta=1e-5).value)
        known = charged(
            groups=groups, steps=steps, noise=noise, rate=groups * rate, secret_sampling=False,
            relation=relation_of("cyclic poisson", secret=False),
        )  # fmt: skip
        told = epsilon_of([known], delta=1e-5)
        assert told.value == pytest.approx(gaussian_epsilon(steps / groups / noise**2, delta=1e-5), rel=1e-6)
        assert found[-1] < told.value and told.relation == ZERO_OUT
    assert all(less < more for less, more in itertools.pairwise(found))


def test_models_on_the_same_secret_batches_are_one_mechanism_and_attempts_are_composed():
    one = charged(groups=4, steps=40, noise=2.0, rate=0.2)
    both = epsilon_of_releases([[one], [one]], delta=1e-5).value
    joint = charged(groups=4, steps=40, noise=2.0 / math.sqrt(2), rate=0.2)
    assert both == pytest.approx(epsilon_of([joint], delta=1e-5).value, rel=1e-9)
    apart = charged(groups=4, steps=40, noise=2.0, rate=0.2, plan="other")
    assert epsilon_of_releases([[one], [apart]], delta=1e-5).value < both, "batches drawn again are other secrets"
    again = charged(groups=4, steps=21, noise=2.0, rate=0.2, plan="again", attempt=2)
    (ten, six) = sorted(mechanisms_of([[one, again]]), key=lambda event: -event.count)
    assert (ten.count, six.count) == (10, 6)
    assert epsilon_of([one, again], delta=1e-5).value > epsilon_of([one], delta=1e-5).value


def test_of_a_group_nothing_is_amplified():
    """Examples of several groups meet columns that overlap, of which the theorem says nothing."""
    charge = charged(groups=4, steps=40, noise=6.0, rate=0.2)
    found = epsilon_of_group([charge], size=3, delta=1e-5)
    assert found.value == pytest.approx(gaussian_epsilon(9 * 10 / 36, delta=1e-5), rel=1e-6)
    factor = np.linalg.inv(noise_matrix(noise_strategy(BandedMatrix(bands=4), steps=40, separation=4)))
    together = factor[:, 0::4].sum(axis=1) + factor[:, 1::4].sum(axis=1) + factor[:, 2::4].sum(axis=1)
    assert 3 * 10 * 1.5 < together @ together <= 9 * 10, "so much more than three apart: the mixture would not cover it"


def test_one_example_is_amplified_as_it_is_charged():
    several = charged(groups=4, steps=8, noise=2.0, rate=0.5)
    alone = epsilon_of_group([several], size=1, delta=1e-5)
    assert alone.value == pytest.approx(epsilon_of([several], delta=1e-5).value, rel=2e-2)
    assert alone.relation == ADD_OR_REMOVE


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.long), 3])
def test_examples_of_one_group_are_amplified_as_those_of_poisson_batches(size):
    one = charged(groups=1, steps=4, noise=1.0, rate=0.2)
    sgd = replace(one, sampling="poisson", noise="independent")
    found = epsilon_of_group([one], size=size, delta=1e-5)
    assert found == epsilon_of_group([sgd], size=size, delta=1e-5)
    assert found.value < gaussian_epsilon(size**2 * 4, delta=1e-5)


def cyclic(groups: int, steps: int, rate: float, generator: np.random.Generator) -> np.ndarray:
    """Groups told and kept: one row of steps for each trial, in which the example can be drawn."""
    turn = generator.integers(groups, size=TRIALS)
    return np.arange(steps)[None] % groups == turn[:, None]


def mixed(groups: int, steps: int, rate: float, generator: np.random.Generator) -> np.ndarray:
    """Groups drawn anew for each cycle, which is *not* what is proved."""
    cycles = -(-steps // groups)
    turn = generator.integers(groups, size=(TRIALS, cycles))
    numbers = np.arange(steps)
    return numbers[None] % groups == turn[:, numbers // groups]


def deltas(
    eligible: np.ndarray, *, groups: int, noise: float, rate: float, epsilon: float
) -> list[tuple[float, float]]:
    """Mean and standard error of delta at an epsilon, by samples of the real mechanism, for adding and for removing."""
    generator, (trials, steps) = np.random.default_rng(5), eligible.shape
    inverse = noise_matrix(noise_strategy(BandedMatrix(bands=groups), steps=steps, separation=groups))
    factor = np.linalg.inv(inverse)
    drawn = eligible & (generator.random(eligible.shape) < rate)
    fresh = noise * generator.standard_normal(eligible.shape)
    found = []
    for there in (1.0, 0.0):
        released = there * drawn + fresh @ inverse.T  # what the steps really give away
        log_ratio = log_likelihood_ratio(released @ factor.T, eligible, factor, noise=noise, rate=rate)
        spare = 1 - np.exp(np.minimum(epsilon - (log_ratio if there else -log_ratio), 0))
        found.append((float(spare.mean()), float(spare.std() / math.sqrt(trials))))
    return found


def log_likelihood_ratio(white: np.ndarray, eligible: np.ndarray, factor: np.ndarray, *, noise: float, rate: float):
    """Likelihood of outputs, made white, with the example over without, summed over all sets of steps it can be in."""
    patterns = {tuple(row) for row in eligible}
    found = np.empty(len(white))
    for pattern in patterns:
        rows, places = (eligible == np.array(pattern)).all(axis=1), np.flatnonzero(pattern)
        total = np.zeros(int(rows.sum()))
        for chosen in itertools.product((0, 1), repeat=len(places)):
            shift = factor[:, places] @ np.array(chosen, float)
            chance = rate ** sum(chosen) * (1 - rate) ** (len(places) - sum(chosen))
            if chance:
                total += chance * np.exp((white[rows] @ shift - shift @ shift / 2) / noise**2)
        found[rows] = np.log(total)
    return found


@pytest.mark.parametrize(
    ("groups", "steps", "noise", "rate"),
    [(2, 6, 1.2, 0.5), pytest.param(3, 7, 1.0, 0.3, marks=pytest.mark.long), (3, 9, 2.0, 1.0), (1, 4, 1.0, 0.4)],
)
def test_no_attack_finds_more_than_is_charged_and_the_best_finds_nearly_all(groups, steps, noise, rate):
    eligible = cyclic(groups, steps, rate, np.random.default_rng(4))
    claimed = epsilon_of([charged(groups=groups, steps=steps, noise=noise, rate=rate)], delta=DELTA).value
    worst = [
        mean - 4 * error for mean, error in deltas(eligible, groups=groups, noise=noise, rate=rate, epsilon=claimed)
    ]
    assert max(worst) <= DELTA
    # those who can be drawn most often are who it is charged for
    most = eligible[eligible.sum(axis=1) == -(-steps // groups)]
    less = deltas(most, groups=groups, noise=noise, rate=rate, epsilon=0.85 * claimed)
    assert max(mean - 4 * error for mean, error in less) > DELTA, "the charge is far from what can be found"


@pytest.mark.parametrize(("groups", "steps", "noise", "rate"), [(2, 6, 1.2, 0.9), (3, 9, 2.0, 1.0)])
def test_groups_that_are_mixed_in_each_cycle_tell_more_than_is_charged(groups, steps, noise, rate):
    """The planted fault: steps of one example come sooner than the band is wide, and their columns add up."""
    eligible = mixed(groups, steps, rate, np.random.default_rng(4))
    claimed = epsilon_of([charged(groups=groups, steps=steps, noise=noise, rate=rate)], delta=DELTA).value
    found = deltas(eligible, groups=groups, noise=noise, rate=rate, epsilon=claimed)
    assert max(mean - 4 * error for mean, error in found) > DELTA
    plan = make_plan([np.flatnonzero(step) for step in eligible[:50].T])
    assert not comes_in_cycles(plan, separation=groups), "and the worker refuses such batches"


REGIME = DPSGD(epsilon=4.0, epochs=10, batch_size=250, sampling="cyclic poisson", mechanism=BandedMatrix())


@pytest.mark.parametrize(
    ("epsilon", "groups"),
    [(0.25, 1), pytest.param(4.0, 8, marks=pytest.mark.long), pytest.param(16.0, 16, marks=pytest.mark.long)],
)
def test_groups_are_those_whose_sums_err_least_at_the_target(epsilon, groups):
    """At a small epsilon that is one, DP-SGD itself; 16 is the most that is tried unasked."""
    regime, examples = replace(REGIME, epsilon=epsilon), 10_000
    assert groups_of(regime, examples) == groups
    tried = [one for one in (1, groups // 2, groups, 2 * groups) if 1 <= one <= 16]
    assert min(tried, key=lambda one: error_of_sums(regime, examples, groups=one)) == groups


def test_a_plan_is_calibrated_to_its_target_whether_batches_are_secret_or_not():
    for bands, seed in ((3, None), (3, 7)):
        regime = replace(REGIME, mechanism=BandedMatrix(bands=bands), sampling_seed=seed)
        groups = groups_of(regime, 10_000)
        plan = cyclic_poisson_batches(
            10_000, groups=groups, steps=400, sample_rate=groups / 40, generator=np.random.default_rng(1)
        )
        made_of = plan_mechanism(regime, field="f", examples=10_000, plan=plan)
        assert (made_of.separation, made_of.sample_rate) == (groups, groups * 250 / 10_000)
        assert made_of.largest_participation == math.ceil(400 / groups)
        visits = made_of.largest_participation
        charge = made(
            end_step=400, noise_multiplier=made_of.noise_multiplier, sample_rate=made_of.sample_rate, batch_size=250,
            examples=10_000, sampling="cyclic poisson", secret_sampling=seed is None, participation=visits,
            largest_participation=visits, noise=made_of.noise,
        )  # fmt: skip
        assert 3.98 < epsilon_of([charge], delta=1e-5).value <= 4.0


def test_bands_are_no_more_than_groups_can_fill():
    many = replace(REGIME, mechanism=BandedMatrix(bands=100))
    assert groups_of(many, 10_000) == 40
    assert groups_of(replace(many, epochs=None, steps=5), 10_000) == 5
    assert groups_of(replace(many, batch_size=9_000), 10_000) == 1
    assert groups_of(replace(REGIME, sampling="in turn"), 10_000) == 1
    assert banded_error(1, 400) == pytest.approx(math.sqrt(401 / 2))
