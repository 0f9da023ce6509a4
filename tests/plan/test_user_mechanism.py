"""The noise that a target for users needs, and what another attempt may spend."""

from __future__ import annotations

import functools
import math

import msgspec
import numpy as np
import pytest

from tests import WHOLE
from trustml.data.clients import FederatedPlan, federated_plan
from trustml.errors import ScenarioError
from trustml.plan.job import Mechanism
from trustml.plan.mechanism import make_charge, noise_kind
from trustml.plan.user_mechanism import block_participation, next_user_attempt, plan_user_mechanism
from trustml.privacy import accounting
from trustml.privacy.accounting import epsilon_of
from trustml.privacy.calibration import affordable_steps
from trustml.privacy.ledger import ADD_OR_REMOVE, REPLACE, ZERO_OUT, Charge
from trustml.privacy.noise_strategy import tree_squared_sensitivity
from trustml.scenario.clipping import Adaptive
from trustml.scenario.federated import BandedMatrix, DPFedAvg, TreeAggregation
from trustml.scenario.partition import Everyone, FixedCohort, InTurn, PoissonCohort

CLIENTS, EPSILON, DELTA = 400, 1.0, 1e-4
COHORTS = {
    "poisson": PoissonCohort(clients=40),
    "fixed": FixedCohort(clients=40),
    "all": Everyone(),
    "in turn": InTurn(clients=60),
}


@pytest.fixture(autouse=True, scope="module")
def _few_orders():
    """Bound batches of fixed size at a few Renyi orders: with all of them calibration takes half a minute."""
    with pytest.MonkeyPatch.context() as patch:
        if not WHOLE:
            patch.setattr(accounting, "RDP_ORDERS", tuple(range(2, 25)))
        yield


def private(cohort, **changes) -> DPFedAvg:
    target = {} if "noise_multiplier" in changes else {"epsilon": EPSILON}
    return DPFedAvg(**({"cohort": cohort, "rounds": 30, "delta": DELTA} | target | changes))


@functools.cache
def rounds_for(regime: DPFedAvg, *, attempt: int = 1) -> FederatedPlan:
    return federated_plan(
        [np.array([client]) for client in range(CLIENTS)],
        cohort=regime.cohort,
        rounds=regime.rounds,
        local_epochs=1,
        batch_size=1,
        cohorts=np.random.default_rng(attempt),
        batches=lambda *_: np.random.default_rng(0),
    )


@functools.cache
def planned(regime: DPFedAvg) -> Mechanism:
    return plan_user_mechanism(regime, field="training.0", clients=CLIENTS, plan=rounds_for(regime))


def charged(mechanism: Mechanism, regime: DPFedAvg, *, rounds: int | None = None) -> list[Charge]:
    """Give the lines that the ledger has after so many rounds of an attempt."""
    plan = rounds_for(regime, attempt=mechanism.attempt)
    end, size = mechanism.steps if rounds is None else rounds, mechanism.steps_per_charge
    return [
        make_charge(
            mechanism,
            first=first,
            end=min(first + size, end),
            plan=f"plan {mechanism.attempt}",
            data="d",
            block=block_participation(mechanism, plan, first=first, end=min(first + size, end)),
        )
        for first in range(0, end, size)
    ]


def spends(charges: list[Charge]) -> float:
    return epsilon_of(charges, delta=DELTA).value


CASES = {
    **{name: private(cohort) for name, cohort in COHORTS.items()},
    "tree": private(InTurn(clients=60), mechanism=TreeAggregation()),
    "banded": private(InTurn(clients=60), mechanism=BandedMatrix()),
    "published poisson": private(PoissonCohort(clients=40), sampling_seed=1),
    "published fixed": private(FixedCohort(clients=40), sampling_seed=1),
    "adaptive in turn": private(InTurn(clients=60), clipping=Adaptive()),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in ("all", "published fixed") else ()) for name in CASES]
)
def test_a_target_is_met_closely_from_below(name):
    regime = CASES[name]
    mechanism = planned(regime)
    charges = charged(mechanism, regime)
    assert (mechanism.unit, mechanism.steps, mechanism.examples) == ("user", 30, CLIENTS)
    assert {entry.unit for entry in charges} == {"user"} and sum(entry.steps for entry in charges) == 30
    assert 0.985 * EPSILON < spends(charges) <= EPSILON * (1 + 1e-9)


