"""What cannot work in a federated regime is one line with field, value and fix, before anything runs."""

from __future__ import annotations

import msgspec
import pytest

from tests.cli.test_cli import assert_one_clear_line, called, toml
from trustml.errors import ScenarioError
from trustml.scenario.check_regimes import check_cohorts, check_regime
from trustml.scenario.clipping import Adaptive
from trustml.scenario.federated import (
    BandedMatrix,
    BufferedToeplitz,
    DPFedAvg,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedProx,
    FedSGD,
    FedYogi,
    TreeAggregation,
)
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import (
    IID,
    Dirichlet,
    Everyone,
    FixedCohort,
    InTurn,
    NaturalKey,
    PoissonCohort,
    Quantity,
    Shards,
)
from trustml.scenario.problems import check_types
from trustml.scenario.regimes import DPSGD


def checked(regime, field: str) -> None:
    check_types(regime, field=field)
    check_regime(regime, field)


HUNDRED = PoissonCohort(clients=100)


def private(**changes) -> DPFedAvg:
    return DPFedAvg(**({"noise_multiplier": 1.0, "cohort": HUNDRED} | changes))


@pytest.mark.parametrize(
    ("regime", "field", "value", "fix"),
    [
        (FedAvg(partition=Dirichlet(alpha=0.0)), "partition.alpha", "0.0", "above 0"),
        (FedAvg(partition=Dirichlet(alpha=-1.0)), "partition.alpha", "-1.0", "above 0"),
        (FedAvg(partition=Quantity(alpha=float("nan"))), "partition.alpha", "nan", "above 0"),
        (FedAvg(partition=Dirichlet(minimum=0)), "partition.minimum", "0", "above 0"),
        (FedAvg(partition=Shards(per_client=0)), "partition.per_client", "0", "above 0"),
        (FedAvg(partition=IID(clients=0)), "partition.clients", "0", "above 0"),
        (FedAvg(partition=NaturalKey(columns=())), "partition.columns", "empty", "name a column"),
        (FedAvg(partition=NaturalKey(columns=("site",), minimum=0)), "partition.minimum", "0", "above 0"),
        (FedAvg(cohort=FixedCohort(clients=0)), "cohort.clients", "0", "above 0"),
        (FedAvg(cohort=Everyone(dropout=1.0)), "cohort.dropout", "1.0", "dropout < 1"),
        (FedAvg(cohort=PoissonCohort(clients=9, dropout=-0.1)), "cohort.dropout", "-0.1", "0 <= dropout"),
        (FedAvg(rounds=0), "rounds", "0", "above 0"),
        (FedAvg(evaluate_every=0), "evaluate_every", "0", "above 0"),
        (FedAvg(local_epochs=0), "local_epochs", "0", "above 0"),
        (FedAvg(batch_size=0), "batch_size", "0", "above 0"),
        (FedAvg(target_accuracy=1.1), "target_accuracy", "1.1", "0 < target_accuracy <= 1"),
        (FedAvg(server_momentum=1.0), "server_momentum", "1.0", "server_momentum < 1"),
        (FedAvg(client_optimizer=SGD(learning_rate=0.0)), "client_optimizer.learning_rate", "0.0", "above 0"),
        (FedAvg(clipping_norm=2.0), "clipping_norm", "2 clips nothing", 'aggregation="masked"'),
        (FedAvg(aggregation="masked", weighting="uniform"), "clipping_norm", "is missing", "such as 16"),
        (FedAvg(aggregation="masked", clipping_norm=0.0, weighting="uniform"), "clipping_norm", "0.0", "above 0"),
        (FedAvg(aggregation="masked", clipping_norm=16.0), "weighting", "sum of updates", 'weighting="uniform"'),
        (FedSGD(server_learning_rate=-0.1), "server_learning_rate", "-0.1", "above 0"),
        (FedProx(proximal=-0.5), "proximal", "-0.5", "0 or more"),
        (FedProx(proximal=float("inf")), "proximal", "inf", "0 or more"),
        (FedAdam(beta1=1.0), "beta1", "1.0", "beta1 < 1"),
        (FedYogi(beta2=1.0), "beta2", "1.0", "beta2 < 1"),
        (FedYogi(stabilizer=0.0), "stabilizer", "0.0", "above 0"),
        (FedAdagrad(stabilizer=-1.0), "stabilizer", "-1.0", "above 0"),
        (private(epsilon=1.0), "epsilon", "both are given", "exactly one"),
        (private(noise_multiplier=None), "epsilon", "neither is given", "exactly one"),
        (private(noise_multiplier=-1.0), "noise_multiplier", "-1.0", "above 0"),
        (private(delta=0.0), "delta", "0.0", "0 < delta"),
        (private(clipping_norm=0.0), "clipping_norm", "0.0", "above 0"),
        (private(sampling_seed=-1), "sampling_seed", "-1", "0 or more"),
        (private(clipping=Adaptive(quantile=1.0)), "clipping.quantile", "1.0", "quantile < 1"),
        (private(mechanism=TreeAggregation()), "cohort", "DP-FTRL", "InTurn(clients=...)"),
        (private(mechanism=BandedMatrix(), cohort=Everyone()), "cohort", "DP-FTRL", "InTurn(clients=...)"),
        (
            private(mechanism=TreeAggregation(), cohort=InTurn(clients=100), clipping=Adaptive()),
            "clipping", "correlated noise", "Flat()",
        ),
        (
            private(mechanism=BandedMatrix(), cohort=InTurn(clients=100), server_momentum=0.9),
            "server_momentum", "banded", "IndependentNoise()",
        ),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)  # fmt: skip
def test_what_cannot_work_is_one_clear_line(regime, field, value, fix):
    with pytest.raises(ScenarioError) as caught:
        checked(regime, "training.3")
    assert caught.value.field == f"training.3.{field}"
    assert value in caught.value.problem and fix in caught.value.fix
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "regime",
    [
        FedAvg(),
        FedProx(proximal=0.0),
        FedAdam(beta1=0.0),
        FedAvg(cohort=Everyone(dropout=0.99), target_accuracy=1.0),
        private(clipping=Adaptive()),
        private(mechanism=TreeAggregation(), cohort=InTurn(clients=100), server_momentum=0.9),
        private(mechanism=BandedMatrix(), cohort=InTurn(clients=100)),
    ],
)
def test_what_can_work_is_let_through(regime):
    checked(regime, "training.0")


