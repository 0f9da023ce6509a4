"""Rows come out of updates of clients, and not of those whose noise drowns them; no attack passes what noise allows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace

from tests import WHOLE
from trustml.attacks.reconstruction import inverted, rows_found
from trustml.auditing.remembered import remembered_findings
from trustml.backends.contract import Model
from trustml.backends.settings import InversionSettings
from trustml.backends.table import load_backend
from trustml.compare.table import table_of
from trustml.data.dataset import Examples
from trustml.errors import DataError, ScenarioError
from trustml.launch.prepare import prepare_run
from trustml.measures.evidence import Evidence
from trustml.measures.reconstructed import FOUND, NEARNESS, PROPERTY, TYPICAL, reconstructed_rows
from trustml.models.layers import Architecture, Dense, Flatten, ReLU, Tanh
from trustml.models.tasks import DEFAULT_TASK, Regression
from trustml.models.weights import initial_weights
from trustml.plan.attack_files import population_file
from trustml.plan.job import decode_job, job_needs
from trustml.privacy.reconstruction import most_guessed_of_gaussian
from trustml.record.files import encode_arrays, write_atomic
from trustml.report.attacks.tables import remembered_cells
from trustml.report.summary import _remembered
from trustml.scenario.attacks import Attacks, GradientInversion, ModelInversion, PropertyInference
from trustml.scenario.clipping import Adaptive
from trustml.scenario.federated import DPFedAvg, FedSGD
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import IID
from trustml.scenario.regimes import Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Explanations, Scenario
from trustml.worker.clock import Clock
from trustml.worker.job_context import JobContext, Progress
from trustml.worker.reconstruction import (
    Chosen,
    _matched,
    _of_updates,
    choose,
    client_updates,
    noisy,
    of_model,
    reconstruct,
    typical_inputs,
)

DROWNED = DPFedAvg(
    partition=IID(clients=40), noise_multiplier=20.0, rounds=2, clipping=Adaptive(count_noise=10.5)
)  # the count takes nearly all that the noise allows
ASKED = Attacks(
    gradient_inversion=GradientInversion(updates=12, among=20, steps=30 if WHOLE else 0),
    model_inversion=ModelInversion(steps=3),
)


def scenario(**changes):
    usual = {
        "name": "again",
        "data": Digits(),
        "model": Architecture(layers=(Flatten(), Dense(units=12), ReLU(), Dense(units=10))),
        "training": (DROWNED,),
        "backends": ("jax",),
        "explanations": Explanations(methods=(), examples=4),
        "attacks": ASKED,
    }
    return Scenario(**(usual | changes))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Rows of a run whose model is as it started: updates tell as much of that."""
    run = prepare_run(scenario(), root=tmp_path_factory.mktemp("again"))
    backend = load_backend("jax")
    device = backend.open_device("cpu", 1)
    manifest = run.manifest()
    train, again = (decode_job((run.job_folder(one.id) / "job.json").read_bytes()) for one in manifest.jobs)
    (run.job_folder(train.id) / "weights.safetensors").write_bytes(run.file(train.initial_weights).read_bytes())
    folder = run.job_folder(again.id)
    progress = Progress(folder / "events.jsonl")
    at = JobContext(root=run.path, folder=folder, clock=Clock(device.synchronize), progress=progress)
    assert reconstruct(again, backend, at=at) == "trustml"
    assert run.file(again.output).stat().st_mode & 0o077 == 0 and job_needs(again) == (train.id,)
    run.write_manifest(replace(manifest, jobs=tuple(replace(record, status="ok") for record in manifest.jobs)))
    return reconstructed_rows(Evidence(run, second_opinion=False))


def of(rows, measure):
    return {row.subject: row for row in rows if row.measure == measure}


@pytest.mark.jax
def test_rows_are_made_again_exactly_by_the_first_layer(rows):
    found, near = of(rows, FOUND), of(rows, NEARNESS)
    for moment in ("first round", "after training"):
        exact = f"{moment}, as sent, by the first layer"
        assert found[exact].value == 1.0 and found[exact].verdict == "above guessing"
        assert near[exact].value > 90 > near[exact].facts["untrained_value"] and found[exact].facts["likeness"] > 0.999
        assert found[exact].facts["untrained_value"] < 0.5 and found[exact].facts["among"] == 20
        assert found[exact].facts["moved"] == found[exact].n == 12 and found[exact].facts["trusted"]
        if WHOLE:
            optimised = found[f"{moment}, as sent, by optimisation"]
            assert optimised.value > 0.7 and optimised.verdict == "above guessing"
    assert (len(found), len(near)) == ((10, 8) if WHOLE else (6, 4))


