"""Epsilon against closed forms, against the peers' accountants, and by its properties."""

from __future__ import annotations

import math

import dp_accounting
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant, RDPAccountant

from tests import WHOLE
from trustml.errors import PrivacyError, RecordError, ScenarioError
from trustml.privacy import accounting
from trustml.privacy.accounting import epsilon_if_poisson, epsilon_rdp, epsilon_unamplified, epsilon_with_tuning
from trustml.privacy.bounds import epsilon_bounds
from trustml.privacy.calibration import (
    affordable_steps,
    calibrated_noise,
    calibrated_noise_fixed,
    calibrated_noise_unamplified,
)
from trustml.privacy.crosscheck import can_be_right, prv_epsilons
from trustml.privacy.events import mechanisms_of
from trustml.privacy.ledger import ADD_OR_REMOVE, REPLACE, ZERO_OUT, Charge, charge, read_ledger
from trustml.privacy.shuffle_bound import shuffle_lower_bound

DELTA = 1e-5


def block(**changes) -> Charge:
    usual = {
        "attempt": 1, "first_step": 0, "end_step": 100, "noise_multiplier": 1.5, "clipping_norm": 1.0,
        "sample_rate": 0.1, "batch_size": 100, "examples": 1000, "secret_sampling": True, "participation": 20,
        "largest_participation": 20, "plan": "a", "data": "d",
    }  # fmt: skip
    return Charge(**{**usual, **changes})


def epsilon_of(charges, *, delta: float) -> float:
    return accounting.epsilon_of(charges, delta=delta).value


def epsilon_of_releases(releases, *, delta: float) -> float:
    return accounting.epsilon_of_releases(releases, delta=delta).value


