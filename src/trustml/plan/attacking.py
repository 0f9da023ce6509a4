"""The jobs that attack: shadow models, canary trainings, games."""

from __future__ import annotations

from typing import TypeAlias

from msgspec.structs import replace

from trustml.frameworks.entry import Missing, Supported
from trustml.frameworks.shipped import SHIPPED
from trustml.frameworks.table import entry_of
from trustml.models.native import native_of
from trustml.plan.attack_files import (
    attack_file,
    canary_id,
    game_id,
    members_file,
    population_file,
    population_id,
    reconstruction_id,
    shadow_id,
)
from trustml.plan.job import CanaryJob, GameJob, ReconstructionJob, ShadowJob, TrainJob
from trustml.plan.support import Skip
from trustml.scenario.attacks import SEQUENCES, Canaries
from trustml.scenario.federated import (
    DPFedAvg,
    FedAvg,
    FederatedSpec,
    IndependentNoise,
    LocalDPFedAvg,
    PrivateClientsSpec,
    SiloDPFedAvg,
)
from trustml.scenario.partition import Everyone, FixedCohort
from trustml.scenario.regimes import DPSGD, Plain, Regime
from trustml.scenario.spec import BackendName, Scenario

AttackJob: TypeAlias = ShadowJob | CanaryJob | GameJob | ReconstructionJob

SHADOW_BACKEND: BackendName = next(entry.name for entry in SHIPPED if isinstance(entry.regimes.shadows, Supported))
"""Trains all shadow models in one program; they attack the models of every backend, which are the same function."""


_SILO = "no update of a client leaves without the noise of all of its steps, which is drawn as it trains; play a game"


def attack_jobs(scenario: Scenario, train: tuple[TrainJob, ...]) -> tuple[tuple[AttackJob, ...], list[Skip]]:
    """List the attacking jobs of a scenario, and what cannot be attacked so, with the reason."""
    shadows, skips = _shadow_jobs(scenario, train)
    canaries, unfit = _canary_jobs(scenario, train)
    populations, unlike = _population_jobs(scenario, train)
    again, odd = _reconstruction_jobs(scenario, train)
    jobs: list[AttackJob] = [*shadows, *canaries, *_game_jobs(scenario, train), *populations, *again]
    return tuple(jobs), [*skips, *unfit, *unlike, *odd]


def why_no_shadows(regime: Regime) -> str:
    """Tell why a regime has no shadow models; empty where it has."""
    match regime:
        case Plain(stop_at="", augmentation=None, ablation=None, trainable=()) | FedAvg(aggregation="mean"):
            return ""
        case DPFedAvg(mechanism=IndependentNoise()):
            return ""
        case FedAvg() | DPFedAvg():
            pass
        case PrivateClientsSpec():
            return "shadow models have no clients that add noise of their own; attack by scores without shadow models"
        case FederatedSpec():
            return ""
        case DPSGD(unit="user"):
            return "shadow models are trained on examples, and this regime puts the rows of a user together"
        case DPSGD(engine="core", augmentation=None, ema_decay=None, trainable=(), mechanism=IndependentNoise()):
            return ""
    return (
        "shadow models follow Plain without stop_at, augmentation and ablation, DPSGD of the core's engine without "
        "augmentation and EMA, both without trainable, federated regimes that average by the mean, and both private "
        "ones with independent noise"
    )


