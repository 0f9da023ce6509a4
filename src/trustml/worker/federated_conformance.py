"""Our own federations under the suite: as a black box, against the oracle, and in short trainings by the worker."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType

import numpy as np
from msgspec.structs import replace

from trustml.backends.contract import Backend, Client, Federation, Model
from trustml.backends.numpy.federated import NumpyFederation
from trustml.backends.settings import FederatedSettings, RoundOutcome, UserPrivacy
from trustml.conformance.federated import check_federated
from trustml.conformance.findings import CheckResult, bounded
from trustml.conformance.participation import ExecutedRound, FederatedRecord, check_participation
from trustml.conformance.rounds import OUTLIERS, FederatedFactory, RoundSettings, scaled, spoiled
from trustml.conformance.subject import Vector, flat, norm_of
from trustml.data.clients import FederatedPlan, federated_plan
from trustml.data.dataset import Examples
from trustml.data.partition import owners_fingerprint
from trustml.data.streams import Stream, public_generator, secret_generator
from trustml.frameworks.entry import Missing
from trustml.frameworks.table import entry_of
from trustml.models.layers import Architecture, Dense
from trustml.models.weights import Weights, initial_weights
from trustml.models.zoo import mlp
from trustml.plan.job import TrainJob
from trustml.plan.user_mechanism import plan_user_mechanism
from trustml.privacy.ledger import NoiseKind, read_ledger
from trustml.record.files import encode_arrays, write_atomic
from trustml.scenario.clipping import Adaptive, Flat
from trustml.scenario.federated import (
    BandedMatrix,
    BufferedToeplitz,
    DPFedAvg,
    IndependentNoise,
    NoiseMechanism,
    TreeAggregation,
)
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import InTurn, PoissonCohort
from trustml.scenario.spec import BackendName, Execution
from trustml.worker.clock import Clock
from trustml.worker.federated import FederatedDriver
from trustml.worker.job_context import JobContext, Progress

MECHANISMS: dict[NoiseKind, NoiseMechanism] = {
    "independent": IndependentNoise(),
    "tree aggregation": TreeAggregation(),
    "banded matrix factorisation": BandedMatrix(),
    "buffered linear Toeplitz": BufferedToeplitz(),
}
SERVER_RATE = 2.0**-30
"""So small that weights that start at zero are as good as there after many rounds; float32 is exact about them."""
ORACLE = 1e-4
"""Relative error of a round in float32 whose clients take a few steps each."""
_FEATURES, _CLASSES, _BATCH = 400, 10, 4
_CLIENT = SGD(learning_rate=0.5)


def softmax_regression() -> Model:
    """Give 4010 weights, all zero."""
    weights = {
        "0.kernel": np.zeros((_FEATURES, _CLASSES), np.float32),
        "0.bias": np.zeros(_CLASSES, np.float32),
    }
    return Model(architecture=Architecture(layers=(Dense(units=_CLASSES),)), input_shape=(_FEATURES,), weights=weights)


def two_layers() -> Model:
    """Give an MLP with its starting weights, the same in every environment."""
    architecture = mlp([12], classes=_CLASSES)
    weights = initial_weights(architecture, (_FEATURES,), generator=public_generator(7, Stream.WEIGHTS))
    return Model(architecture=architecture, input_shape=(_FEATURES,), weights=weights)


def example_clients(count: int = 9) -> list[Client]:
    """Synthetic clients of two batches or three, the same in every environment."""
    generator = public_generator(13, Stream.SPLIT)
    clients: list[Client] = []
    for number in range(count):
        batches = 2 + number % 2
        size = 0.3 if number % 3 == 1 else 1.0  # short updates beside long ones
        inputs = generator.normal(0, size * _FEATURES**-0.5, (batches, _BATCH, _FEATURES)).astype(np.float32)
        labels = generator.integers(0, _CLASSES, (batches, _BATCH))
        clients.append(list(zip(inputs, labels, strict=True)))
    return clients


def factory(
    federated: Callable[[Model, FederatedSettings], Federation], model: Model, *, server_learning_rate: float
) -> FederatedFactory:
    """Make federations as the suite asks for them."""

    def make(settings: RoundSettings) -> Federation:
        privacy = UserPrivacy(
            mechanism=MECHANISMS[settings.noise],
            noise_multiplier=settings.noise_multiplier,
            clipping_norm=settings.clipping_norm,
            quantile=settings.quantile,
            clip_learning_rate=settings.clip_learning_rate,
            count_noise=settings.count_noise,
            expected_clients=settings.expected_clients,
            separation=settings.separation,
        )
        regime = DPFedAvg(
            rounds=settings.rounds, client_optimizer=_CLIENT, server_learning_rate=server_learning_rate, batch_size=4
        )
        seed = (settings.seed, 2, 3, 4)
        return federated(model, FederatedSettings(regime=regime, privacy=privacy, noise_seed=seed, batch_size=4))

    return make


def correlated_noise(name: BackendName) -> NoiseKind | None:
    """Name the correlated noise that a backend's library has itself; None where it has none."""
    regimes = entry_of(name).regimes
    own = {struct for struct, support in regimes.mechanisms.items() if support == regimes.federated}
    return next((kind for kind, one in MECHANISMS.items() if type(one).__name__ in own), None)