@pytest.mark.parametrize(("noise", "epochs", "published"), [(1.1, 60, 2.382), (1.3, 15, 0.864), (0.7, 45, 5.639)])
def test_mnist_values_recomputed_elsewhere(noise, epochs, published):
    found = epsilon_of(
        [block(noise_multiplier=noise, sample_rate=256 / 60_000, end_step=epochs * 60_000 // 256)], delta=DELTA
    )
    assert found == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(("noise", "steps"), [(5.0, 1), (20.0, 30), (50.0, 400)])
def test_without_sampling_it_is_the_exact_gaussian(noise, steps):
    exact = dp_accounting.get_epsilon_gaussian(noise / math.sqrt(steps), DELTA)
    found = epsilon_of([block(noise_multiplier=noise, sample_rate=1.0, end_step=steps)], delta=DELTA)
    assert exact <= found <= exact * 1.01 + 1e-3  # an upper bound, 1 % loose at most at this discretisation


@pytest.mark.parametrize(("noise", "rate", "steps"), [(1.0, 0.01, 1000), (2.0, 0.1, 300), (1.235, 0.089, 338)])
def test_against_the_accountants_of_opacus(noise, rate, steps):
    prv, rdp = PRVAccountant(), RDPAccountant()
    prv.history = rdp.history = [(noise, rate, steps)]
    ours = epsilon_of([block(noise_multiplier=noise, sample_rate=rate, end_step=steps)], delta=DELTA)
    assert abs(ours - prv.get_epsilon(DELTA)) <= 0.05
    assert ours <= rdp.get_epsilon(DELTA)


@settings(max_examples=8 if WHOLE else 3, deadline=None)
@given(st.floats(1.0, 4.0), st.floats(0.02, 0.3), st.integers(20, 200))
def test_epsilon_grows_with_steps_and_rate_and_falls_with_noise(noise, rate, steps):
    found = epsilon_of([block(noise_multiplier=noise, sample_rate=rate, end_step=steps)], delta=DELTA)
    more = [
        block(noise_multiplier=noise, sample_rate=rate, end_step=2 * steps),
        block(noise_multiplier=noise, sample_rate=1.5 * rate, end_step=steps),
        block(noise_multiplier=noise / 1.3, sample_rate=rate, end_step=steps),
    ]
    assert all(epsilon_of([entry], delta=DELTA) > found for entry in more)


@pytest.mark.parametrize(
    ("epsilon", "rate", "steps"),
    [(1.0, 0.05, 500), *(pytest.param(*one, marks=pytest.mark.long) for one in ((8.0, 0.178, 338), (0.1, 0.2, 50)))],
)
def test_calibrated_noise_meets_its_target_closely_from_below(epsilon, rate, steps):
    noise = calibrated_noise(epsilon=epsilon, delta=DELTA, sample_rate=rate, steps=steps)
    found = epsilon_of([block(noise_multiplier=noise, sample_rate=rate, end_step=steps)], delta=DELTA)
    assert 0.99 * epsilon < found <= epsilon


def test_an_epsilon_out_of_reach_is_refused():
    with pytest.raises(ScenarioError, match="cannot be reached"):
        calibrated_noise(epsilon=1e-7, delta=DELTA, sample_rate=0.5, steps=1000)


def test_without_secret_batches_there_is_no_amplification():
    known = block(secret_sampling=False, largest_participation=20, noise_multiplier=9.0)
    exact = dp_accounting.get_epsilon_gaussian(9.0 / math.sqrt(20), DELTA)
    assert exact <= epsilon_of([known], delta=DELTA) <= exact * 1.01
    noise = calibrated_noise_unamplified(epsilon=4.0, delta=DELTA, participation=20)
    found = epsilon_of([msgspec.structs.replace(known, noise_multiplier=noise)], delta=DELTA)
    assert found == pytest.approx(4.0, rel=0.01)


def test_models_on_shared_batches_are_one_mechanism_with_less_noise():
    alone = epsilon_of([block()], delta=DELTA)
    both = epsilon_of_releases([[block()], [block()]], delta=DELTA)
    assert both == pytest.approx(epsilon_of([block(noise_multiplier=1.5 / math.sqrt(2))], delta=DELTA), rel=1e-8)
    apart = epsilon_of_releases([[block()], [block(plan="b")]], delta=DELTA)
    assert apart == pytest.approx(epsilon_of([block(end_step=200)], delta=DELTA), rel=1e-8)
    assert alone < apart < both


def test_models_that_share_a_part_of_the_steps():
    found = epsilon_of_releases([[block(end_step=60)], [block(first_step=40)]], delta=DELTA)
    pieces = [
        block(end_step=80, plan="x"),
        block(end_step=20, noise_multiplier=(2 / 1.5**2) ** -0.5, plan="y"),
    ]
    assert found == pytest.approx(epsilon_of(pieces, delta=DELTA), rel=1e-9)


def test_one_plan_has_one_sampling_rate():
    with pytest.raises(PrivacyError, match="several samplings"):
        epsilon_of_releases([[block()], [block(sample_rate=0.2)]], delta=DELTA)


def test_affordable_steps_use_the_budget_and_no_more():
    spent = [block(end_step=60)]
    target = epsilon_of([block()], delta=DELTA)
    steps = affordable_steps(spent, block(plan="b"), epsilon=target, delta=DELTA)
    assert epsilon_of([*spent, block(plan="b", end_step=steps)], delta=DELTA) <= target
    assert epsilon_of([*spent, block(plan="b", end_step=steps + 1)], delta=DELTA) > target
    assert affordable_steps([block(end_step=200)], block(plan="b"), epsilon=target, delta=DELTA) == 0


def test_no_charge_no_loss():
    assert epsilon_of([], delta=DELTA) == 0


def test_the_ledger_is_readable_at_once_and_refuses_damage(tmp_path):
    path = tmp_path / "ledger.jsonl"
    assert read_ledger(path) == []
    for number in range(3):
        charge(path, block(first_step=number, end_step=number + 1))
        assert [entry.first_step for entry in read_ledger(path)] == list(range(number + 1))
    content = path.read_bytes()
    path.write_bytes(content[:-20])  # killed while charging: the third step was not taken
    assert [entry.first_step for entry in read_ledger(path)] == [0, 1]
    charge(path, block(first_step=7, end_step=8, attempt=2))
    assert [entry.first_step for entry in read_ledger(path)] == [0, 1, 7]
    path.write_bytes(content.replace(b"\n", b"x\n", 1))
    with pytest.raises(RecordError, match="line 1 is damaged"):
        read_ledger(path)
    path.write_bytes(content.replace(b'"attempt"', b'"attemp"'))
    with pytest.raises(RecordError, match="line 1"):
        read_ledger(path)


def test_a_ledger_of_another_mechanism_is_refused(tmp_path):
    path = tmp_path / "ledger.jsonl"
    charge(path, block())
    for field, value in (("data", "other"), ("sample_rate", 0.2), ("clipping_norm", 2.0), ("unit", "user")):
        with pytest.raises(PrivacyError, match=f"{field} was .* and is now"):
            charge(path, block(**{field: value}))
    assert len(read_ledger(path)) == 1


@pytest.mark.parametrize(
    ("noise", "per_epoch", "epochs", "delta", "recomputed"),
    [
        (1.1, 234, 1, 1e-5, 2.98), (1.3, 250, 15, 1e-5, 3.14), (1.1, 234, 60, 1e-5, 10.8),
        (0.7, 250, 45, 1e-5, 51.9), (2.0, 20, 10, 1e-5, 2.52), (0.4, 10_000, 1, 1e-6, 14.45),
    ],
)  # fmt: skip
def test_the_shuffle_bound_equals_values_recomputed_elsewhere(noise, per_epoch, epochs, delta, recomputed):
    found = shuffle_lower_bound(noise_multiplier=noise, steps_per_epoch=per_epoch, epochs=epochs, delta=delta)
    assert found == pytest.approx(recomputed, rel=0.006)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.5, 4.0), st.integers(1, 200), st.integers(1, 10))
