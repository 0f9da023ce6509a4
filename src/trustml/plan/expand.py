"""A scenario to its jobs, and to the cells that no backend fills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trustml.plan.job import ExplainJob, Mechanism, TrainJob, explain_id, train_id
from trustml.plan.support import Missing, Skip, training_support
from trustml.scenario.regimes import Plain
from trustml.scenario.spec import BackendName, Scenario


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """What a scenario comes to.

    Attributes
    ----------
    train : tuple of TrainJob
    explain : tuple of ExplainJob
    skips : tuple of Skip
    """

    train: tuple[TrainJob, ...]
    explain: tuple[ExplainJob, ...]
    skips: tuple[Skip, ...]

    @property
    def jobs(self) -> tuple[TrainJob | ExplainJob, ...]:
        """All jobs, each after those it needs."""
        return (*self.train, *self.explain)


def plan_file(regime: str, seed: int) -> str:
    """File of the batches that all backends share for one regime and seed."""
    return f"private/plans/{regime}.s{seed}.npz"


def weights_file(seed: int) -> str:
    """File of the starting weights that all backends share for one seed."""
    return f"weights/initial.s{seed}.safetensors"


def expand(
    scenario: Scenario,
    *,
    input_shape: tuple[int, ...],
    data_file: str,
    examples_file: str,
    data_fingerprint: str,
    mechanisms: Mapping[tuple[str, int, BackendName], Mechanism],
) -> Expansion:
    """List the jobs of a scenario.

    Parameters
    ----------
    scenario : Scenario
    input_shape : tuple of int
    data_file, examples_file : str
        Files in the run directory.
    data_fingerprint : str
    mechanisms : mapping of (regime title, seed, backend) to Mechanism
        For the private regimes.
    """
    train: list[TrainJob] = []
    skips: list[Skip] = []
    for regime in scenario.training:
        for backend in scenario.backends:
            support = training_support(backend, regime)
            if isinstance(support, Missing):
                skips.append(Skip(backend=backend, regime=regime.title, reason=support.reason))
                continue
            for seed in scenario.seeds:
                train.append(
                    TrainJob(
                        id=train_id(backend, regime.title, seed),
                        backend=backend,
                        model=scenario.model,
                        input_shape=input_shape,
                        execution=scenario.execution,
                        regime=regime,
                        seed=seed,
                        initial_weights=weights_file(seed),
                        data=data_file,
                        plan=plan_file(regime.title, seed),
                        data_fingerprint=data_fingerprint,
                        mechanism=mechanisms.get((regime.title, seed, backend)),
                    )
                )
    explain = tuple(
        ExplainJob(
            id=explain_id(backend, subject.id),
            backend=backend,
            model=scenario.model,
            input_shape=input_shape,
            execution=scenario.execution,
            subject=subject.id,
            weights=f"jobs/{subject.id}/weights.safetensors",
            examples=examples_file,
            method=method,
        )
        for method in scenario.explanations.methods
        for subject in train
        for backend in _explained_by(scenario, subject)
    )
    return Expansion(train=tuple(train), explain=explain, skips=tuple(skips))


def is_reference(scenario: Scenario, job: TrainJob) -> bool:
    """Whether a job trains the reference: the first backend's first plain model, of every seed."""
    plain = [regime.title for regime in scenario.training if isinstance(regime, Plain)]
    wanted = plain[0] if plain else scenario.training[0].title
    return job.backend == scenario.backends[0] and job.regime.title == wanted


def _explained_by(scenario: Scenario, subject: TrainJob) -> tuple[BackendName, ...]:
    scope = scenario.explanations.scope
    if scope == "all" or (scope == "reference" and is_reference(scenario, subject)):
        return scenario.backends
    return (subject.backend,)