def supported_noise(name: BackendName) -> list[NoiseKind]:
    """Name the correlated noise of a backend, its library's or of the core's tables."""
    known = entry_of(name).regimes.mechanisms
    return [
        kind for kind, one in MECHANISMS.items() if not isinstance(known.get(type(one).__name__), Missing | NoneType)
    ]


def check_federations(name: BackendName, backend: Backend) -> list[CheckResult]:
    """Put one backend's federations through the whole suite."""
    make = factory(backend.federated, softmax_regression(), server_learning_rate=SERVER_RATE)
    variants = {
        "federated": RoundSettings(),
        "federated, adaptive clipping": RoundSettings(clip_learning_rate=0.2, count_noise=2.0),
    }
    for kind in supported_noise(name):
        variants[f"federated, {kind}"] = RoundSettings(noise=kind, separation=4)
    findings: list[CheckResult] = []
    for variant, settings in variants.items():
        found = check_federated(
            make, example_clients(), settings=settings, server_learning_rate=SERVER_RATE, same_start=True
        )
        findings += [replace(finding, subject=f"{name}, {variant}") for finding in found]
    findings.append(replace(against_oracle(backend), subject=f"{name}, federated"))
    records = {"federated training, Poisson cohorts": train_watched(name, backend)}
    correlated = correlated_noise(name)
    if correlated:
        records["federated training, clients in turn"] = train_watched(name, backend, correlated=correlated)
    for variant, record in records.items():
        findings += [replace(found, subject=f"{name}, {variant}") for found in check_participation(record)]
    return findings


def against_oracle(backend: Backend) -> CheckResult:
    """Compare rounds of an MLP without noise with those of the oracle, each from the backend's own weights."""
    model, clients = two_layers(), example_clients()
    cohorts = [
        clients[:6],
        [clients[6], scaled(clients[7], OUTLIERS[0]), []],
        [spoiled(clients[8], np.nan), clients[1]],
    ]
    settings = RoundSettings()
    federation = factory(backend.federated, model, server_learning_rate=1.0)(settings)
    worst = 0.0
    for cohort in cohorts:
        start: Vector = flat(federation.weights())
        here = {key: np.asarray(part, np.float32) for key, part in federation.weights().items()}
        oracle = factory(NumpyFederation, dataclasses.replace(model, weights=here), server_learning_rate=1.0)(settings)
        federation.round(cohort)
        oracle.round(cohort)
        wanted, found = flat(oracle.weights()) - start, flat(federation.weights()) - start
        worst = max(worst, norm_of(found - wanted) / norm_of(wanted))
    return bounded("rounds of a deeper model equal the oracle's", worst, ORACLE, diagnosis="another update or sum")


