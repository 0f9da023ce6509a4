"""What a run would do, before it does it: jobs, noise, steps, and time and memory as earlier runs had them."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from trustml.errors import TrustmlError
from trustml.launch.prepare import plan_run
from trustml.plan.job import ExplainJob, Job, TrainJob
from trustml.plan.mechanism import make_charge
from trustml.plan.support import Skip
from trustml.privacy.accounting import epsilon_released
from trustml.privacy.ledger import Charge, PrivacyUnit
from trustml.privacy.statement import at_most
from trustml.record.choices import both_choices
from trustml.record.starts import StartRecord, earlier_charges, is_void, once
from trustml.record.store import RunDirectory, newest_first
from trustml.scenario.federated import FederatedSpec
from trustml.scenario.regimes import Plain, PrivateRegime
from trustml.scenario.spec import BackendName, Scenario, Tuning
from trustml.scenario.sweep import Swept

_MOST_RUNS = 50


@dataclass(frozen=True, kw_only=True)
class ExpectedJob:
    """One job of a run that has not begun.

    Attributes
    ----------
    id : str
    backend : str
    steps : int, optional
        Training steps, or rounds.
    noise_multiplier : float, optional
        Of a private training, calibrated to its target.
    seconds, memory : float, optional
        Median wall time and peak bytes of `earlier` jobs like it, the time in proportion to steps; None without any.
    earlier : int
    """

    id: str
    backend: BackendName
    steps: int | None
    noise_multiplier: float | None
    seconds: float | None
    memory: float | None
    earlier: int


@dataclass(frozen=True, kw_only=True)
class Together:
    """Private models whose guarantees compose.

    Attributes
    ----------
    unit : {"example", "user"}
    models : int
    epsilon : float, optional
        Of all of them and of what they start from, as the ledgers will say where every step is taken; the tails of the
        noise are not in it. None where their start was trained on rows of this data without a guarantee.
    delta : float
    tuned_runs : float, optional
        Mean number of runs of which this one is the best, where the scenario declares a search; it is paid for.
    """

    unit: PrivacyUnit
    models: int
    epsilon: float | None
    delta: float
    tuned_runs: float | None = None


def together_line(group: Together) -> str:
    """Say what private models cost together."""
    epsilon = "no epsilon" if group.epsilon is None else f"about epsilon {at_most(group.epsilon, 2)}"
    costs = f"{epsilon} per {group.unit} at delta {group.delta:g}"
    best = f" of the best of {group.tuned_runs:g} runs in the mean" if group.tuned_runs is not None else ""
    if group.models == 1:
        return f"1 private model{best}: {costs}"
    return f"{group.models} private models{best}: {costs} for all together, which is what choosing among them costs"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A run that has not begun.

    Attributes
    ----------
    jobs : tuple of ExpectedJob
    skips : tuple of Skip
        What is left out, and why.
    warnings : tuple of str
    train_examples, test_examples : int
    sweep : tuple of Swept
    together : tuple of Together
        Where several private models are trained, or one is the best of several runs.
    """

    jobs: tuple[ExpectedJob, ...]
    skips: tuple[Skip, ...]
    warnings: tuple[str, ...]
    train_examples: int
    test_examples: int
    sweep: tuple[Swept, ...] = ()
    together: tuple[Together, ...] = ()

    @property
    def seconds(self) -> float:
        """Time of the jobs that is known, one after another."""
        return math.fsum(job.seconds for job in self.jobs if job.seconds is not None)

    @property
    def unknown(self) -> int:
        """Jobs like which none ran before."""
        return sum(job.seconds is None for job in self.jobs)


def forecast(scenario: Scenario, *, root: Path) -> Forecast:
    """Plan a run without writing it, and look up what jobs like its took in the runs below `root`.

    Raises
    ------
    ScenarioError, DataError
        As the run would.
    """
    planned = plan_run(scenario)
    examples = len(planned.dataset.train)
    earlier = _earlier(root, examples)
    jobs = []
    for job in planned.expansion.jobs:
        steps, known = _steps(job, examples), earlier[_likeness(job)]
        times = [_in_proportion(one.seconds, one.steps, steps) for one in known]
        mechanism = job.mechanism if isinstance(job, TrainJob) else None
        jobs.append(
            ExpectedJob(
                id=job.id,
                backend=job.backend,
                steps=steps,
                noise_multiplier=None if mechanism is None else mechanism.noise_multiplier,
                seconds=statistics.median(times) if times else None,
                memory=statistics.median(one.memory for one in known) if known else None,
                earlier=len(known),
            )
        )
    return Forecast(
        jobs=tuple(jobs),
        skips=planned.expansion.skips,
        warnings=(*planned.warnings, *planned.cohort_warnings, *planned.dataset.warnings),
        train_examples=examples,
        test_examples=len(planned.dataset.test),
        sweep=scenario.sweep,
        together=_together(planned.expansion.jobs, planned.start.record if planned.start else None, scenario.tuning),
    )


