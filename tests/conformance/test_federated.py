"""The federated half of the suite: it lets right trainings through, and catches and names every wrong one."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from tests import WHOLE
from tests.conformance.broken_federations import (
    ADAPTIVE,
    BROKEN,
    BROKEN_CORRELATED,
    FIXED,
    RIGHT_CORRELATED,
    correlated,
    make_factory,
    shrunk,
)
from trustml.backends.contract import Model
from trustml.backends.numpy.federated import NumpyFederation
from trustml.conformance.correlated_noise import tree_covariance
from trustml.conformance.federated import check_federated
from trustml.conformance.noise_statistics import chi_square_errors
from trustml.conformance.participation import ExecutedRound, FederatedRecord, check_participation
from trustml.conformance.rounds import RoundSettings
from trustml.data.clients import federated_plan
from trustml.models.layers import Architecture, Dense
from trustml.plan.mechanism import make_charge
from trustml.plan.user_mechanism import block_participation, plan_user_mechanism
from trustml.scenario.clipping import Adaptive, Flat
from trustml.scenario.federated import DPFedAvg, IndependentNoise, TreeAggregation
from trustml.scenario.partition import Everyone, FixedCohort, InTurn, PoissonCohort
from trustml.worker.federated_conformance import (
    SERVER_RATE,
    against_oracle,
    example_clients,
    factory,
    softmax_regression,
)

pytestmark = pytest.mark.timeout(300)

CLIENTS = example_clients()


def failed(findings):
    return [finding for finding in findings if not finding.passed]


def check_deep(kind, settings):
    return check_federated(make_factory(kind), CLIENTS, settings=settings)


@pytest.mark.parametrize("settings", [FIXED, ADAPTIVE], ids=["fixed", "adaptive"])
@pytest.mark.parametrize("seed", range(3 if WHOLE else 1))
def test_the_oracle_passes_every_check(settings, seed):
    class Shifted(NumpyFederation):
        def __init__(self, model, made):
            super().__init__(model, made)
            self.generator = np.random.default_rng([*made.noise_seed, seed])

    assert failed(check_deep(Shifted, settings)) == []
    findings = check_federated(
        make_factory(Shifted, deep=False),
        CLIENTS,
        settings=replace(settings, noise_multiplier=0.7, expected_clients=11, clipping_norm=0.4),
        server_learning_rate=SERVER_RATE,
        same_start=True,
    )
    assert failed(findings) == []
    assert len(msgspec.json.decode(msgspec.json.encode(findings))) >= 20


def quick(names, left_out):
    """Those that are taken always, and those of a kind with others, which are left to the long form."""
    return [pytest.param(name, marks=pytest.mark.long if name in left_out else ()) for name in names]


@pytest.mark.parametrize(
    "name",
    quick(
        BROKEN,
        (
            "adaptive, noise for each client",
            "adaptive, no noise in an empty round",
            "noise of the first norm",
            "0.75 of the noise on the count",
            "0.97 of the noise",
        ),
    ),
)
def test_a_broken_mechanism_is_caught(name):
    kind, settings, check = BROKEN[name]
    found = [finding for finding in failed(check_deep(kind, settings)) if finding.check.startswith(check)]
    assert found, f"{name} was let through by {check!r}"
    assert all(finding.diagnosis for finding in found)


def test_a_round_that_is_lost_is_told_from_a_sum_that_is_poisoned():
    told = {
        name: [finding.diagnosis for finding in failed(check_deep(BROKEN[name][0], FIXED))]
        for name in ("a round is lost", "NaN poisons the sum")
    }
    assert all("loses the round" in one for one in told["a round is lost"]), told
    assert any("poisons the sum" in one for one in told["NaN poisons the sum"]), told


@pytest.mark.parametrize("name", quick(RIGHT_CORRELATED, ("plain tree", "narrower band")))
def test_right_correlated_noise_passes(name):
    mixing, settings = RIGHT_CORRELATED[name]
    findings = check_deep(correlated(mixing), settings)
    assert failed(findings) == []
    assert msgspec.json.encode(findings)


@pytest.mark.parametrize(
    "name",
    quick(
        BROKEN_CORRELATED,
        (
            "tree of half the noise",
            "tree noise charged as banded",
            "independent noise for buffers",
            "0.97 of a tree",
            "0.97 of buffers",
        ),
    ),
)
def test_wrong_correlated_noise_is_caught(name):
    mixing, settings, check = BROKEN_CORRELATED[name]
    found = failed(check_deep(correlated(mixing), settings))
    assert any(finding.check.startswith(check) for finding in found), [finding.check for finding in found]


def small_model():
    """13 weights, where one training of a dozen rounds says little about its noise."""
    weights = {"0.kernel": np.zeros((12, 1), np.float32), "0.bias": np.zeros(1, np.float32)}
    return Model(architecture=Architecture(layers=(Dense(units=1),)), input_shape=(12,), weights=weights)


def small_clients():
    """Clients whose updates are zero, as one class has nothing to learn: noise is what is looked at."""
    generator = np.random.default_rng(3)
    batches = generator.normal(size=(9, 4, 12)).astype(np.float32)
    return [[(inputs, np.zeros(4, np.int64))] for inputs in batches]


@pytest.mark.parametrize("shrinking", [0.97, *(pytest.param(one, marks=pytest.mark.long) for one in (1.0, 0.9, 0.5))])
def test_noise_of_a_small_model_is_known_as_well(shrinking):
    make = factory(shrunk(shrinking), small_model(), server_learning_rate=1.0)
    findings = check_federated(make, small_clients(), settings=FIXED)
    found = next(finding for finding in findings if finding.check.endswith("at the norm of its round"))
    assert found.low < shrinking < found.high and (found.high - found.low) / 2 < 0.0105 * found.value
    assert found.verdict == ("passed" if shrinking == 1.0 else "failed")
    if shrinking == 1.0:
        uninformative = ("an outlier uses", "the divisor")  # of updates that are zero
        assert [one for one in failed(findings) if not one.check.startswith(uninformative)] == []


def test_a_time_limit_leaves_the_noise_of_rounds_open():
    make = factory(NumpyFederation, small_model(), server_learning_rate=1.0)
    findings = check_federated(make, small_clients(), settings=FIXED, time_limit=1e-3)
    found = next(finding for finding in findings if finding.check.endswith("at the norm of its round"))
    assert found.verdict == "not decided" and "time limit of 0.001 s" in found.diagnosis


def test_a_training_that_raises_fails_its_checks_and_no_more():
    class Empty(NumpyFederation):
        def round(self, clients):
            if not clients:
                raise ZeroDivisionError("nobody came")
            return super().round(clients)

    found = failed(check_deep(Empty, FIXED))
    assert {finding.check for finding in found} == {
        "a round without clients sums to zero",
        "nothing of earlier rounds is left",
        "a round without clients has noise like any other",
    }
    assert all("ZeroDivisionError" in finding.diagnosis for finding in found)


def test_too_few_clients_are_refused():
    with pytest.raises(ValueError, match="give 8 or more"):
        check_federated(make_factory(NumpyFederation), CLIENTS[:5])


def test_the_variances_of_running_sums_are_the_known_ones():
    efficient = np.diag(tree_covariance(8, efficient=True))
    np.testing.assert_allclose(efficient[:4], [1, 2 / 3, 5 / 3, 4 / 7])
    plain = np.diag(tree_covariance(8, efficient=False))
    np.testing.assert_allclose(plain, [1, 1, 2, 1, 2, 2, 3, 1])


@pytest.mark.parametrize("degrees", [40, 4000])
def test_chi_square_errors_are_standard_normal(degrees):
    squares = np.random.default_rng(0).chisquare(degrees, 20000)
    errors = np.array([chi_square_errors(value, degrees) for value in squares])
    assert abs(errors.mean()) < 0.03 and abs(errors.std() - 1) < 0.03
    assert chi_square_errors(math.nan, degrees) == math.inf


VARIANTS = {
    "gaussian": FIXED,
    "adaptive": ADAPTIVE,
    "tree": RoundSettings(noise="tree aggregation", separation=4),
    "banded": RoundSettings(noise="banded matrix factorisation", separation=4),
    "blt": RoundSettings(noise="buffered linear Toeplitz", separation=4),
}


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        # in short tests/backends/torch/test_federated.py holds adaptive clipping against its formula
        pytest.param("torch", "banded", marks=pytest.mark.torch),
        pytest.param("jax", "gaussian"),
        *(
            pytest.param(name, variant, marks=pytest.mark.long)
            for name, variants in {
                "torch": ("gaussian", "adaptive", "tree"),
                "jax": ("tree", "banded", "blt"),
            }.items()
            for variant in variants
        ),
    ],
)
def test_a_backend_passes_in_this_process(name, variant):
    backend = _backend(name)
    make = factory(backend.federated, softmax_regression(), server_learning_rate=SERVER_RATE)
    findings = check_federated(
        make, CLIENTS, settings=VARIANTS[variant], server_learning_rate=SERVER_RATE, same_start=True
    )
    assert failed(findings) == []


@pytest.mark.long  # in short tests/backends/test_tasks.py holds private rounds of a graph against the oracle
@pytest.mark.parametrize("name", [pytest.param("torch", marks=pytest.mark.torch), "jax"])
def test_a_backend_equals_the_oracle_on_a_deeper_model(name):
    finding = against_oracle(_backend(name))
    assert finding.passed, finding


def _backend(name):
    table = pytest.importorskip("trustml.backends.table")
    pytest.importorskip({"torch": "pfl"}.get(name, name))
    backend = table.load_backend(name)
    backend.open_device("cpu", 0)
    return backend


COUNT, ROUNDS = 200, 40


POISSON, INDEPENDENT = PoissonCohort(clients=20), IndependentNoise()


def training(cohort=POISSON, *, attempts=1, mechanism=INDEPENDENT, drawn=None, **changes):
    """An honest training, or one whose cohorts were `drawn` otherwise."""
    adaptive = isinstance(mechanism, IndependentNoise) and cohort == POISSON
    clipping = Adaptive(count_noise=2.0) if adaptive else Flat()
    regime = DPFedAvg(noise_multiplier=1.0, rounds=ROUNDS, cohort=cohort, clipping=clipping, mechanism=mechanism)
    plans, charges, rounds = [], [], []
    for attempt in range(1, attempts + 1):
        draws = {"cohorts": np.random.default_rng(attempt), "batches": lambda *_: np.random.default_rng(0)}
        members = [np.arange(2 * client, 2 * client + 2) for client in range(COUNT)]
        work = {"rounds": ROUNDS, "local_epochs": 1, "batch_size": 2, **draws}
        plan = federated_plan(members, cohort=drawn or cohort, **work)
        made = plan_user_mechanism(regime, field="regime", clients=COUNT, plan=plan)
        made = msgspec.structs.replace(made, attempt=attempt)
        most = block_participation(made, plan, first=0, end=ROUNDS)
        charge = make_charge(made, first=0, end=ROUNDS, plan=f"plan {attempt}", data="data", block=most)
        charges.append(msgspec.structs.replace(charge, **changes))
        plans.append(plan)
        for number in range(ROUNDS if attempt == attempts else 17):
            size = len(plan.participants(number))
            rounds.append(ExecutedRound(attempt=attempt, number=number, clients=size, charges_before=attempt))
    settings = RoundSettings(
        noise=charges[0].noise if "noise" not in changes else made.noise,
        clipping_norm=regime.clipping_norm,
        noise_multiplier=made.noise_multiplier,
        expected_clients=made.expected_batch_size,
        clip_learning_rate=0.2 if adaptive else 0.0,
        count_noise=made.count_noise,
    )
    return FederatedRecord(rounds=rounds, charges=charges, plans=plans, clients=COUNT, settings=settings)


def one_client_twice(record):
    visits = record.plans[0].visits.copy()
    visits[1] = visits[0]
    return replace(record, plans=[replace(record.plans[0], visits=visits)])


def charged_late(record):
    return replace(record, rounds=[replace(done, charges_before=0) for done in record.rounds[:3]] + record.rounds[3:])


def shared_plan(record):
    return replace(record, charges=[msgspec.structs.replace(charge, plan="plan 1") for charge in record.charges])


def another_cohort(record):
    return replace(record, rounds=[replace(record.rounds[0], clients=record.rounds[0].clients + 1), *record.rounds[1:]])


TREE = {"mechanism": TreeAggregation()}
HONEST = {
    "Poisson": lambda: training(),
    "Poisson, interrupted": lambda: training(attempts=2),
    "Poisson with dropout": lambda: training(PoissonCohort(clients=20, dropout=0.3)),
    "fixed": lambda: training(FixedCohort(clients=20)),
    "everyone": lambda: training(Everyone()),
    "in turn": lambda: training(InTurn(clients=30)),
    "tree": lambda: training(InTurn(clients=30), **TREE),
}
DISHONEST = {
    "cohorts at twice the charged rate": (
        lambda: training(drawn=PoissonCohort(clients=40)),
        "cohorts have the charged participation rate",
    ),
    "larger fixed cohorts": (
        lambda: training(FixedCohort(clients=20), drawn=FixedCohort(clients=21)),
        "cohorts have the charged size",
    ),
    "count noise not charged": (
        lambda: training(quantile_noise_multiplier=0.0),
        "the quantile of adaptive clipping is charged",
    ),
    "fixed cohorts charged as Poisson": (
        lambda: training(drawn=FixedCohort(clients=20)),
        "cohorts vary as Poisson cohorts do",
    ),
    "clients in turn charged as Poisson": (
        lambda: training(drawn=InTurn(clients=20)),
        "cohorts vary as Poisson cohorts do",
    ),
    "Poisson charged as in turn": (
        lambda: training(InTurn(clients=20), drawn=PoissonCohort(clients=20)),
        "a client stays away until all others were asked",
    ),
    "rounds before they were charged": (
        lambda: charged_late(training()),
        "every round was charged before it ran",
    ),
    "rounds never charged": (lambda: training(end_step=30), "every round was charged before it ran"),
    "a client twice in a round": (lambda: one_client_twice(training()), "a client is in a round at most once"),
    "cohorts used again": (lambda: shared_plan(training(attempts=2)), "each attempt has cohorts of its own"),
    "another cohort than drawn": (lambda: another_cohort(training()), "rounds have the cohorts that were drawn"),
    "charged for examples": (lambda: training(unit="example"), "charges say what the mechanism was made with"),
    "charged with more noise": (
        lambda: training(noise_multiplier=1.1),
        "charges say what the mechanism was made with",
    ),
    "tree charged as independent": (
        lambda: training(InTurn(clients=30), noise="independent", **TREE),
        "charges say what the mechanism was made with",
    ),
    "tree charged by visits": (
        lambda: training(InTurn(clients=30), participation=6, largest_participation=6, **TREE),
        "the charged participation covers every client",
    ),
    "fixed cohorts under add-or-remove": (
        lambda: training(FixedCohort(clients=20), relation="add or remove one"),
        "charges name the relation of their sampling",
    ),
    "published cohorts amplified": (
        lambda: replace(training(), published_seed=3),
        "amplification is claimed for secret cohorts only",
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_training_passes(name):
    findings = check_participation(HONEST[name]())
    assert failed(findings) == []
    assert msgspec.json.encode(findings)


@pytest.mark.parametrize("name", DISHONEST)
def test_a_dishonest_training_is_caught(name):
    make, check = DISHONEST[name]
    found = failed(check_participation(make()))
    assert check in [finding.check for finding in found], found
    assert all(finding.diagnosis for finding in found)