@pytest.mark.jax
def test_under_noise_no_attack_finds_rows_and_what_nothing_was_learnt_of_is_like_no_class(rows):
    noisy = [row for subject, row in of(rows, FOUND).items() if "noise" in subject]
    assert len(noisy) == (6 if WHOLE else 4) and all(row.p_value > 1e-4 for row in noisy)
    for row in noisy:
        at_most = most_guessed_of_gaussian(noise_multiplier=20.0, chance=1 / row.facts["among"])
        assert row.facts["round_at_most"] == pytest.approx(at_most) and 1 / row.facts["among"] < at_most < 0.15
        assert "guessed_at_most" not in row.facts  # of a client that is not known to be in the round
    (typical,) = of(rows, TYPICAL).values()
    assert typical.p_value > 1e-4 and typical.facts["of_class_means"] > 0.4


@pytest.mark.jax
def test_what_comes_out_of_updates_is_a_risk_but_for_whom_the_guarantee_trusts(rows):
    sent = of(rows, FOUND)["first round, as sent, by the first layer"]
    seen = replace(sent, regime="FedAvg", job="train.jax.FedAvg.s0", facts={**sent.facts, "trusted": False})
    findings = {one.id: one for one in remembered_findings([*rows, seen])}
    assert findings[f"membership.{FOUND}.{sent.job}.{sent.subject}"].severity == "note"
    risk = findings[f"membership.{FOUND}.{seen.job}.{sent.subject}"]
    assert risk.severity == "risk" and "1.000 of rows are made again from updates (first round" in risk.title
    assert len(findings) == 1 + sum(row.p_value is not None for row in rows)
    words = _remembered(table_of([*rows, seen]))
    assert {
        "row made again: from updates of FedAvg",
        "row made again: nothing is shown of DPFedAvg",
        "typical input: nothing is shown of DPFedAvg",
    } == set(words)
    assert len(remembered_cells(table_of(rows))) == len(rows)


def test_properties_are_told_where_answers_follow_them(tmp_path):
    asked = PropertyInference(shadow_models=20, probes=20)
    run = prepare_run(scenario(attacks=Attacks(property_inference=asked), training=(Plain(),)), root=tmp_path)
    more = run.arrays(population_file("Plain"))["more"]
    logits = np.random.default_rng(0).normal(size=(20, 1797, 3))
    manifest = run.manifest()
    record = manifest.jobs[-1]
    run.write_manifest(replace(manifest, jobs=(replace(record, status="ok"),)))
    rows = []
    for told in (2.0, 0.0):
        arrays = {"logits": (logits + told * more[:, None, None]).astype(np.float32)}
        write_atomic(run.file(run.job(record.id).output), encode_arrays(arrays), private=True)
        rows += reconstructed_rows(Evidence(run, second_opinion=False))
    assert [(row.measure, row.verdict) for row in rows] == [
        (PROPERTY, "above guessing"),
        (PROPERTY, "not above guessing"),
    ]
    assert rows[0].value == 1.0 and rows[0].subject == "0.3 or 0.7 of rows with the first half of the classes"
    assert _remembered(table_of(rows[:1])) == ["property: how common it was among rows is told by Plain"]
    (found,) = remembered_findings(rows[:1])
    assert found.severity == "risk" and "which one is told of 1.000 of models" in found.title
    (nothing,) = reconstructed_rows(Evidence(failed(run, record), second_opinion=False))
    assert nothing.value is None and "the job ended timeout" in nothing.note


def failed(run, record):
    run.write_manifest(replace(run.manifest(), jobs=(replace(record, status="timeout", reason="too slow"),)))
    return run


def small():
    architecture = Architecture(layers=(Dense(units=2),))
    weights = initial_weights(architecture, (5,), generator=np.random.default_rng(0))
    return Model(architecture=architecture, input_shape=(5,), weights=weights)


def made_up(*, updates, others, each=1):
    generator = np.random.default_rng(0)
    zero = np.zeros(5, np.float32)
    return Chosen(
        updates=Examples(
            inputs=generator.normal(size=(updates, each, 5)).astype(np.float32),
            labels=generator.integers(2, size=(updates, each)),
        ),
        others=generator.normal(size=(updates, others, 5)).astype(np.float32),
        sets=np.arange(updates),
        centre=zero,
        spread=zero + 1,
        low=zero - 4,
        high=zero + 4,
    )