@pytest.mark.parametrize("cohort", [FixedCohort(clients=21), PoissonCohort(clients=21), InTurn(clients=21)])
def test_more_participants_than_clients_are_refused(tiny, cohort):
    scenario = msgspec.structs.replace(tiny, training=(FedAvg(cohort=cohort),))
    with pytest.raises(ScenarioError) as caught:
        check_cohorts(scenario, {"FedAvg": 20})
    assert caught.value.field == "training.0.cohort.clients"
    assert "21 participants a round are more than the 20 clients" in caught.value.problem
    assert caught.value.fix == "use 20 or fewer"
    assert check_cohorts(scenario, {"FedAvg": 21}) == []


@pytest.mark.parametrize(
    ("clients", "cohort", "delta", "words"),
    [
        (999, HUNDRED, 1e-5, ["999 clients, 100 a round"]),
        (1000, PoissonCohort(clients=99), 1e-5, ["1000 clients, 99 a round"]),
        (1000, HUNDRED, 1e-3, ["training.0.delta: 0.001 is not below 1/clients = 0.001"]),
        (50, Everyone(), 0.5, ["50 clients, 50 a round", "use 1e-03 or less"]),
        (1000, HUNDRED, 1e-5, []),
        (5000, Everyone(), 1.9e-4, []),
    ],
)
def test_what_privacy_for_few_users_says_little_about_is_a_warning(tiny, clients, cohort, delta, words):
    scenario = msgspec.structs.replace(tiny, training=(private(cohort=cohort, delta=delta),))
    warnings = check_cohorts(scenario, {"DPFedAvg": clients})
    assert len(warnings) == len(words)
    for warning, word in zip(warnings, words, strict=True):
        assert word in warning and warning.startswith("training.0") and "use " in warning


