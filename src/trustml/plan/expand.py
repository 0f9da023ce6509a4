"""A scenario to its jobs, and to the cells that no backend fills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trustml.catalogue.available import availability, why_unfit
from trustml.frameworks.entry import Missing
from trustml.frameworks.implementation import NotAvailable
from trustml.models.native import native_of
from trustml.models.outcome import with_outcome
from trustml.models.tasks import Classes, explained_task
from trustml.plan.attack_files import ATTRIBUTES, attributed_file, extracted_file, scores_file
from trustml.plan.attacking import AttackJob, attack_jobs
from trustml.plan.job import AblatedSteps, ExplainJob, Job, Mechanism, TrainJob, clients_file, explain_id, train_id
from trustml.plan.support import Skip, training_support
from trustml.scenario.federated import FederatedSpec
from trustml.scenario.methods import Method, RandomControl
from trustml.scenario.regimes import DPSGD, Plain, Regime
from trustml.scenario.spec import BackendName, Scenario


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Files in the run directory that jobs read, and the fingerprint of the data.

    Attributes
    ----------
    data, examples, baselines : str
    data_fingerprint : str
    """

    data: str
    examples: str
    baselines: str
    data_fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """What a scenario comes to.

    Attributes
    ----------
    train : tuple of TrainJob
    explain : tuple of ExplainJob
    attack : tuple of ShadowJob, CanaryJob and GameJob
    skips : tuple of Skip
    """

    train: tuple[TrainJob, ...]
    explain: tuple[ExplainJob, ...]
    attack: tuple[AttackJob, ...]
    skips: tuple[Skip, ...]

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs, each after those it needs."""
        return (*self.train, *self.explain, *self.attack)


def plan_file(regime: str, seed: int) -> str:
    """File of the batches that all backends share for one regime and seed."""
    return f"private/plans/{regime}.s{seed}.npz"


def weights_file(seed: int, *, drawn: bool = False) -> str:
    """File of the starting weights that all backends share for one seed; of those drawn beside others' too."""
    return f"weights/initial.s{seed}{'.drawn' if drawn else ''}.safetensors"


def draws_weights(scenario: Scenario, regime: Regime) -> bool:
    """Whether a regime starts from weights of the seed while the scenario starts from others."""
    return bool(scenario.start) and isinstance(regime, Plain | DPSGD) and regime.from_seed


def _is_divided(regime: Regime) -> bool:
    """Whether who holds what is written down: of clients, or of users that a column names."""
    return isinstance(regime, FederatedSpec) or (isinstance(regime, DPSGD) and bool(regime.key_columns))


def expand(
    scenario: Scenario,
    *,
    input_shape: tuple[int, ...],
    files: Inputs,
    mechanisms: Mapping[tuple[str, int, BackendName], Mechanism],
) -> Expansion:
    """List the jobs of a scenario.

    Parameters
    ----------
    scenario : Scenario
    input_shape : tuple of int
    files : Inputs
        Files in the run directory.
    mechanisms : mapping of (regime title, seed, backend) to Mechanism
        For the private regimes.
    """
    train: list[TrainJob] = []
    skips: list[Skip] = []
    scored, guessed = scenario.attacks.membership is not None, scenario.attacks.attributes is not None
    for regime in scenario.training:
        for backend in scenario.backends:
            reason = _why_untrained(scenario, backend, regime)
            if reason:
                skips.append(Skip(backend=backend, regime=regime.title, reason=reason))
                continue
            for seed in scenario.seeds:
                name = train_id(backend, regime.title, seed)
                train.append(
                    TrainJob(
                        id=name,
                        backend=backend,
                        model=scenario.model,
                        input_shape=input_shape,
                        execution=scenario.execution,
                        task=scenario.task,
                        regime=regime,
                        seed=seed,
                        initial_weights=weights_file(seed, drawn=draws_weights(scenario, regime)),
                        data=files.data,
                        plan=plan_file(regime.title, seed),
                        data_fingerprint=files.data_fingerprint,
                        mechanism=mechanisms.get((regime.title, seed, backend)),
                        clients=clients_file(regime.title, seed) if _is_divided(regime) else "",
                        scores=scores_file(name) if scored else "",
                        extraction=scenario.attacks.extraction,
                        extracted=extracted_file(name) if scenario.attacks.extraction is not None else "",
                        attributes=scenario.attacks.attributes,
                        attribute_values=ATTRIBUTES if guessed else "",
                        attributed=attributed_file(name) if guessed else "",
                        ablated=_ablated(scenario, regime, seed=seed, backend=backend, mechanisms=mechanisms),
                    )
                )
    explain, unfit = _explain_jobs(scenario, train, input_shape=input_shape, files=files)
    attack, unattacked = attack_jobs(scenario, tuple(train))
    return Expansion(train=tuple(train), explain=explain, attack=attack, skips=(*skips, *unfit, *unattacked))