@pytest.mark.jax
def test_an_update_is_what_local_steps_move_and_whoever_tries_rows_finds_them_through_little_noise():
    local = SGD(learning_rate=0.5)
    regime = DPFedAvg(noise_multiplier=1.0, client_optimizer=local, batch_size=2, local_epochs=1, clipping_norm=0.4)
    model = small()
    send, rows = client_updates(regime, load_backend("jax"), model), made_up(updates=2, others=3, each=3).updates
    found = send(model.weights, rows)
    for number in range(2):
        kernel, bias = (model.weights[f"0.{part}"].astype(np.float64) for part in ("kernel", "bias"))
        for batch in (slice(0, 2), slice(2, 3)):
            inputs, labels = rows.inputs[number, batch], rows.labels[number, batch]
            shares = np.exp(inputs @ kernel + bias)
            wrong = shares / shares.sum(axis=1, keepdims=True) - np.eye(2)[labels]
            kernel, bias = kernel - 0.5 * inputs.T @ wrong / len(inputs), bias - 0.5 * wrong.mean(axis=0)
        moved = np.concatenate([(kernel - model.weights["0.kernel"]).ravel(), bias - model.weights["0.bias"]])
        wanted = moved * min(1.0, 0.4 / np.linalg.norm(moved))
        got = np.concatenate([found["0.kernel"][number].ravel(), found["0.bias"][number]])
        assert np.allclose(got, wanted, atol=1e-6) and np.linalg.norm(got) < 0.4 + 1e-6
    assert np.linalg.norm(moved) > 0.4  # so that it was clipped
    chosen = made_up(updates=10, others=12)
    sent = send(model.weights, chosen.updates)
    seen = [_matched(send, model.weights, noisy(sent, deviation=size), chosen) for size in (1e-4, 1e3)]
    assert seen[0].shape == (10, 11)
    assert rows_found(seen[0]).own.value == 1.0 and rows_found(seen[1]).own.value < 0.8


def test_updates_that_are_not_finite_moved_nothing_and_nothing_is_near_or_far_from_them():
    model, chosen = small(), made_up(updates=12, others=12)
    sent = {name: np.ones((12, *array.shape), np.float32) for name, array in model.weights.items()}
    for array in sent.values():
        array[1], array[4] = 0.0, np.nan
    job = SimpleNamespace(regime=FedSGD(), noise_multiplier=0.0)
    found = _of_updates(job, GradientInversion(steps=0), SimpleNamespace(), model, lambda *_: sent, chosen)
    assert found["moved"] == 10
    near = found["sent.exact.correlation"]
    assert np.isnan(near[4]).all() and np.isfinite(np.delete(near, 4, axis=0)).all()
    lost = SimpleNamespace(invert=lambda _, settings: np.full(settings.start.shape, np.nan, np.float32))
    found = _of_updates(job, GradientInversion(steps=1), lost, model, lambda *_: sent, chosen)
    assert np.isnan(found["sent.optimised.correlation"]).all()
    assert np.isnan(_matched(lambda *_: sent, model.weights, sent, chosen)[4]).all()


@pytest.mark.jax
@pytest.mark.parametrize("pictures", [False, pytest.param(True, marks=pytest.mark.long)])
def test_inputs_whose_gradient_is_like_one_are_the_row_and_there_is_none_of_no_gradient(pictures):

    shape = (4, 4, 1) if pictures else (5,)
    layers = (*((Flatten(),) if pictures else ()), Dense(units=6), Tanh(), Dense(units=3))
    architecture, generator = Architecture(layers=layers), np.random.default_rng(0)
    weights = initial_weights(architecture, shape, generator=generator)
    model, backend = Model(architecture=architecture, input_shape=shape, weights=weights), load_backend("jax")
    rows = Examples(inputs=generator.normal(size=(2, 1, *shape)).astype(np.float32), labels=np.array([[0], [2]]))
    sent = client_updates(FedSGD(), backend, model)(weights, rows)
    gradients = {name: -np.concatenate([array, 0 * array[:1]]) for name, array in sent.items()}
    low, high = np.full(shape, -3, np.float32), np.full(shape, 3, np.float32)
    settings = InversionSettings(
        gradients=gradients,
        labels=np.array([[0], [2], [0]]),
        start=np.zeros((3, 1, *shape), np.float32) + 0.1,
        low=low,
        high=high,
        steps=300,
        total_variation=0.0,
    )
    made = backend.invert(model, settings)
    assert made.shape == (3, 1, *shape) and np.isfinite(made).all()
    assert np.allclose(made[:2], rows.inputs, atol=0.15)


def examples(count, *, classes=2, seed=0):
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(count, 5)).astype(np.float32)
    return Examples(inputs=inputs, labels=np.arange(count) % classes)