def why_no_canaries(regime: Regime, canaries: Canaries, backend: BackendName) -> str:
    """Tell why a regime takes no such canaries in a backend; empty where it does."""
    if canaries.kind == SEQUENCES and isinstance(regime, Plain):
        whole = not regime.stop_at and regime.ablation is None and not regime.random_labels
        return "" if whole else "plain training takes canaries without stop_at, ablation and random_labels"
    if isinstance(regime, PrivateClientsSpec):
        return "canaries are planted into DPSGD and DPFedAvg; a game plays the private step that clients take"
    if canaries.kind == "random update":
        if not isinstance(regime, DPFedAvg) or not isinstance(regime.mechanism, IndependentNoise):
            return "random update canaries are clients of DPFedAvg with independent noise"
        support = entry_of(backend).regimes.update_canaries
        if isinstance(support, Missing):
            return support.reason
        drawn_whole = isinstance(regime.cohort, FixedCohort)
    else:
        if not isinstance(regime, DPSGD) or regime.engine != "core":
            return f"{canaries.kind} canaries are planted into DPSGD of the core's engine"
        if regime.unit == "user":
            return f"{canaries.kind} canaries are examples, and this regime puts the rows of a user together"
        if not isinstance(regime.mechanism, IndependentNoise):
            return f"{canaries.kind} canaries are weighed step by step, which needs independent noise"
        drawn_whole = regime.sampling == "fixed"
    if drawn_whole:
        return "batches of fixed size have no room for canaries that come or do not: theirs is replace-one privacy"
    return "canaries need secret batches: leave sampling_seed out" if regime.sampling_seed is not None else ""


def unattacked(job: TrainJob) -> TrainJob:
    """Give the same training without what attacks look at."""
    nothing = {"scores": "", "extraction": None, "extracted": ""}
    return replace(job, **nothing, attributes=None, attribute_values="", attributed="")


def _shadow_jobs(scenario: Scenario, train: tuple[TrainJob, ...]) -> tuple[list[ShadowJob], list[Skip]]:
    membership = scenario.attacks.membership
    if membership is None or membership.shadow_models == 0:
        return [], []
    return _many_models(scenario, train, seed=membership.shadow_seed, what="shadow models")


def _population_jobs(scenario: Scenario, train: tuple[TrainJob, ...]) -> tuple[list[ShadowJob], list[Skip]]:
    if scenario.attacks.property_inference is None:
        return [], []
    jobs, skips = _many_models(scenario, train, seed=0, what="populations")
    named = [
        replace(job, id=name, members=population_file(job.regime.title), output=attack_file(name))
        for job in jobs
        for name in [population_id(job.backend, job.regime.title)]
    ]
    return named, skips


def _many_models(
    scenario: Scenario, train: tuple[TrainJob, ...], *, seed: int, what: str
) -> tuple[list[ShadowJob], list[Skip]]:
    jobs: list[ShadowJob] = []
    skips: list[Skip] = []
    for regime in scenario.training:
        trained = [job for job in train if job.regime.title == regime.title]
        if not trained:
            continue
        if reason := why_no_shadows(regime):
            skips.append(Skip(backend=SHADOW_BACKEND, method=f"{what} of {regime.title}", reason=reason))
            continue
        name, like = shadow_id(SHADOW_BACKEND, regime.title), trained[0]
        jobs.append(
            ShadowJob(
                id=name,
                backend=SHADOW_BACKEND,
                model=like.model,
                input_shape=like.input_shape,
                execution=like.execution,
                task=like.task,
                regime=regime,
                mechanism=like.mechanism,
                seed=seed,
                data=like.data,
                members=members_file(regime.title),
                output=attack_file(name),
            )
        )
    return jobs, skips


def _canary_jobs(scenario: Scenario, train: tuple[TrainJob, ...]) -> tuple[list[CanaryJob], list[Skip]]:
    jobs: list[CanaryJob] = []
    skips: list[Skip] = []
    for canaries in scenario.attacks.canaries:
        for job in train:
            if job.seed != scenario.seeds[0] or (job.mechanism is None and canaries.kind != SEQUENCES):
                continue
            if reason := why_no_canaries(job.regime, canaries, job.backend):
                skips.append(
                    Skip(backend=job.backend, method=f"{canaries.kind} canaries in {job.regime.title}", reason=reason)
                )
                continue
            name = canary_id(job.backend, job.regime.title, canaries.kind)
            own = f"private/canaries/{name}"
            jobs.append(
                CanaryJob(
                    id=name,
                    backend=job.backend,
                    model=job.model,
                    input_shape=job.input_shape,
                    execution=job.execution,
                    task=job.task,
                    training=replace(unattacked(job), plan=f"{own}.plan.npz"),
                    canaries=canaries,
                    chosen=f"{own}.chosen.npz",
                    output=attack_file(name),
                )
            )
    return jobs, skips