def test_the_shuffle_bound_stays_below_the_proved_upper_bound(noise, per_epoch, epochs):
    lower = shuffle_lower_bound(noise_multiplier=noise, steps_per_epoch=per_epoch, epochs=epochs, delta=DELTA)
    assert 0 <= lower <= dp_accounting.get_epsilon_gaussian(noise / math.sqrt(epochs), DELTA) * (1 + 1e-6)


def test_one_shuffled_batch_is_the_gaussian_mechanism():
    # With one batch an epoch the two worlds are N(2, s) and N(1, s): nothing is lost by the bound but slicing.
    found = shuffle_lower_bound(noise_multiplier=2.0, steps_per_epoch=1, epochs=3, delta=DELTA)
    assert found == pytest.approx(dp_accounting.get_epsilon_gaussian(2.0 / math.sqrt(3), DELTA), rel=0.01)
    assert shuffle_lower_bound(noise_multiplier=2.0, steps_per_epoch=9, epochs=0, delta=DELTA) == 0


def shuffled(epochs: int, **changes) -> list[Charge]:
    return [
        block(
            first_step=10 * epoch, end_step=10 * epoch + 10, sampling="shuffle", participation=1,
            largest_participation=epochs, relation=ZERO_OUT, **changes,
        )
        for epoch in range(epochs)
    ]  # fmt: skip


def test_shuffled_epochs_are_composed_without_amplification():
    found = accounting.epsilon_of(shuffled(8, noise_multiplier=6.0), delta=DELTA)
    assert found.relation == ZERO_OUT
    assert found.value == pytest.approx(dp_accounting.get_epsilon_gaussian(6.0 / math.sqrt(8), DELTA), rel=1e-9)
    assumed = epsilon_if_poisson([shuffled(8, noise_multiplier=6.0)], delta=DELTA)
    assert assumed.relation == ADD_OR_REMOVE and assumed.value < found.value


def test_a_part_of_the_epochs_costs_its_part():
    part = shuffled(8, noise_multiplier=6.0)[:3]
    assert epsilon_of(part, delta=DELTA) == pytest.approx(
        dp_accounting.get_epsilon_gaussian(6.0 / math.sqrt(3), DELTA), rel=1e-9
    )


def test_batches_of_fixed_size_are_accounted_under_replacing_one(monkeypatch):
    charges = [block(sampling="fixed", noise_multiplier=4.0, participation=100, largest_participation=100)]
    found = accounting.epsilon_of(charges, delta=DELTA)
    assert found.relation == REPLACE and "RDP" in found.accountant
    poisson = epsilon_of([block(noise_multiplier=4.0)], delta=DELTA)
    halved = epsilon_of([block(noise_multiplier=2.0)], delta=DELTA)
    unamplified = dp_accounting.get_epsilon_gaussian(2.0 / math.sqrt(100), DELTA)
    assert poisson < halved < found.value <= unamplified
    if not WHOLE:  # with all of them calibration takes half a minute
        monkeypatch.setattr(accounting, "RDP_ORDERS", tuple(range(2, 25)))
    noise = calibrated_noise_fixed(epsilon=3.0, delta=DELTA, batch_size=100, examples=1000, steps=100)
    reached = epsilon_of([msgspec.structs.replace(charges[0], noise_multiplier=noise)], delta=DELTA)
    assert 2.97 < reached <= 3.0


def test_models_of_different_sampling_compose_under_zeroing_out():
    fixed = [block(sampling="fixed", plan="b", end_step=5, noise_multiplier=9.0, largest_participation=5)]
    found = accounting.epsilon_of_releases([[block()], fixed, shuffled(2, plan="c")], delta=DELTA)
    assert found.relation == ZERO_OUT
    assert found.value > epsilon_of([block()], delta=DELTA)


def test_the_count_of_unclipped_examples_is_paid_for():
    """With adaptive clipping a step releases two things, and is one Gaussian mechanism with less noise."""
    alone = epsilon_of([block(noise_multiplier=2.0)], delta=DELTA)
    both = epsilon_of([block(noise_multiplier=2.0, quantile_noise_multiplier=3.0)], delta=DELTA)
    joint = epsilon_of([block(noise_multiplier=(2.0**-2 + 3.0**-2) ** -0.5)], delta=DELTA)
    assert alone < both == pytest.approx(joint, rel=1e-12)