def test_a_masked_sum_of_one_client_is_refused(tiny):
    regime = FedAvg(aggregation="masked", weighting="uniform", clipping_norm=16.0, cohort=FixedCohort(clients=1))
    with pytest.raises(ScenarioError, match="which no mask hides") as caught:
        check_cohorts(msgspec.structs.replace(tiny, training=(regime,)), {"FedAvg": 20})
    assert caught.value.field == "training.0.cohort"
    two = msgspec.structs.replace(regime, cohort=FixedCohort(clients=2))
    assert check_cohorts(msgspec.structs.replace(tiny, training=(two,)), {"FedAvg": 20}) == []


def test_few_clients_are_no_warning_without_privacy(tiny):
    assert check_cohorts(tiny, {"FedAvg": 4}) == []


def test_the_command_line_says_it_in_one_line_and_creates_nothing(tmp_path):
    federated = '[[training]]\nkind = "FedAvg"\n'
    alpha = toml(tmp_path / "alpha.toml", training=federated + 'partition = {kind = "dirichlet", alpha = 0.0}\n')
    done = called("run", alpha, cwd=tmp_path)
    assert_one_clear_line(done, "training.0.partition.alpha", "0.0", "use a value above 0", folder=tmp_path)

    (tmp_path / "d.csv").write_text("site,width,label\n" + "here,1.5,0\nhere,2.5,1\n" * 10)
    (tmp_path / "key.py").write_text(
        "from trustml import Csv, FedAvg, NaturalKey, Scenario\n"
        "from trustml.models.layers import Architecture, Dense\n"
        "scenario = Scenario(name='t', backends=('jax',), model=Architecture(layers=(Dense(units=2),)),\n"
        "    data=Csv(path='d.csv', label='label', drop=('site',), keys=('site',)),\n"
        "    training=(FedAvg(partition=NaturalKey(columns=('site',))),))\n"
    )
    done = called("run", "key.py", "--set", "explanations.examples=2", cwd=tmp_path)
    words = ("training.0.partition.columns", "site has one value, 'here'", "choose another column")
    assert_one_clear_line(done, *words, folder=tmp_path)

    many = 'partition = {kind = "iid", clients = 20}\ncohort = {kind = "fixed", clients = 21}\n'
    done = called("run", toml(tmp_path / "many.toml", training=federated + many), cwd=tmp_path)
    words = ("training.0.cohort.clients", "21 participants", "20 clients", "use 20 or fewer")
    assert_one_clear_line(done, *words, folder=tmp_path)


@pytest.mark.parametrize(
    ("regime", "field", "problem", "fix"),
    [
        (DPSGD(epsilon=1.0), "sampling", "independent noise has none", 'sampling="poisson"'),
        (DPSGD(epsilon=1.0, mechanism=TreeAggregation()), "sampling", "TreeAggregation", 'sampling="in turn"'),
        (DPSGD(epsilon=1.0, mechanism=BufferedToeplitz()), "sampling", "BufferedToeplitz", "BandedMatrix()"),
        (DPSGD(noise_multiplier=1.0, mechanism=BandedMatrix()), "mechanism.bands", "best number", "give bands"),
        (DPSGD(epsilon=1.0, mechanism=BandedMatrix(), clipping=Adaptive()), "clipping", "does not adapt", "Flat()"),
        (DPSGD(epsilon=1.0, mechanism=BandedMatrix(), engine="stock"), "mechanism", "engine 'stock'", 'engine="core"'),
    ],
)  # fmt: skip
def test_only_a_band_is_amplified_by_cyclic_batches(regime, field, problem, fix):
    with pytest.raises(ScenarioError) as error:
        checked(msgspec.structs.replace(regime, sampling="cyclic poisson"), "training.0")
    assert error.value.field == f"training.0.{field}"
    assert problem in error.value.problem and fix in error.value.fix


@pytest.mark.parametrize("guarantee", [{"epsilon": 1.0}, {"noise_multiplier": 1.0}])
def test_bands_that_are_given_or_found_are_amplified(guarantee):
    bands = 4 if "noise_multiplier" in guarantee else None
    for unit in ({}, {"unit": "user", "key": "person"}):
        checked(
            DPSGD(sampling="cyclic poisson", mechanism=BandedMatrix(bands=bands), **guarantee, **unit), "training.0"
        )
