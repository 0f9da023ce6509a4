"""Shadow models are what the backend's own trainers make, one at a time, of the same starts, batches and seeds."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from msgspec.structs import replace as replace_struct

from tests import WHOLE
from trustml.backends.contract import Model
from trustml.backends.jax import shadows
from trustml.backends.jax.dp import DPTrainer
from trustml.backends.jax.federated import JaxFederation
from trustml.backends.jax.network import JaxNetwork
from trustml.backends.jax.shadows import JaxShadows, refuse
from trustml.backends.jax.training import PlainTrainer
from trustml.backends.settings import FederatedSettings, PrivateSettings, UserPrivacy
from trustml.backends.shadows import ShadowModels, ShadowSettings
from trustml.models.layers import GRU, Add, Architecture, Dense, Dropout, Node, ReLU
from trustml.models.losses import example_losses
from trustml.models.tasks import NextToken
from trustml.models.token_layers import Attention, Pick, Reshape
from trustml.models.zoo import mlp
from trustml.plan.attacking import why_no_shadows
from trustml.plan.job import Mechanism, ShadowJob
from trustml.scenario.clipping import Adaptive, Flat, PerLayer
from trustml.scenario.federated import (
    BandedMatrix,
    DPFedAvg,
    FedAvg,
    FedProx,
    FedSGD,
    TreeAggregation,
)
from trustml.scenario.optimizers import SGD, Adam, Schedule
from trustml.scenario.partition import IID, FixedCohort, PoissonCohort
from trustml.scenario.regimes import DPSGD, Augmentation, Plain
from trustml.scenario.spec import Execution
from trustml.worker.shadow_plans import draw_models
from trustml.worker.shadows import learning_rates

pytestmark = [pytest.mark.jax]

POOL, TRAINED, FEATURES, CLASSES, CLIENTS, MODELS = 30, 22, 6, 3, 4, 3
CHECKED = 2  # by the backend's own trainer, which compiles anew each time; it is in another call than the first two
GENERATOR = np.random.default_rng(0)
INPUTS = GENERATOR.normal(size=(POOL, FEATURES)).astype(np.float32)
LABELS = GENERATOR.integers(0, CLASSES, POOL)
NETWORK = mlp([8], classes=CLASSES)
GRAPH = Architecture(  # features as three steps, with a shortcut around attention, and recurrent steps
    layers=(
        Node(name="steps", layer=Reshape(shape=(3, 2)), inputs=("input",)),
        *(Node(name=name, layer=Dense(units=4), inputs=("steps",)) for name in ("query", "key", "value")),
        Node(name="heads", layer=Attention(heads=2, causal=True), inputs=("query", "key", "value")),
        Node(name="both", layer=Add(), inputs=("heads", "value")),
        GRU(units=5),
        Pick(index=-1),
        Dense(units=CLASSES),
    )
)


@pytest.fixture(autouse=True)
def compiled_quickly():
    """Compile without optimising: these programs run for a moment, once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def mechanism_of(**numbers) -> Mechanism:
    fixed = {"sampling": "poisson", "secret_sampling": True, "largest_participation": 1, "examples": TRAINED}
    return Mechanism(**(fixed | numbers))


def job_of(regime, *, mechanism=None, model=NETWORK, seed=0) -> ShadowJob:
    return ShadowJob(
        id="shadow",
        backend="jax",
        model=model,
        input_shape=(FEATURES,),
        execution=Execution(),
        regime=regime,
        mechanism=mechanism,
        seed=seed,
        data="",
        members="",
        output="",
    )


def drawn(job: ShadowJob, *, models: int = MODELS) -> tuple[ShadowSettings, ShadowModels]:
    generator = np.random.default_rng(1)
    members = np.zeros((models, POOL), bool)
    owners = np.full((models, POOL), -1)
    for row, held in zip(members, owners, strict=True):
        row[generator.permutation(POOL)[:TRAINED]] = True
        held[row] = generator.permutation(np.arange(TRAINED) % CLIENTS)
    found = draw_models(job, INPUTS, LABELS, members=members, owners=owners)
    settings = ShadowSettings(
        architecture=job.model,
        inputs=INPUTS,
        regime=job.regime,
        mechanism=job.mechanism,
        rates=learning_rates(job, steps=found.rows.shape[1]),
    )
    return settings, found


def trained(settings: ShadowSettings, models: ShadowModels, *, at_once: int = 2) -> np.ndarray:
    told = []
    found = JaxShadows(settings, at_once=at_once).train(models, done=told.append)
    assert told[-1] == len(models)
    return found


