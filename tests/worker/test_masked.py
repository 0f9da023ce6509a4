"""Federated averaging by masked sums: the weights of the mean in the clear, and nothing where too few stay."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from trustml.backends.contract import Model
from trustml.backends.numpy.federated import NumpyFederation
from trustml.backends.settings import FederatedSettings
from trustml.backends.table import load_backend
from trustml.errors import PrivacyError
from trustml.frameworks.entry import Missing
from trustml.frameworks.shipped import SHIPPED
from trustml.launch.prepare import plan_run, prepare_run
from trustml.measures.evidence import Evidence
from trustml.measures.federated import federated_rows
from trustml.models.layers import Architecture, Dense, Flatten
from trustml.models.shapes import weight_shapes
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp
from trustml.plan.job import decode_job
from trustml.plan.support import _federated_support
from trustml.scenario.attacks import Attacks, GradientInversion
from trustml.scenario.federated import FedAvg
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import IID, PoissonCohort
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Explanations, Scenario
from trustml.worker import masked
from trustml.worker.clock import Clock
from trustml.worker.job_context import JobContext, Progress
from trustml.worker.masked import MaskedFederation
from trustml.worker.pipeline import _train
from trustml.worker.private_clients import local_update

MASKED = FedAvg(
    aggregation="masked", weighting="uniform", clipping_norm=8.0, client_optimizer=SGD(learning_rate=0.3, momentum=0.5),
    server_learning_rate=0.7, server_momentum=0.4,
)  # fmt: skip
CLEAR = replace(MASKED, aggregation="mean", clipping_norm=None)
NETWORK = mlp([5], classes=3)
MODEL = Model(
    architecture=NETWORK,
    input_shape=(6,),
    weights=initial_weights(NETWORK, (6,), generator=np.random.default_rng(2)),
)


def clients(*sizes):
    """Clients by the sizes of their batches."""
    generator = np.random.default_rng(1)
    return [
        [(generator.normal(size=(n, 6)).astype(np.float32), generator.integers(0, 3, n)) for n in batches]
        for batches in sizes
    ]


MODEL_SIZE = sum(part.size for part in MODEL.weights.values())
ROUNDS = (clients([4, 4], [4, 1], [3], []), clients([4], [2, 2], [4]))
ASKED = np.array([5, 4])


def flat(weights):
    return np.concatenate([weights[name].ravel() for name in sorted(weights)])


def federation(backend, *, asked, regime=MASKED):
    loaded = load_backend(backend)
    loaded.open_device("cpu", 1)
    return MaskedFederation(regime, loaded, MODEL, asked=asked, seed=0)


@pytest.mark.parametrize(
    "backend", [pytest.param("torch", marks=pytest.mark.torch), pytest.param("jax", marks=pytest.mark.jax)]
)
def test_weights_are_those_of_the_mean_of_who_stayed(backend):
    sums = federation(backend, asked=ASKED)
    oracle = NumpyFederation(
        MODEL, FederatedSettings(regime=CLEAR, privacy=None, noise_seed=(0, 0, 0, 0), batch_size=4)
    )
    for cohort in ROUNDS:
        outcome = sums.round(cohort)
        oracle.round(cohort)
        assert outcome.summed and outcome.update_norm is None
        assert outcome.bytes_up > 4 * MODEL_SIZE * len(cohort) and outcome.bytes_down > 0
    moved = np.abs(flat(oracle.weights()) - flat(MODEL.weights)).max()
    assert moved > 0.05
    np.testing.assert_allclose(flat(sums.weights()), flat(oracle.weights()), atol=1e-5)


@pytest.mark.jax
def test_whoever_drops_out_has_shared_its_secrets_and_an_update_is_clipped(monkeypatch):
    seen = []

    def watched(vectors, settings, *, stays):
        seen.append((len(vectors), settings, dict(stays)))
        return secure_sum(vectors, settings, stays=stays)

    secure_sum = masked.secure_sum
    monkeypatch.setattr(masked, "secure_sum", watched)
    sums = federation("jax", asked=ASKED, regime=replace(MASKED, clipping_norm=1e-3, server_learning_rate=1.0))
    sums.round(ROUNDS[0])
    ((count, settings, stays),) = seen
    assert (count, settings.clients, settings.threshold, stays) == (5, 5, 3, {4: 2})
    moved = np.linalg.norm(flat(sums.weights()) - flat(MODEL.weights))
    assert 1e-4 < moved <= 1e-3 and sums.clipping_norm() == 1e-3


@pytest.mark.jax
@pytest.mark.parametrize(("asked", "came"), [(5, 2), (4, 2), (1, 1)])
def test_where_too_few_stay_nothing_moves(asked, came):
    sums = federation("jax", asked=np.array([asked]))
    assert not sums.round(ROUNDS[0][:came]).summed
    np.testing.assert_array_equal(flat(sums.weights()), flat(MODEL.weights))
    with pytest.raises(NotImplementedError, match="no private regime"):
        sums.plant(MODEL.weights)


@pytest.mark.jax
def test_whoever_came_has_trained_also_where_nothing_is_summed(monkeypatch):
    """Else the times of steps would be those of rounds without work."""
    trained = []
    monkeypatch.setattr(masked, "local_update", lambda *of, **rate: trained.append(of[2]) or local_update(*of, **rate))
    assert not federation("jax", asked=np.array([5])).round(ROUNDS[0][:2]).summed
    assert len(trained) == 2


@pytest.mark.jax
def test_updates_that_are_not_finite_are_counted():
    sums = federation("jax", asked=np.array([3]))
    broken = [(np.full((4, 6), np.nan, np.float32), np.zeros(4, np.int64))]
    assert sums.round([*ROUNDS[0][:2], broken]).left_out == 1
    assert np.isfinite(flat(sums.weights())).all()


def test_a_regime_without_a_norm_is_refused():
    with pytest.raises(PrivacyError, match="clipping_norm"):
        MaskedFederation(replace(MASKED, clipping_norm=None), None, MODEL, asked=ASKED, seed=0)


PIXELS = Architecture(layers=(Flatten(), Dense(units=10)))
OF_CLIENTS = {"partition": IID(clients=12), "cohort": PoissonCohort(clients=3, dropout=0.4), "rounds": 10}


def scenario(**changes) -> Scenario:
    regimes = (replace(MASKED, **OF_CLIENTS), replace(CLEAR, name="clear", **OF_CLIENTS))
    return Scenario(
        name="masked",
        data=Digits(test_fraction=0.8),
        model=PIXELS,
        training=regimes,
        explanations=Explanations(methods=()),
        seeds=(1,),  # by which nobody comes to the ninth of ten rounds, and two of four to the last
        **changes,
    )


@pytest.mark.jax
def test_a_scenario_is_trained_so_and_says_what_nobody_saw(tmp_path):
    run = prepare_run(scenario(backends=("jax",)), root=tmp_path)
    manifest, backend = run.manifest(), load_backend("jax")
    device, notes = backend.open_device("cpu", 1), {}
    for record in manifest.jobs:
        folder = run.job_folder(record.id)
        job = decode_job((folder / "job.json").read_bytes())
        progress = Progress(folder / "events.jsonl")
        at = JobContext(root=run.path, folder=folder, clock=Clock(device.synchronize), progress=progress)
        notes[record.regime] = _train(job, backend, at=at)[1].notes
    run.write_manifest(replace(manifest, jobs=tuple(replace(record, status="ok") for record in manifest.jobs)))
    rows = {(row.regime, row.measure): row for row in federated_rows(Evidence(run, second_opinion=False))}
    rounds = run.arrays("jobs/train.jax.FedAvg.s1/rounds.npz")
    summed = rounds["sent_up"] > 0
    assert 0 < summed.sum() < 10 and 0 in rounds["asked"][:-1]
    np.testing.assert_array_equal(summed, rounds["participants"] >= np.maximum(2, rounds["asked"] // 2 + 1))
    assert notes["FedAvg"] == (
        f"{10 - summed.sum()} of 10 rounds gave nothing: fewer clients were asked or stayed than secure sums need",
    )
    size = 4 * sum(int(np.prod(shape)) for shape in weight_shapes(PIXELS, (8, 8, 1)).values())
    up, down = (rows["FedAvg", measure] for measure in ("bytes_up", "bytes_down"))
    assert up.value == rounds["sent_up"][summed].mean() > size and up.n == summed.sum()
    assert down.value == pytest.approx((size * rounds["participants"] + rounds["sent_down"])[summed].mean())
    assert "all messages of secure aggregation, mean of" in up.note and "float32 weights" in down.note
    assert rows["FedAvg", "client_update_norm"].value is None
    assert "keys and shares of others are not counted" in up.note
    assert "behind masks nobody sees" in rows["FedAvg", "client_update_norm"].note
    assert "sent_up" not in run.arrays("jobs/train.jax.clear.s1/rounds.npz")
    run.file("jobs/train.jax.FedAvg.s1/rounds.npz").unlink()
    lost = {(row.regime, row.measure): row for row in federated_rows(Evidence(run, second_opinion=False))}
    assert "not at hand" in lost["FedAvg", "bytes_up"].note and lost["FedAvg", "bytes_up"].value is None


def test_every_framework_has_it_and_no_update_can_be_attacked():
    planned = plan_run(
        scenario(backends=("torch", "jax", "tensorflow"), attacks=Attacks(gradient_inversion=GradientInversion()))
    )
    assert {job.backend for job in planned.expansion.train if job.regime.title == "FedAvg"} == {
        "torch",
        "jax",
        "tensorflow",
    }
    inverted = [job for job in planned.expansion.attack if job.subject]
    assert {job.regime.title for job in inverted} == {"clear"}
    (skip,) = (one for one in planned.expansion.skips if "gradient inversion of FedAvg" in one.method)
    assert "behind its masks: the server learns sums of 2 clients or more alone" in skip.reason


def test_masked_sums_need_no_library_of_federation():
    jax = next(entry for entry in SHIPPED if entry.name == "jax")
    entry = replace(jax, regimes=replace(jax.regimes, federated=Missing(reason="none")))
    assert _federated_support(entry, MASKED) == entry.regimes.plain
    assert _federated_support(entry, CLEAR) == Missing(reason="none")