def test_rows_are_of_clients_in_turn_and_told_from_held_out_rows_of_their_label():
    train, held_out, owners = examples(40), examples(60, seed=1), np.arange(40) // 10
    asked = GradientInversion(updates=10, rows=2, among=15)
    chosen = choose(asked, DEFAULT_TASK, owners, train, held_out, generator=np.random.default_rng(0))
    inputs = train.inputs.tolist()
    places = np.array([[inputs.index(row.tolist()) for row in batch] for batch in chosen.updates.inputs])
    assert places.shape == (10, 2) and len(np.unique(places)) == 20
    assert (owners[places[:, 0]] == owners[places[:, 1]]).all()
    assert [len(set(owners[places[i : i + 4, 0]].tolist())) for i in (0, 4)] == [4, 4]
    others = held_out.inputs.tolist()
    for labels, rows in zip(chosen.updates.labels, chosen.others, strict=True):
        assert len({others.index(row.tolist()) for row in rows}) == 15
        assert {others.index(row.tolist()) % 2 for row in rows} == {int(labels[0])}
    assert len(set(chosen.sets.tolist())) == 4 and all(
        (first == other) == bool({*map(tuple, one.tolist())} & {*map(tuple, rest.tolist())})
        for first, one in zip(chosen.sets, chosen.others, strict=True)
        for other, rest in zip(chosen.sets, chosen.others, strict=True)
    )  # two sets of either label, and no row in two of them
    of_numbers = choose(asked, Regression(), owners, train, held_out, generator=np.random.default_rng(0))
    assert of_numbers.others.shape == (10, 15, 5)


@pytest.mark.parametrize(
    ("asked", "held_out", "says"),
    [
        (GradientInversion(rows=11), examples(60), "no client holds 11 rows"),
        (GradientInversion(), examples(16), "no label has 10 held-out rows"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked, held_out, says):
    with pytest.raises(DataError, match=says):
        owners = np.arange(40) // 10
        choose(asked, DEFAULT_TASK, owners, examples(40), held_out, generator=np.random.default_rng(0))


class Linear:
    """Logits of a linear model, whose typical inputs are known: as far along its weights as inputs go."""

    weights = np.array([[1.0, -2.0, 0.0], [-1.0, 2.0, 0.0]])

    def logits(self, inputs):
        return (inputs @ self.weights.T).astype(np.float32)

    def input_gradients(self, inputs, targets):
        return self.weights[targets].astype(np.float32)


def test_typical_inputs_climb_to_where_the_class_is_likeliest():
    bounds = (np.full(3, -1.0, np.float32), np.full(3, 1.0, np.float32))
    start = np.zeros(3, np.float32)
    made = typical_inputs(Linear(), np.array([0, 1]), task=DEFAULT_TASK, start=start, bounds=bounds, steps=40)
    assert np.allclose(made, [[1, -1, 0], [-1, 1, 0]])


@pytest.mark.parametrize("by_heart", [True, False])
def test_typical_inputs_of_a_model_that_has_its_rows_by_heart_are_nearer_to_them(by_heart):
    """Rows of noise with labels of coins: the mean of a class is that of its training rows alone."""
    generator = np.random.default_rng(0)
    train, held_out = (
        Examples(inputs=generator.normal(size=(60, 200)).astype(np.float32), labels=np.arange(60) % 2) for _ in range(2)
    )
    network = Linear()
    means = np.stack([train.inputs[train.labels == one].mean(axis=0) for one in (0, 1)])
    network.weights = means if by_heart else generator.normal(size=(2, 200))
    found = inverted(of_model(network, train, held_out, asked=ModelInversion(steps=10), task=DEFAULT_TASK))
    assert (found.p_value < 1e-4) if by_heart else (found.p_value > 1e-3)
    assert (found.members > 2 * abs(found.others)) == by_heart and found.ceiling < 0.2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"training": (Plain(),)}, "no regime is federated"),
        ({"attacks": Attacks(property_inference=PropertyInference(shares=(0.7, 0.3)))}, "smaller share first"),
        ({"attacks": Attacks(property_inference=PropertyInference(labels=(10,)))}, "10 is no class of 10"),
        ({"attacks": Attacks(property_inference=PropertyInference(column="age"))}, "'age' is no feature"),
        ({"attacks": Attacks(property_inference=PropertyInference(probes=1797))}, "ask for shares"),
    ],
)
def test_scenarios_that_cannot_be_attacked_so_are_refused_before_anything_is_written(tmp_path, changes, says):
    with pytest.raises(ScenarioError, match=says):
        prepare_run(scenario(**changes), root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