@pytest.mark.parametrize("private", [False, pytest.param(True, marks=pytest.mark.long)])
def test_of_texts_the_log_probability_of_what_follows_is_kept(private):
    """As the losses of the same models by numpy; some texts of the pool hold no token at all."""
    architecture = Architecture(layers=(Reshape(shape=(3, 2)), Dense(units=4)))
    tokens = np.where(np.arange(3) < np.arange(POOL)[:, None] % 4, 1 + LABELS[:, None], 0)
    mechanism = mechanism_of(
        noise_multiplier=1.0, clipping_norm=0.5, sample_rate=0.2, expected_batch_size=5, steps=4, total_steps=4
    )
    regime = DPSGD(epsilon=3.0) if private else Plain(epochs=2, batch_size=5, optimizer=SGD(learning_rate=0.5))
    job = replace_struct(job_of(regime, model=architecture, mechanism=mechanism if private else None), task=NextToken())
    members = np.arange(POOL) + np.array([[0], [8]]) < np.array([[22], [30]])
    members[1] = members[1][::-1]
    found = draw_models(job, INPUTS, tokens, members=members, owners=None)
    settings = ShadowSettings(
        architecture=architecture, inputs=INPUTS, regime=regime, mechanism=job.mechanism,
        rates=learning_rates(job, steps=found.rows.shape[1]), task=NextToken(), labels=tokens,
    )  # fmt: skip
    given = trained(settings, found)
    assert given.shape == (2, POOL)
    if private:
        assert np.isfinite(given).all() and (given[0] != given[1]).any()
        return
    model = replace(start_of(job, found, 1), task=NextToken())
    trainer = PlainTrainer(model, regime=regime, dropout_seed=0)
    for step in found.rows[1]:
        trainer.step(INPUTS[whole(step)], tokens[whole(step)], learning_rate=0.5)
    wanted = -example_losses(logits_of(model, trainer.weights()), tokens, task=NextToken())
    np.testing.assert_allclose(given[1], wanted, atol=1e-5)


def start_of(job: ShadowJob, models: ShadowModels, number: int) -> Model:
    weights = {name: array[number] for name, array in models.weights.items()}
    return Model(architecture=job.model, input_shape=(FEATURES,), weights=weights)


def logits_of(model: Model, weights) -> np.ndarray:
    return JaxNetwork(replace(model, weights=weights)).logits(INPUTS)


def whole(rows: np.ndarray) -> np.ndarray:
    return rows[rows >= 0]


@pytest.mark.parametrize(
    ("regime", "model"),
    [
        pytest.param(
            Plain(epochs=3, batch_size=5, optimizer=SGD(momentum=0.9), schedule=Schedule(decay="cosine", warmup=4)),
            GRAPH,
            marks=pytest.mark.long,
        ),
        (
            Plain(epochs=3, batch_size=5, optimizer=Adam(learning_rate=0.02), random_labels=True),
            Architecture(layers=(Dense(units=8), ReLU(), Dropout(rate=0.5), Dense(units=CLASSES))),
        ),
    ],
    ids=["momentum and schedule", "Adam, dropout, random labels"],
)
def test_a_plain_shadow_model_is_the_plain_trainers(regime, model):
    job = job_of(regime, model=model)
    settings, models = drawn(job)
    found = trained(settings, models)
    assert models.rows.shape == (MODELS, 15, 5)
    start = start_of(job, models, CHECKED)
    trainer = PlainTrainer(start, regime=regime, dropout_seed=int(models.dropout_seeds[CHECKED]))
    for step, batch in enumerate(map(whole, models.rows[CHECKED])):
        rate = regime.optimizer.learning_rate * regime.schedule.factor(step, 15)
        trainer.step(INPUTS[batch], models.labels[CHECKED][batch], learning_rate=rate)
    expected = logits_of(start, trainer.weights())
    assert np.abs(logits_of(start, start.weights) - expected).max() > 0.1
    assert np.abs(found[CHECKED] - expected).max() < 1e-5 * max(1, np.abs(expected).max())