@pytest.mark.parametrize(("name", "relation"), [("poisson", ADD_OR_REMOVE), ("fixed", REPLACE), ("all", ZERO_OUT)])
def test_the_ledger_names_what_was_done(name, relation):
    mechanism = planned(CASES[name])
    entry = charged(mechanism, CASES[name])[0]
    assert (entry.sampling, entry.relation, entry.noise) == (name, relation, "independent")
    assert entry.sample_rate == mechanism.expected_batch_size / CLIENTS
    assert entry.secret_sampling


def test_noise_in_turn_is_that_of_the_visits():
    mechanism = planned(CASES["in turn"])
    assert mechanism.separation == 7 and mechanism.largest_participation == math.ceil(30 / 7)
    assert mechanism.noise_multiplier < planned(CASES["all"]).noise_multiplier
    tree = planned(CASES["tree"])
    assert tree.largest_participation == tree_squared_sensitivity(rounds=30, separation=7)
    assert planned(CASES["banded"]).largest_participation == math.ceil(30 / 7)
    assert [noise_kind(CASES[name].mechanism) for name in ("all", "tree", "banded")] == [
        "independent", "tree aggregation", "banded matrix factorisation",
    ]  # fmt: skip
    assert tree.steps_per_charge == planned(CASES["banded"]).steps_per_charge == 30, "one release, one charge"


@pytest.mark.parametrize("kind", ["poisson", "fixed"])
def test_a_fixed_seed_loses_amplification(kind):
    secret, public = planned(CASES[kind]), planned(CASES[f"published {kind}"])
    assert secret.secret_sampling and not public.secret_sampling
    visits = np.bincount(rounds_for(CASES[kind]).visits, minlength=CLIENTS)
    assert public.largest_participation == visits.max()
    assert secret.largest_participation == 30, "tells nothing of who was drawn"
    if kind == "poisson":
        assert public.noise_multiplier > secret.noise_multiplier, "what amplification gave is paid with noise"
    assert charged(public, CASES[kind])[0].relation == ZERO_OUT


def test_adaptive_clipping_shares_the_noise_of_the_round():
    regime = private(PoissonCohort(clients=40), noise_multiplier=1.0, clipping=Adaptive())
    mechanism = planned(regime)
    assert mechanism.count_noise == 4.0, "a tenth of the cohort"
    assert mechanism.noise_multiplier**-2 + (2 * mechanism.count_noise) ** -2 == pytest.approx(1.0)
    plain = planned(private(PoissonCohort(clients=40), noise_multiplier=1.0))
    assert mechanism.noise_multiplier > plain.noise_multiplier == 1.0
    both, alone = (charged(one, regime) for one in (mechanism, plain))
    assert spends(both) == pytest.approx(spends(alone), rel=1e-9)
    with pytest.raises(ScenarioError, match=r"training\.0\.clipping\.count_noise: 0\.5 spends the whole"):
        planned(private(PoissonCohort(clients=40), noise_multiplier=1.0, clipping=Adaptive(count_noise=0.5)))


def test_a_target_out_of_reach_names_its_field():
    with pytest.raises(ScenarioError, match=r"training\.0\.epsilon: 1e-07 .* cannot be reached"):
        planned(private(PoissonCohort(clients=40), epsilon=1e-7, delta=1e-9))