class _Starting(NamedTuple):
    """What is known of the start of a run that has no manifest yet."""

    start: StartRecord | None


def _together(jobs: Sequence[Job], start: StartRecord | None, tuning: Tuning | None) -> tuple[Together, ...]:
    """Compose what the private models of a run will be charged for, batches shared as they are planned."""
    groups: dict[tuple[PrivacyUnit, str], list[tuple[Charge, PrivateRegime]]] = defaultdict(list)
    for job in jobs:
        if isinstance(job, TrainJob) and isinstance(job.regime, PrivateRegime) and job.mechanism is not None:
            mechanism = job.mechanism
            plan = job.plan if getattr(job.regime, "engine", "core") == "core" else job.id
            charge = make_charge(mechanism, first=0, end=mechanism.steps, plan=plan, data="")
            groups[charge.unit, charge.users].append((charge, job.regime))
    found, starting = [], _Starting(start)
    for (unit, _), group in groups.items():
        if len(group) > 1 or tuning is not None:
            delta, regimes = max(regime.delta for _, regime in group), [regime for _, regime in group]
            before = once(earlier_charges(starting, regime) for regime in regimes)
            epsilon, declared = None, None if tuning is None else tuning.mean_runs
            if not any(is_void(starting, regime) for regime in regimes):
                runs = both_choices(declared, start.tuned_runs if start is not None and before else None)
                released = [*([charge] for charge, _ in group), *before]
                epsilon = epsilon_released(released, delta=delta, tuned_runs=runs).value
            found.append(Together(unit=unit, models=len(group), epsilon=epsilon, delta=delta, tuned_runs=declared))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class _Earlier:
    seconds: float
    memory: float
    steps: int | None


def _earlier(root: Path, examples: int) -> dict[Hashable, list[_Earlier]]:
    """Jobs that ended well, of the latest runs, by what makes jobs alike."""
    found: dict[Hashable, list[_Earlier]] = defaultdict(list)
    for run in newest_first(root)[:_MOST_RUNS]:
        try:
            manifest = run.manifest()
        except TrustmlError:
            continue
        for record in manifest.jobs:
            job = _job(run, record.id) if record.status == "ok" and not record.concurrent else None
            if job is not None:
                steps = _steps(job, manifest.data.train_examples)
                found[_likeness(job)].append(
                    _Earlier(seconds=record.seconds, memory=float(record.peak_memory), steps=steps)
                )
    return found


def _job(run: RunDirectory, name: str) -> Job | None:
    try:
        return run.job(name)
    except TrustmlError:
        return None


def _likeness(job: Job) -> Hashable:
    """What two jobs must have in common for one to tell the time of the other; not the number of steps."""
    shared = (type(job), job.backend, msgspec.json.encode(job.model), job.input_shape, job.execution.device)
    if isinstance(job, ExplainJob):
        return (*shared, tuple(method.title for method in job.methods), job.timing)
    if not isinstance(job, TrainJob):
        return shared
    batch = getattr(job.regime, "batch_size", None)
    return (*shared, type(job.regime), getattr(job.regime, "engine", ""), batch, _clients(job))


def _clients(job: TrainJob) -> int | None:
    """Clients of a federated training, on whose number a round's time depends."""
    return getattr(getattr(job.regime, "partition", None), "clients", None)


def _steps(job: Job, examples: int) -> int | None:
    if not isinstance(job, TrainJob):
        return None
    if job.mechanism is not None:
        return job.mechanism.total_steps
    if isinstance(job.regime, FederatedSpec):
        return job.regime.rounds
    if isinstance(job.regime, Plain) and job.regime.ablation is None:
        return job.regime.epochs * math.ceil(examples / job.regime.batch_size)
    return None


def _in_proportion(seconds: float, steps: int | None, wanted: int | None) -> float:
    return seconds if not steps or wanted is None else seconds * wanted / steps