@pytest.mark.parametrize(
    ("clipping", "noise", "optimizer", "model"),
    [
        pytest.param(Flat(), 0.0, SGD(learning_rate=0.5, momentum=0.9), GRAPH, marks=pytest.mark.long),
        (PerLayer(), 0.8, Adam(learning_rate=0.05), NETWORK),
        pytest.param(
            Adaptive(quantile=0.3, learning_rate=0.5), 0.0, SGD(learning_rate=0.5), NETWORK, marks=pytest.mark.long
        ),
    ],
    ids=["flat, no noise", "per layer, noise", "adaptive, no noise"],
)
def test_a_private_shadow_model_is_the_private_trainers_on_the_same_batches_and_noise(
    clipping, noise, optimizer, model
):
    regime = DPSGD(noise_multiplier=1.0, clipping=clipping, batch_size=6, steps=8, optimizer=optimizer)
    mechanism = mechanism_of(
        noise_multiplier=noise,
        clipping_norm=0.4,
        sample_rate=6 / TRAINED,
        expected_batch_size=6,
        total_steps=8,
        steps=8,
    )
    job = job_of(regime, mechanism=mechanism, model=model)
    settings, models = drawn(job)
    models.rows[CHECKED, 3] = -1  # a batch that nobody is in
    found = trained(settings, models)
    start = start_of(job, models, CHECKED)
    private = PrivateSettings(
        optimizer=optimizer,
        per_layer=isinstance(clipping, PerLayer),
        count_unclipped=isinstance(clipping, Adaptive),
        expected_batch_size=6,
        noise_seed=tuple(models.noise_seeds[CHECKED].tolist()),
    )
    trainer, clip = DPTrainer(start, settings=private, dropout_seed=0), 0.4
    for batch in map(whole, models.rows[CHECKED]):
        unclipped = 0
        if len(batch):
            unclipped = trainer.accumulate(INPUTS[batch][:, None], LABELS[batch], clipping_norm=clip).unclipped
        trainer.update(clipping_norm=clip, noise_multiplier=noise, learning_rate=optimizer.learning_rate)
        if isinstance(clipping, Adaptive):
            share = (unclipped - len(batch) / 2) / 6 + 0.5
            clip *= float(np.exp(-clipping.learning_rate * (share - clipping.quantile)))
    expected = logits_of(start, trainer.weights())
    assert np.abs(logits_of(start, start.weights) - expected).max() > 0.1
    assert np.abs(found[CHECKED] - expected).max() < 1e-5 * max(1, np.abs(expected).max())


def test_noise_has_the_size_it_should_and_is_each_models_own():
    # No example ever comes: one step is noise * clip / divisor. On the unit vectors and zero, logits are the weights.
    inputs = np.concatenate([np.eye(FEATURES), np.zeros((1, FEATURES))]).astype(np.float32)
    count, width = 40, 50
    mechanism = mechanism_of(
        noise_multiplier=3.0, clipping_norm=0.5, sample_rate=0.1, expected_batch_size=2, total_steps=1, steps=1
    )
    regime = DPSGD(noise_multiplier=3.0, batch_size=2, steps=1, optimizer=SGD(learning_rate=1.0))
    network = Architecture(layers=(Dense(units=width),))
    settings = ShadowSettings(
        architecture=network, inputs=inputs, regime=regime, mechanism=mechanism, rates=np.ones(1, np.float32)
    )
    models = ShadowModels(
        weights={
            "0.kernel": np.zeros((count, FEATURES, width), np.float32),
            "0.bias": np.zeros((count, width), np.float32),
        },
        labels=np.zeros((count, FEATURES + 1), np.int64),
        rows=np.full((count, 1, 4), -1, np.int32),
        dropout_seeds=np.zeros(count, np.int64),
        noise_seeds=np.random.default_rng(0).integers(2**32, size=(count, 4)).astype(np.uint32),
    )
    found = trained(settings, models, at_once=16)
    noise = np.concatenate([found[:, :-1] - found[:, -1:], found[:, -1:]], axis=1).reshape(count, -1)
    expected, coordinates = 3.0 * 0.5 / 2, noise.size
    assert abs(noise.std() - expected) < 5 * expected / np.sqrt(2 * coordinates)
    assert abs(noise.mean()) < 5 * expected / np.sqrt(coordinates)
    between = np.corrcoef(noise)[np.triu_indices(count, 1)]  # 780 pairs, each of 350 coordinates
    assert np.abs(between).max() < 5 / np.sqrt(noise.shape[1])


LOCAL = SGD(learning_rate=0.2, momentum=0.5)
FEDERATED = {
    "FedAvg uniform": FedAvg(
        cohort=PoissonCohort(clients=2, dropout=0.2),
        rounds=4,
        local_epochs=2,
        batch_size=4,
        client_optimizer=LOCAL,
        server_momentum=0.7,
        weighting="uniform",
    ),
    "FedProx": FedProx(cohort=FixedCohort(clients=3), rounds=3, batch_size=4, client_optimizer=LOCAL, proximal=0.5),
    "FedSGD": FedSGD(rounds=3, server_learning_rate=0.5, server_momentum=0.5),
    "DPFedAvg": DPFedAvg(
        noise_multiplier=0.5,
        clipping=Adaptive(learning_rate=0.5),
        cohort=PoissonCohort(clients=2),
        rounds=4,
        batch_size=4,
        client_optimizer=LOCAL,
    ),
}