def train_watched(name: BackendName, backend: Backend, *, correlated: NoiseKind | None = None) -> FederatedRecord:
    """Train a few rounds through the worker's own loop, watched."""
    clients = example_clients(20)
    inputs = np.concatenate([batch for client in clients for batch, _ in client])
    labels = np.concatenate([batch for client in clients for _, batch in client])
    owners = np.repeat(np.arange(20), [sum(len(batch) for _, batch in client) for client in clients])
    regime = DPFedAvg(
        noise_multiplier=1.0,
        clipping_norm=0.3,
        rounds=16,
        batch_size=_BATCH,
        client_optimizer=_CLIENT,
        evaluate_every=16,
        cohort=InTurn(clients=5) if correlated else PoissonCohort(clients=5),
        clipping=Flat() if correlated else Adaptive(count_noise=2.0),
        mechanism=MECHANISMS[correlated or "independent"],
    )
    plan = federated_plan(
        [np.flatnonzero(owners == client) for client in range(20)],
        cohort=regime.cohort,
        rounds=regime.rounds,
        local_epochs=1,
        batch_size=_BATCH,
        cohorts=secret_generator(),
        batches=lambda *_: secret_generator(),
    )
    model = softmax_regression()
    with tempfile.TemporaryDirectory(prefix="trustml-conformance-") as root:
        folder = Path(root) / "jobs" / "train"
        folder.mkdir(parents=True)
        held_out = {"test_inputs": inputs[:4], "test_labels": labels[:4]}
        write_atomic(Path(root) / "data.npz", encode_arrays(held_out))
        write_atomic(
            Path(root) / "clients.npz",
            encode_arrays({"owners": owners, "held_out": owners[:4], "names": np.arange(20).astype(str)}),
        )
        job = TrainJob(
            id="train",
            backend=name,
            model=model.architecture,
            input_shape=model.input_shape,
            execution=Execution(checkpoint_seconds=3600),
            regime=regime,
            seed=0,
            initial_weights="",
            data="data.npz",
            plan="",
            data_fingerprint="synthetic",
            mechanism=plan_user_mechanism(
                regime, field="regime", clients=20, plan=plan, users=owners_fingerprint(owners.astype(np.int64))
            ),
            clients="clients.npz",
        )
        return _run_watched(job, backend, model, Examples(inputs=inputs, labels=labels), plan, root=Path(root))


def _run_watched(
    job: TrainJob, backend: Backend, model: Model, examples: Examples, plan: FederatedPlan, *, root: Path
) -> FederatedRecord:
    folder = root / "jobs" / job.id
    at = JobContext(root=root, folder=folder, clock=Clock(lambda: None), progress=Progress(folder / "events.jsonl"))
    rounds: list[ExecutedRound] = []
    made: list[FederatedSettings] = []

    def federated(model: Model, settings: FederatedSettings) -> Federation:
        made.append(settings)
        return _Watched(backend.federated(model, settings), folder / "ledger.jsonl", rounds)

    watched = dataclasses.replace(backend, federated=federated)
    FederatedDriver(job, watched, model, examples, commitment="plan", at=at).run(plan)
    privacy = made[0].privacy
    assert privacy is not None
    return FederatedRecord(
        rounds=rounds,
        charges=read_ledger(folder / "ledger.jsonl"),
        plans=[plan],
        clients=20,
        settings=RoundSettings(
            noise=next(kind for kind, mechanism in MECHANISMS.items() if mechanism == privacy.mechanism),
            clipping_norm=privacy.clipping_norm,
            noise_multiplier=privacy.noise_multiplier,
            expected_clients=privacy.expected_clients,
            quantile=privacy.quantile,
            clip_learning_rate=privacy.clip_learning_rate,
            count_noise=privacy.count_noise,
            separation=privacy.separation,
        ),
    )


class _Watched:
    """A federation that notes how many charges were in the ledger when a round began."""

    def __init__(self, federation: Federation, ledger: Path, rounds: list[ExecutedRound]) -> None:
        self._federation, self._ledger, self._rounds = federation, ledger, rounds
        self.choice = federation.choice

    def round(self, clients: Sequence[Client]) -> RoundOutcome:
        paid = len(read_ledger(self._ledger))
        self._rounds.append(
            ExecutedRound(attempt=1, number=len(self._rounds), clients=len(clients), charges_before=paid)
        )
        return self._federation.round(clients)

    def plant(self, updates: Weights) -> None:
        self._federation.plant(updates)

    def weights(self) -> Weights:
        return self._federation.weights()

    def clipping_norm(self) -> float:
        return self._federation.clipping_norm()