def _game_jobs(scenario: Scenario, train: tuple[TrainJob, ...]) -> list[GameJob]:
    jobs: list[GameJob] = []
    for backend in scenario.backends:
        private = [job for job in train if job.backend == backend and isinstance(job.regime, DPSGD | SiloDPFedAvg)]
        if not private or not isinstance(private[0].regime, DPSGD | SiloDPFedAvg):
            continue
        for number, game in enumerate(scenario.attacks.games):
            name = game_id(backend, number)
            jobs.append(
                GameJob(
                    id=name,
                    backend=backend,
                    model=private[0].model,
                    input_shape=private[0].input_shape,
                    execution=private[0].execution,
                    task=private[0].task,
                    game=game,
                    clipping_norm=private[0].regime.clipping_norm,
                    delta=private[0].regime.delta,
                    output=attack_file(name),
                )
            )
    return jobs


def _reconstruction_jobs(scenario: Scenario, train: tuple[TrainJob, ...]) -> tuple[list[ReconstructionJob], list[Skip]]:
    """Attack the first seed of every model, in the backend that differentiates gradients: weights are canonical."""
    gradients, inversion = scenario.attacks.gradient_inversion, scenario.attacks.model_inversion
    jobs: list[ReconstructionJob] = []
    unseen = {job.regime.title: why for job in train if (why := _why_no_updates(job.regime))}
    if gradients is None and inversion is None:
        return jobs, []
    if native_of(scenario.model) is not None:
        reason = f"{SHADOW_BACKEND} makes rows again from weights, and this model is another framework's own code"
        return jobs, [Skip(backend=SHADOW_BACKEND, method="reconstruction", reason=reason)]
    for job in train:
        own = gradients if isinstance(job.regime, FederatedSpec) else None  # a key divides rows of DPSGD too
        if job.regime.title in unseen:
            own = None
        if job.seed != scenario.seeds[0] or (own is None and inversion is None):
            continue
        name, mechanism, regime = reconstruction_id(SHADOW_BACKEND, job.id), job.mechanism, job.regime
        fresh = isinstance(regime, DPFedAvg) and isinstance(regime.mechanism, IndependentNoise)
        fresh = fresh or isinstance(regime, LocalDPFedAvg)
        jobs.append(
            ReconstructionJob(
                id=name,
                backend=SHADOW_BACKEND,
                model=job.model,
                input_shape=job.input_shape,
                execution=job.execution,
                task=job.task,
                subject=job.id,
                regime=regime,
                noise_multiplier=mechanism.noise_multiplier if mechanism is not None and fresh else 0.0,
                initial_weights=job.initial_weights,
                weights=f"jobs/{job.id}/weights.safetensors",
                data=job.data,
                data_fingerprint=job.data_fingerprint,
                clients=job.clients if own is not None else "",
                gradients=own,
                inversion=inversion,
                output=attack_file(name),
            )
        )
    what = "gradient inversion of {}".format
    told = unseen if gradients is not None else {}
    return jobs, [Skip(backend=SHADOW_BACKEND, method=what(title), reason=why) for title, why in told.items()]


def _why_no_updates(regime: Regime) -> str:
    """Tell why nobody sees an update of a client that could be attacked; empty where somebody does."""
    match regime:
        case SiloDPFedAvg():
            return _SILO
        case FedAvg(aggregation="masked"):
            return f"no update of a client is seen behind its masks: the server learns sums of {_fewest(regime)} alone"
    return ""


def _fewest(regime: FedAvg) -> str:
    """Tell how many updates are in a masked sum at the least; who is asked by chance may be two."""
    match regime.cohort:
        case Everyone():
            return "more than half of all clients"
        case FixedCohort(clients=asked):
            return f"{max(2, asked // 2 + 1)} clients or more"
    return "2 clients or more"