def _ablated(
    scenario: Scenario,
    regime: Regime,
    *,
    seed: int,
    backend: BackendName,
    mechanisms: Mapping[tuple[str, int, BackendName], Mechanism],
) -> AblatedSteps | None:
    if not isinstance(regime, Plain) or regime.ablation is None:
        return None
    title = regime.ablation.of
    private = next(one for one in scenario.training if isinstance(one, DPSGD) and one.title == title)
    noisy = regime.ablation.keeps == "noise"
    return AblatedSteps(
        regime=private, noise_multiplier=mechanisms[title, seed, backend].noise_multiplier if noisy else 0.0
    )


def _explain_jobs(
    scenario: Scenario, train: list[TrainJob], *, input_shape: tuple[int, ...], files: Inputs
) -> tuple[tuple[ExplainJob, ...], list[Skip]]:
    skips: list[Skip] = []
    fitting: dict[BackendName, tuple[Method, ...]] = {}
    for backend in scenario.backends:
        fitting[backend], unfit = _fitting(scenario, backend, input_shape)
        skips += unfit
    explain = tuple(
        ExplainJob(
            id=explain_id(backend, subject.id),
            backend=backend,
            model=scenario.model,
            input_shape=input_shape,
            execution=scenario.execution,
            task=scenario.task,
            subject=subject.id,
            weights=f"jobs/{subject.id}/weights.safetensors",
            examples=files.examples,
            baselines=files.baselines,
            methods=fitting[backend],
            target=scenario.explanations.target,
            quantity=scenario.explanations.quantity,
            probes=scenario.explanations.probes,
            timing=scenario.explanations.timing,
        )
        for subject in train
        for backend in _explained_by(scenario, subject)
        if fitting[backend]
    )
    return explain, skips


def is_reference(scenario: Scenario, job: TrainJob) -> bool:
    """Whether a job trains the reference: the first backend's first plain model, of every seed."""
    plain = (regime for regime in scenario.training if isinstance(regime, Plain) and not regime.is_control)
    wanted = next(plain, scenario.training[0]).title  # asked of each job: not of all regimes each time
    own = native_of(scenario.model)
    return job.backend == (own.backend if own else scenario.backends[0]) and job.regime.title == wanted


def _explained_by(scenario: Scenario, subject: TrainJob) -> tuple[BackendName, ...]:
    scope = scenario.explanations.scope
    if scope == "all" or (scope == "reference" and is_reference(scenario, subject)):
        return scenario.backends
    return (subject.backend,)


def _why_untrained(scenario: Scenario, backend: BackendName, regime: Regime) -> str:
    if elsewhere := _only_elsewhere(scenario, backend):
        return elsewhere
    support = training_support(backend, regime)
    if isinstance(support, Missing):
        return support.reason
    if isinstance(regime, Plain) and regime.stop_at:
        other = next(r for r in scenario.training if r.title == regime.stop_at)
        if isinstance(training_support(backend, other), Missing):
            return f"stops at the accuracy of {regime.stop_at}, which {backend} does not train"
    return ""


def _only_elsewhere(scenario: Scenario, backend: BackendName) -> str:
    """Say why a backend has no such model at all; empty if it can."""
    own = native_of(scenario.model)
    return "" if own is None or own.backend == backend else f"only {own.backend} has this model, which is its own code"


def _fitting(
    scenario: Scenario, backend: BackendName, input_shape: tuple[int, ...]
) -> tuple[tuple[Method, ...], list[Skip]]:
    """Give the methods that the backend has and that fit the model, and why the others are left out."""
    if _only_elsewhere(scenario, backend):
        return (), []  # told where it is not trained
    methods: list[Method] = []
    skips: list[Skip] = []
    quantity = scenario.explanations.quantity
    for method in scenario.explanations.methods:
        found = availability(backend, method)
        if isinstance(found, NotAvailable):
            reason = found.reason
        else:
            asked = explained_task(scenario.task)
            of_classes = "" if isinstance(asked, Classes) and quantity == "logit" else found.of_classes
            explained = with_outcome(scenario.model, asked, quantity)
            reason = of_classes or why_unfit(method, explained, input_shape)
        if reason:
            skips.append(Skip(backend=backend, method=method.title, reason=reason))
        else:
            methods.append(method)
    if methods and not any(isinstance(method, RandomControl) for method in methods):
        methods.append(RandomControl())
    return tuple(methods), skips