@pytest.mark.parametrize("name", ["poisson", "fixed", "all"])
def test_another_attempt_spends_only_what_is_left(name):
    regime = CASES[name]
    mechanism = planned(regime)
    spent = charged(mechanism, regime, rounds=18)
    left = next_user_attempt(mechanism, spent, regime, plan=rounds_for(regime, attempt=2), allow_overrun=False)
    assert left.attempt == 2 and left.start_step == 0, "it begins anew"
    assert 10 <= left.steps <= 12
    assert spends([*spent, *charged(left, regime)]) <= EPSILON * (1 + 1e-9)
    assert spends([*spent, *charged(left, regime, rounds=left.steps + 1)]) > EPSILON
    whole = next_user_attempt(mechanism, spent, regime, plan=rounds_for(regime, attempt=2), allow_overrun=True)
    assert (whole.attempt, whole.steps) == (2, 30)
    assert spends([*spent, *charged(whole, regime)]) > EPSILON


def test_another_attempt_in_turn_stays_under_the_target():
    regime = CASES["in turn"]
    mechanism = planned(regime)
    spent = charged(mechanism, regime, rounds=2)
    left = next_user_attempt(mechanism, spent, regime, plan=rounds_for(regime, attempt=2), allow_overrun=False)
    assert left.steps >= 3 and spends([*spent, *charged(left, regime)]) <= EPSILON


def test_without_a_target_or_without_charges_another_attempt_is_whole():
    regime = private(Everyone(), noise_multiplier=5.0)
    mechanism = planned(regime)
    spent = charged(mechanism, regime)
    again = next_user_attempt(mechanism, spent, regime, plan=rounds_for(regime), allow_overrun=False)
    assert (again.attempt, again.steps) == (2, 30)
    first = next_user_attempt(planned(CASES["all"]), [], CASES["all"], plan=rounds_for(regime), allow_overrun=False)
    assert (first.attempt, first.steps) == (1, 30)


@pytest.mark.parametrize("name", ["tree", "banded"])
def test_correlated_noise_fits_whole_or_not_at_all(name):
    regime = CASES[name]
    mechanism, plan = planned(regime), rounds_for(regime, attempt=2)
    spent = charged(mechanism, regime)
    assert len(spent) == 1 and spent[0].participation == mechanism.largest_participation
    nothing = next_user_attempt(mechanism, spent, regime, plan=plan, allow_overrun=False)
    assert (nothing.attempt, nothing.steps) == (2, 0)
    assert next_user_attempt(mechanism, spent, regime, plan=plan, allow_overrun=True).steps == 30
    little = [msgspec.structs.replace(spent[0], noise_multiplier=50 * mechanism.noise_multiplier)]
    roomy = msgspec.structs.replace(regime, epsilon=1.1 * EPSILON)
    assert next_user_attempt(mechanism, little, roomy, plan=plan, allow_overrun=False).steps == 30
    assert next_user_attempt(mechanism, little, regime, plan=plan, allow_overrun=False).steps == 0


def test_a_tree_that_costs_more_than_its_rounds_is_no_bargain():
    regime = private(InTurn(clients=CLIENTS), mechanism=TreeAggregation())
    mechanism = planned(regime)
    assert mechanism.largest_participation > regime.rounds
    (entry,) = charged(mechanism, regime)
    assert affordable_steps([], entry, epsilon=EPSILON, delta=DELTA) == 30
    assert affordable_steps([], entry, epsilon=0.97 * EPSILON, delta=DELTA) < 30


def test_what_the_ledger_tells_of_a_block():
    def told(name: str, **block):
        return block_participation(planned(CASES[name]), rounds_for(CASES[name]), **block)

    assert told("poisson", first=0, end=30) is None is told("fixed", first=0, end=30)
    assert told("all", first=5, end=12) == 7
    assert [told("in turn", first=0, end=end) for end in (1, 7, 8, 30)] == [1, 1, 2, 5]
    assert told("tree", first=0, end=30) == tree_squared_sensitivity(rounds=30, separation=7)
    assert told("banded", first=0, end=30) == 5
    plan = rounds_for(CASES["published poisson"])
    visits = np.bincount(plan.visits[plan.rounds[3] : plan.rounds[9]], minlength=CLIENTS)
    assert told("published poisson", first=3, end=9) == visits.max()