@pytest.mark.parametrize(
    "name", [name if name == "DPFedAvg" else pytest.param(name, marks=pytest.mark.long) for name in FEDERATED]
)
def test_a_federated_shadow_model_is_the_federations(name):
    regime = FEDERATED[name]
    mechanism = None
    if isinstance(regime, DPFedAvg):
        mechanism = mechanism_of(
            noise_multiplier=0.5,
            clipping_norm=0.3,
            sample_rate=0.5,
            expected_batch_size=2,
            total_steps=4,
            steps=4,
            unit="user",
        )
    job = job_of(regime, mechanism=mechanism, model=GRAPH if mechanism and WHOLE else NETWORK, seed=3)
    settings, models = drawn(job)
    rows, visits = models.rows[CHECKED], models.visits
    rows[1], visits.weights[CHECKED, 1], visits.clients[CHECKED, 1] = -1, -1, 0  # nobody came
    visits.clients[CHECKED, 0] += 1  # one that has no examples
    found = trained(settings, models)
    privacy = None
    if mechanism is not None:
        privacy = UserPrivacy(
            mechanism=regime.mechanism,
            noise_multiplier=0.5,
            clipping_norm=0.3,
            clip_learning_rate=0.5,
            expected_clients=2,
        )
    start = start_of(job, models, CHECKED)
    federated = FederatedSettings(
        regime=regime,
        privacy=privacy,
        noise_seed=tuple(models.noise_seeds[CHECKED].tolist()),
        batch_size=rows.shape[2],
    )
    federation = JaxFederation(start, settings=federated)
    for number, weights in enumerate(visits.weights[CHECKED]):
        ends = np.flatnonzero(weights >= 0) + 1
        clients = [
            [(INPUTS[whole(batch)], LABELS[whole(batch)]) for batch in rows[number][first:end]]
            for first, end in zip([0, *ends], ends, strict=False)
        ] + [[]] * (number == 0)
        if clients or privacy is not None:
            federation.round(clients)
    expected = logits_of(start, federation.weights())
    assert np.abs(logits_of(start, start.weights) - expected).max() > 0.01
    assert np.abs(found[CHECKED] - expected).max() < 1e-4 * max(1, np.abs(expected).max())


def test_models_differ_and_do_not_depend_on_how_many_go_through_at_once(monkeypatch):
    regime = Plain(epochs=2, batch_size=5, optimizer=SGD(momentum=0.9))
    settings, models = drawn(job_of(regime), models=5)
    together = trained(settings, models, at_once=5)
    monkeypatch.setattr(shadows, "_FEW", 0)  # examples in pieces too
    monkeypatch.setattr(shadows, "_AT_ONCE", 8)
    in_parts = trained(settings, models, at_once=2)
    assert in_parts.dtype == np.float32 and in_parts.shape == (5, POOL, CLASSES)
    np.testing.assert_allclose(in_parts, together, atol=1e-6)
    for first in range(5):
        for second in range(first):
            assert np.abs(together[first] - together[second]).max() > 0.1


@pytest.mark.parametrize(
    ("regime", "named"),
    [
        (Plain(stop_at="DPSGD"), "stop_at='DPSGD'"),
        (DPSGD(engine="stock"), "engine='stock'"),
        (DPSGD(augmentation=Augmentation()), "augmentation"),
        (Plain(augmentation=Augmentation()), "augmentation"),
        (DPSGD(ema_decay=0.99), "ema_decay=0.99"),
        (FedAvg(aggregation="robust"), "aggregation='robust'"),
        (DPFedAvg(mechanism=TreeAggregation()), "TreeAggregation"),
        (DPFedAvg(mechanism=BandedMatrix()), "BandedMatrix"),
    ],
)
def test_what_shadow_models_cannot_follow_is_refused_by_name_and_planned_by_nobody(regime, named):
    with pytest.raises(NotImplementedError, match=named):
        refuse(ShadowSettings(architecture=NETWORK, inputs=INPUTS, regime=regime, rates=np.zeros(0, np.float32)))
    assert why_no_shadows(regime)


def test_what_is_planned_is_not_refused():
    numbers = {"noise_multiplier": 1.0, "clipping_norm": 1.0, "sample_rate": 0.1, "expected_batch_size": 2}
    mechanism = mechanism_of(**numbers, total_steps=1, steps=1)
    for regime in (Plain(), DPSGD(), DPSGD(clipping=PerLayer()), FedAvg(partition=IID()), *FEDERATED.values()):
        assert not why_no_shadows(regime)
        settings = ShadowSettings(
            architecture=NETWORK, inputs=INPUTS, regime=regime, mechanism=mechanism, rates=np.zeros(0, np.float32)
        )
        refuse(settings)