def test_unamplified_is_the_gaussian_over_the_participation():
    found = epsilon_unamplified([[block()], [block(plan="b")]], participation=12, delta=DELTA)
    assert found.value == pytest.approx(dp_accounting.get_epsilon_gaussian(1.5 / math.sqrt(12), DELTA), rel=1e-9)


def test_the_check_from_above_and_the_second_opinion():
    charges = [block(end_step=40), block(first_step=40)]
    exact = epsilon_of(charges, delta=DELTA)
    assert exact < epsilon_rdp([charges], delta=DELTA).value < 1.3 * exact
    (prv,) = prv_epsilons([(charges, DELTA)])
    assert prv.agrees and prv.value == pytest.approx(exact, abs=2 * prv.error)


@pytest.mark.parametrize("noise", [12.0, 60.0])
def test_a_second_opinion_can_disagree_at_a_small_epsilon(noise):
    """An absolute tolerance of 0.05 let anything pass below 0.1."""
    (mechanism,) = mechanisms_of([[block(noise_multiplier=noise, sample_rate=0.01, end_step=1000)]])
    bounds = epsilon_bounds([mechanism], delta=DELTA)
    error = 0.02 * bounds.high
    assert bounds.high < 0.1
    for factor, right in ((0.97, False), (1.001, True), (1.03, True), (1.06, False)):
        assert can_be_right(factor * bounds.high, [mechanism], delta=DELTA, error=error) is right


def test_the_headline_is_never_above_its_own_renyi_bound():
    """It was 0.0135 beside 0.0114, where 0.0094 is proved."""
    charges = [block(noise_multiplier=130.0, sample_rate=256 / 60_000, end_step=14_063)]
    found = accounting.epsilon_of(charges, delta=DELTA)
    assert 0.00942 < found.value < 0.00943 < epsilon_rdp([charges], delta=DELTA).value
    assert "PLD" in found.accountant


def test_a_target_of_little_epsilon_is_reached_with_no_more_noise_than_it_needs():
    for epsilon in (0.02, 0.01) if WHOLE else (0.01,):
        noise = calibrated_noise(epsilon=epsilon, delta=DELTA, sample_rate=256 / 60_000, steps=14_063)
        low = epsilon_bounds(
            mechanisms_of([[block(noise_multiplier=0.99 * noise, sample_rate=256 / 60_000, end_step=14_063)]]),
            delta=DELTA,
        ).low
        assert low > epsilon and noise < 130


def test_a_target_that_next_to_no_noise_meets_asks_for_a_smaller_one():
    with pytest.raises(ScenarioError, match="smaller epsilon"):
        calibrated_noise(epsilon=1e7, delta=DELTA, sample_rate=0.5, steps=10)


def test_a_grid_too_large_for_the_second_accountant_is_not_made():
    (found,) = prv_epsilons([([block(noise_multiplier=0.03, sample_rate=0.004, end_step=10_000)], DELTA)])
    assert found.value is None and found.agrees is None and "too large a grid" in found.why


def test_opacus_that_fails_is_told(monkeypatch):
    monkeypatch.setattr("trustml.privacy.crosscheck.sys.executable", "/bin/false")
    (found,) = prv_epsilons([([block()], DELTA)])
    assert found.value is None and "failed" in found.why
    assert prv_epsilons([]) == []


def test_choosing_the_best_of_several_runs_costs():
    charges = [block()]
    assert epsilon_with_tuning([charges], runs=10, delta=DELTA).value > epsilon_rdp([charges], delta=DELTA).value


def test_known_batches_charged_in_blocks_prove_nothing_from_below():
    known = [block(secret_sampling=False, end_step=50), block(secret_sampling=False, first_step=50, end_step=100)]
    assert accounting.epsilon_at_least(known[:1], delta=DELTA) is not None
    assert accounting.epsilon_at_least(known, delta=DELTA) is None
    secret = [block(end_step=50), block(first_step=50, end_step=100)]
    assert 0 < accounting.epsilon_at_least(secret, delta=DELTA) <= epsilon_of(secret, delta=DELTA)


def test_batches_in_turn_in_several_attempts_prove_nothing_from_below():
    turns = {"sampling": "in turn", "participation": 5, "largest_participation": 5, "end_step": 50}
    once, again = block(**turns), block(**turns, attempt=2, plan="another order")
    assert accounting.epsilon_at_least([once], delta=DELTA) > 0
    assert accounting.epsilon_at_least([once, again], delta=DELTA) is None
    correlated = block(**turns, noise="buffered linear Toeplitz")
    assert accounting.epsilon_at_least([correlated], delta=DELTA) is None
    assert epsilon_of([correlated], delta=DELTA) == pytest.approx(epsilon_of([once], delta=DELTA), rel=1e-9)
