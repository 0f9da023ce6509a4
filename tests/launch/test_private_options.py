"""Every option of DP-SGD trains in every framework, or is refused by name."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import trustml
from tests import WHOLE
from tests.records.make import DENSE
from trustml.auditing.run_audit import claim_of
from trustml.privacy import accounting
from trustml.privacy.ledger import ADD_OR_REMOVE, REPLACE, ZERO_OUT, read_ledger
from trustml.scenario.clipping import Adaptive, PerLayer
from trustml.scenario.federated import BandedMatrix, BufferedToeplitz, TreeAggregation
from trustml.scenario.optimizers import SGD, Adam, Schedule
from trustml.scenario.regimes import DPSGD, Augmentation
from trustml.scenario.spec import Explanations

pytestmark = [pytest.mark.timeout(600), pytest.mark.tensorflow]

COMMON = {"epochs": 2, "batch_size": 64}
REGIMES = (
    DPSGD(
        name="adaptive", noise_multiplier=1.0, clipping=Adaptive(quantile=0.3), clipping_norm=50.0, ema_decay=0.9,
        **COMMON,
    ),
    DPSGD(
        name="layered", epsilon=8.0, clipping=PerLayer(), optimizer=Adam(learning_rate=0.01), batch_size=64, steps=12,
        schedule=Schedule(decay="cosine", warmup=2), augmentation=Augmentation(multiplicity=3, flip=True),
    ),
    DPSGD(name="correlated", epsilon=8.0, sampling="in turn", mechanism=BandedMatrix(), **COMMON),
    DPSGD(name="cyclic", epsilon=8.0, sampling="cyclic poisson", mechanism=BandedMatrix(bands=3), **COMMON),
    DPSGD(name="stock", epsilon=8.0, engine="stock", **COMMON),
    DPSGD(name="stock-optimizer", noise_multiplier=1.0, engine="stock_optimizer", epochs=1, batch_size=128),
)  # fmt: skip

SAMPLINGS = (
    DPSGD(name="shuffle", epsilon=8.0, sampling="shuffle", optimizer=SGD(momentum=0.9), **COMMON),
    DPSGD(name="fixed", epsilon=8.0, sampling="fixed", **COMMON),
    DPSGD(name="published", epsilon=8.0, sampling_seed=3, **COMMON),
    DPSGD(name="secret", epsilon=8.0, **COMMON),
    DPSGD(name="in-turn", epsilon=8.0, sampling="in turn", **COMMON),
    DPSGD(name="cyclic", epsilon=8.0, sampling="cyclic poisson", mechanism=BandedMatrix(bands=3), **COMMON),
    DPSGD(name="blt", epsilon=8.0, sampling="in turn", mechanism=BufferedToeplitz(), **COMMON),
    DPSGD(name="tree", epsilon=8.0, sampling="in turn", mechanism=TreeAggregation(), **COMMON),
)  # fmt: skip
TRAINED_ALWAYS = ("shuffle", "fixed", "in-turn", "tree", "cyclic")
"""Other tests train with secret batches, and with each mechanism in each backend."""


@pytest.fixture(scope="module")
def options(tiny, tmp_path_factory):
    return trustml.run(scenario_of(tiny, REGIMES), out=tmp_path_factory.mktemp("options"))


@pytest.fixture(scope="module")
def samplings(tiny, tmp_path_factory):
    """Every way to draw batches: the core draws them, so one backend shows it for all."""
    regimes = tuple(one for one in SAMPLINGS if WHOLE or one.name in TRAINED_ALWAYS)
    scenario = msgspec.structs.replace(scenario_of(tiny, regimes), backends=("jax",), model=DENSE)
    with pytest.MonkeyPatch.context() as patch:
        if not WHOLE:  # with all of them calibration for a fixed size takes seconds
            patch.setattr(accounting, "RDP_ORDERS", tuple(range(2, 25)))
        return trustml.run(scenario, out=tmp_path_factory.mktemp("samplings"))


def scenario_of(tiny, regimes):
    return msgspec.structs.replace(
        tiny,
        training=regimes,
        explanations=Explanations(methods=()),
        execution=msgspec.structs.replace(tiny.execution, micro_batch_size=50),
    )


def charges(run, backend, regime):
    return read_ledger(run.path / f"jobs/train.{backend}.{regime}.s0/ledger.jsonl")


@pytest.mark.long
def test_everything_trains_or_is_refused_by_name(options):
    assert options.status == "success", [(r.id, r.reason) for r in options.manifest.jobs if r.status != "ok"]
    refused = {(skip.backend, skip.regime): skip.reason for skip in options.manifest.skips}
    assert set(refused) == {("jax", "stock"), ("jax", "stock-optimizer"), ("torch", "stock-optimizer")}
    assert "no library with a training loop of its own" in refused["jax", "stock"]
    accuracy = options.measures().query("measure == 'accuracy'").dropna(subset="value")
    assert len(accuracy) == 4 * 3 + 2 + 1


@pytest.mark.parametrize(
    ("regime", "relation"),
    [
        pytest.param("secret", ADD_OR_REMOVE, marks=pytest.mark.long),
        ("shuffle", ZERO_OUT),
        ("fixed", REPLACE),
        pytest.param("published", ZERO_OUT, marks=pytest.mark.long),
        ("in-turn", ZERO_OUT),
        ("cyclic", ADD_OR_REMOVE),
        pytest.param("blt", ZERO_OUT, marks=pytest.mark.long),
        ("tree", ZERO_OUT),
    ],
)
def test_targets_are_met_under_the_relation_of_the_sampling(samplings, regime, relation):
    assert samplings.status == "success"
    statement = next(s for s in samplings.privacy() if s.model == f"train.jax.{regime}.s0")
    assert statement.neighboring_relation == relation
    assert 7.5 < statement.epsilon <= 8.0 + 1e-9


def test_correlated_noise_is_one_charge_and_said_so(samplings):
    kinds = {"tree": "tree aggregation"} | ({"blt": "buffered linear Toeplitz matrix"} if WHOLE else {})
    for name, words in kinds.items():
        (charge,) = charges(samplings, "jax", name)
        statement = next(s for s in samplings.privacy() if s.model == f"train.jax.{name}.s0")
        assert charge.steps == statement.steps == sum(one.steps for one in charges(samplings, "jax", "in-turn"))
        assert words in statement.mechanism and "per-example gradients" in statement.mechanism
        assert statement.epsilon_at_least is None and statement.sampling.endswith("no amplification claimed")


def test_amplified_bands_are_one_charge_of_the_steps_of_a_group(samplings):
    (charge,) = charges(samplings, "jax", "cyclic")
    statement = next(s for s in samplings.privacy() if s.model == "train.jax.cyclic.s0")
    assert (charge.steps, charge.participation, charge.groups) == (statement.steps, -(-charge.steps // 3), 3)
    assert charge.sample_rate == pytest.approx(3 * 64 / charge.examples) == statement.sample_rate
    assert "banded matrix factorisation" in statement.mechanism
    assert statement.sampling == "Poisson from one group after another, secret"
    told = {one.name: one for one in statement.comparisons}
    assert told["epsilon_unamplified"].value > statement.epsilon
    assert f"{charge.participation} steps" in told["epsilon_unamplified"].note
    drawn = next(one for one in statement.assumptions if one.name.startswith("batches were drawn"))
    assert drawn.status == "met" and "in a group on its own" in drawn.why
    secret = next(one for one in statement.assumptions if one.name == "batches are secret")
    assert "operating-system entropy" in secret.why
    audited = claim_of(statement, None, [charge])
    assert (audited.sampling, audited.steps) == ("cyclic poisson", charge.participation)
    assert "largest participation" not in {release.name for release in statement.releases}


@pytest.mark.long
def test_adaptive_clipping_moves_the_norm_and_pays_for_the_count(options):
    for backend in ("torch", "jax", "tensorflow"):
        for charge in charges(options, backend, "adaptive"):
            assert charge.precision**-0.5 == pytest.approx(1.0)
            assert charge.noise_multiplier > 1.0 and charge.quantile_noise_multiplier > 0


@pytest.mark.long
def test_the_average_and_the_augmented_copies_are_the_same_kind_of_weights(options):
    for backend in ("torch", "jax", "tensorflow"):
        for regime in ("adaptive", "layered"):
            weights = options.weights(f"train.{backend}.{regime}.s0")
            assert all(np.isfinite(array).all() for array in weights.values())


@pytest.mark.long
def test_a_published_seed_loses_the_amplification_and_says_so(samplings):
    statement = next(s for s in samplings.privacy() if s.model == "train.jax.published.s0")
    (secrecy,) = [one for one in statement.assumptions if one.name == "batches are secret"]
    assert secrecy.status == "met" and secrecy.why.startswith("not needed: sampling_seed 3")
    poisson = next(other for other in statement.comparisons if other.name == "epsilon_if_poisson")
    assert poisson.value < statement.epsilon


def test_a_shuffled_model_shows_what_poisson_would_give_and_what_it_leaks_at_least(samplings):
    statement = next(s for s in samplings.privacy() if s.model == "train.jax.shuffle.s0")
    values = {other.name: other for other in statement.comparisons}
    lower = values["epsilon_shuffle_lower"]
    assert lower.bound == "at least" and lower.value <= statement.epsilon
    assert values["epsilon_if_poisson"].value < statement.epsilon
    assert values["epsilon_prv"].value is None and "Poisson batches only" in values["epsilon_prv"].note


@pytest.mark.long
def test_stock_engines_are_labelled_and_charged_as_they_sample(options):
    torch = next(s for s in options.privacy() if s.model == "train.torch.stock.s0")
    keras = next(s for s in options.privacy() if s.model == "train.tensorflow.stock.s0")
    assert torch.sampling == "Poisson, secret" and keras.sampling.startswith("shuffled epochs")
    assert torch.epsilon <= 8.0 and keras.epsilon <= 8.0 + 1e-9
    assert keras.noise_multiplier > torch.noise_multiplier, "without amplification the target costs more noise"
    drawn = next(one for one in torch.assumptions if one.name.startswith("batches were drawn"))
    assert drawn.status == "not checked"
    libraries = {r.id: r.result.library for r in options.manifest.jobs if r.status == "ok"}
    assert libraries["train.torch.stock.s0"] == "Opacus make_private"
    assert libraries["train.tensorflow.stock-optimizer.s0"] == "TF Privacy DPKerasSGDOptimizer"


@pytest.mark.long
def test_the_choice_of_opacus_mode_and_its_timings_are_in_the_record(options):
    engine = {r.id: r.result.engine for r in options.manifest.jobs if r.result}
    chosen = engine["train.torch.adaptive.s0"]
    assert chosen.name == min(chosen.seconds, key=chosen.seconds.get)
    assert {"hooks", "book_keeping"} <= set(chosen.seconds) and {"ew", "ghost"} <= set(chosen.refused)
    assert "fast_clipping" in engine["train.tensorflow.layered.s0"].refused
