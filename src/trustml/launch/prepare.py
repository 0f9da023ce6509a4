"""From a scenario to a run directory that is ready to go: data, starting weights, batches, jobs."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.data.batches import BatchPlan
from trustml.data.clients import read_federated_plan
from trustml.data.dataset import Dataset, fingerprint
from trustml.data.datasets import load_dataset
from trustml.data.partition import Clients
from trustml.data.preparation import preparation_notes
from trustml.data.slices import slice_arrays
from trustml.data.token_ids import check_token_ids
from trustml.launch.attacks import attribute_arrays, population_arrays, write_attack_inputs
from trustml.launch.baselines import explanation_inputs, explanation_notes, sample_warnings, with_samples
from trustml.launch.drawn_batches import draw_plan
from trustml.launch.federation import draw_partition, draw_users, partition_arrays
from trustml.launch.own_network import look_at_model
from trustml.launch.shared_data import write_data
from trustml.launch.starting import Started, started, starting_files
from trustml.models.answers import explained_labels
from trustml.models.weights import Weights, encode_weights
from trustml.plan.client_mechanism import plan_client_mechanism
from trustml.plan.expand import Expansion, Inputs, expand, plan_file
from trustml.plan.job import (
    CanaryJob,
    ExplainJob,
    Job,
    Mechanism,
    ReconstructionJob,
    ShadowJob,
    TrainJob,
    clients_file,
    digest,
)
from trustml.plan.mechanism import plan_mechanism, stock_mechanism
from trustml.plan.user_mechanism import plan_user_mechanism
from trustml.record.files import encode_arrays, sha256, write_atomic
from trustml.record.mapped import write_arrays
from trustml.record.provenance import MAIN_PACKAGES, hardware, package_versions, source_revision
from trustml.record.removal import planned_run
from trustml.record.schema import DataRecord, JobKind, JobRecord, Manifest, PartitionRecord
from trustml.record.store import BASELINES, HELDOUT, PRIVATE_DATA, SEEN, RunDirectory
from trustml.scenario.check import check_against_data, check_scenario
from trustml.scenario.check_regimes import check_cohorts, check_silos
from trustml.scenario.federated import DPFedAvg, FederatedSpec, PrivateClients
from trustml.scenario.read import resolve_own_code, to_plain
from trustml.scenario.regimes import DPSGD, Plain, Regime
from trustml.scenario.spec import BackendName, Scenario


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run that nothing is written of yet.

    Attributes
    ----------
    scenario : Scenario
        With the rows that its explanations show.
    dataset : Dataset
    fingerprint : str
        Of the data.
    partitions, plans : dict
        Who holds what, and the batches, by the regime's title and the seed.
    expansion : Expansion
        Jobs, and what is left out.
    starts : dict
        Starting weights that own code drew, by the seed.
    warnings, cohort_warnings : list of str
    start : Started, optional
        The model of an earlier run that training starts from.
    attributes : dict
        Columns whose values are guessed of training rows; empty for none.
    """

    scenario: Scenario
    dataset: Dataset
    fingerprint: str
    partitions: dict[tuple[str, int], Clients]
    plans: dict[tuple[str, int], dict[str, npt.NDArray[Any]]]
    expansion: Expansion
    starts: dict[int, Weights]
    warnings: list[str]
    cohort_warnings: list[str]
    start: Started | None = None
    attributes: dict[str, npt.NDArray[Any]] = field(default_factory=dict)


def plan_run(scenario: Scenario) -> Planned:
    """Check everything, load the data, and draw and calibrate what jobs will need; nothing is written.

    Raises
    ------
    ScenarioError, DataError
    """
    scenario = resolve_own_code(scenario, folder=Path.cwd())
    check_scenario(scenario)
    dataset = load_dataset(scenario.data, scenario.task)
    scenario, starts = look_at_model(scenario, dataset.input_shape)
    scenario = with_samples(scenario, dataset)
    warnings = sample_warnings(scenario, dataset)
    warnings += check_against_data(
        scenario,
        input_shape=dataset.input_shape,
        classes=dataset.classes,
        train_examples=len(dataset.train),
        test_examples=len(dataset.test),
    )
    start = started(scenario, dataset)
    if start is not None:
        told = start.warnings(held_out=len(dataset.test))
        dataset = replace(dataset, warnings=(*dataset.warnings, *told))
    check_token_ids(scenario.model, dataset)
    slice_arrays(scenario.slices, dataset.test_keys)  # refused before anything is written
    attributes = attribute_arrays(scenario, dataset)
    population_arrays(scenario, dataset)
    partitions = _draw_partitions(scenario, dataset)
    cohorts = check_cohorts(scenario, {title: len(clients.names) for (title, _), clients in partitions.items()})
    held = {title: (len(c.names), len(dataset.train) - c.left_out) for (title, _), c in partitions.items()}
    cohorts += check_silos(scenario, held)
    plans = _draw_plans(scenario, dataset, partitions)
    content = fingerprint(dataset)
    expansion = expand(
        scenario,
        input_shape=dataset.input_shape,
        files=Inputs(data=PRIVATE_DATA, examples=HELDOUT, baselines=BASELINES, data_fingerprint=content),
        mechanisms=_mechanisms(scenario, plans, len(dataset.train), partitions),
    )
    return Planned(
        scenario=scenario,
        dataset=dataset,
        fingerprint=content,
        partitions=partitions,
        plans=plans,
        expansion=expansion,
        starts=starts,
        warnings=list(warnings),
        cohort_warnings=list(cohorts),
        start=start,
        attributes=attributes,
    )


def prepare_run(scenario: Scenario, *, root: Path, overrides: Sequence[str] = ()) -> RunDirectory:
    """Check everything, then create the run directory with all that workers will read.

    Raises
    ------
    ScenarioError, DataError
        Before anything is created.
    """
    planned = plan_run(scenario)
    scenario, dataset, content = planned.scenario, planned.dataset, planned.fingerprint
    partitions, expansion = planned.partitions, planned.expansion
    with planned_run(root, name=scenario.name) as run:
        write_data(run, dataset, fingerprint=content)
        artifacts = _write_inputs(run, planned)
        for (title, seed), clients in partitions.items():
            arrays = partition_arrays(clients, dataset)
            write_atomic(run.file(clients_file(title, seed)), encode_arrays(arrays), private=True)
        write_attack_inputs(run, scenario, dataset, expansion.attack, attributes=planned.attributes)
        run.write_private_warnings(dataset.warnings)
        if planned.start and planned.start.seen:
            seen = np.isin(np.arange(len(dataset.test)), list(planned.start.seen))
            write_atomic(run.file(SEEN), encode_arrays({"seen": seen}), private=True)
        for job in expansion.jobs:
            write_job(run, job)
        run.write_manifest(  # last: a run that has one is whole, and can be resumed
            Manifest(
                run=run.path.name,
                status="running",
                created=now(),
                scenario=to_plain(scenario),
                overrides=tuple(overrides),
                data=DataRecord(
                    fingerprint=content,
                    train_examples=len(dataset.train),
                    test_examples=len(dataset.test),
                    input_shape=dataset.input_shape,
                    class_names=dataset.class_names,
                    feature_names=dataset.feature_names,
                    feature_groups=dataset.feature_groups,
                    preparation=dataset.preparation,
                    notes=(*preparation_notes(dataset.preparation), *explanation_notes(scenario)),
                ),
                partitions=_partition_records(scenario, partitions),
                jobs=tuple(_record(job, expansion) for job in expansion.jobs),
                skips=expansion.skips,
                warnings=(*planned.warnings, *planned.cohort_warnings),
                cohort_warnings=tuple(planned.cohort_warnings),
                hardware=hardware(),
                versions=package_versions(MAIN_PACKAGES),
                source=source_revision(),
                artifacts=artifacts,
                start=planned.start.record if planned.start else None,
            )
        )
    return run


def _draw_partitions(scenario: Scenario, dataset: Dataset) -> dict[tuple[str, int], Clients]:
    found: dict[tuple[str, int], Clients] = {}
    for index, regime in enumerate(scenario.training):
        field = f"training.{index}"
        for seed in scenario.seeds:
            if isinstance(regime, FederatedSpec):
                found[regime.title, seed] = draw_partition(regime, dataset, seed=seed, field=field)
            elif isinstance(regime, DPSGD) and regime.key_columns:
                found[regime.title, seed] = draw_users(regime, dataset, field=field)
    return found


def _draw_plans(
    scenario: Scenario, dataset: Dataset, partitions: dict[tuple[str, int], Clients]
) -> dict[tuple[str, int], dict[str, npt.NDArray[Any]]]:
    return {
        (regime.title, seed): draw_plan(
            _drawn_as(regime, scenario),
            seed=seed,
            examples=_drawn_from(regime, seed, examples=len(dataset.train), partitions=partitions),
            clients=partitions.get((regime.title, seed)),
        )
        for regime in scenario.training
        for seed in scenario.seeds
    }


def _drawn_from(regime: Regime, seed: int, *, examples: int, partitions: dict[tuple[str, int], Clients]) -> int:
    """Count what batches are drawn from: the users of a regime that is private for them, or all examples."""
    users = isinstance(regime, DPSGD) and regime.unit == "user"
    return len(partitions[regime.title, seed].names) if users else examples


def _drawn_as(regime: Regime, scenario: Scenario) -> Regime:
    """Give the regime by whose rule batches are drawn: for an ablation the private one, but from a public stream.

    Its models are not private: steps without noise would tell who was in batches that the private model shared.
    """
    if not isinstance(regime, Plain) or regime.ablation is None:
        return regime
    private = next(one for one in scenario.training if isinstance(one, DPSGD) and one.title == regime.ablation.of)
    return msgspec.structs.replace(private, sampling_seed=private.sampling_seed or 0)


def _partition_records(scenario: Scenario, partitions: dict[tuple[str, int], Clients]) -> tuple[PartitionRecord, ...]:
    """Records of federations; how many users a column names is in the ledger of who protects them, and nowhere else."""
    federated = {regime.title for regime in scenario.training if isinstance(regime, FederatedSpec)}
    return tuple(
        PartitionRecord(
            regime=title,
            seed=seed,
            clients=len(clients.names),
            fingerprint=clients.fingerprint(),
            left_out=clients.left_out,
        )
        for (title, seed), clients in partitions.items()
        if title in federated
    )


def write_job(run: RunDirectory, job: Job, *, name: str = "job.json") -> None:
    """Write what a job asks for, making the job's folder."""
    from trustml.plan.job import encode_job

    write_atomic(run.job_folder(job.id) / name, encode_job(job))


def write_plan(run: RunDirectory, name: str, plan: dict[str, npt.NDArray[Any]]) -> None:
    """Write a batch plan, readable by its owner alone."""
    write_atomic(run.file(name), encode_arrays(plan), private=True)


def now() -> str:
    """Present time, UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _mechanisms(
    scenario: Scenario,
    plans: dict[tuple[str, int], dict[str, npt.NDArray[Any]]],
    examples: int,
    partitions: dict[tuple[str, int], Clients],
) -> dict[tuple[str, int, BackendName], Mechanism]:
    found: dict[tuple[str, int, BackendName], Mechanism] = {}
    for index, regime in enumerate(scenario.training):
        field = f"training.{index}"
        for seed in scenario.seeds:
            arrays = plans[regime.title, seed]
            for backend in scenario.backends:
                cell = (regime.title, seed, backend)
                if isinstance(regime, DPFedAvg):
                    clients, rounds = partitions[regime.title, seed], read_federated_plan(arrays)
                    users = clients.fingerprint()
                    found[cell] = plan_user_mechanism(
                        regime, field=field, clients=len(clients.names), plan=rounds, users=users
                    )
                elif isinstance(regime, PrivateClients):
                    clients = partitions[regime.title, seed]
                    found[cell] = plan_client_mechanism(
                        regime,
                        field=field,
                        examples=examples - clients.left_out,
                        clients=len(clients.names),
                        plan=read_federated_plan(arrays),
                        users=clients.fingerprint(),
                    )
                elif isinstance(regime, DPSGD):
                    plan = BatchPlan(indices=arrays["indices"], offsets=arrays["offsets"])
                    drawn = _drawn_from(regime, seed, examples=examples, partitions=partitions)
                    users = partitions[regime.title, seed].fingerprint() if regime.key_columns else ""
                    mechanism = (
                        plan_mechanism(regime, field=field, examples=drawn, plan=plan)
                        if regime.engine == "core"
                        else stock_mechanism(regime, backend, field=field, examples=examples)
                    )
                    found[cell] = msgspec.structs.replace(mechanism, users=users)
    return found


def _write_inputs(run: RunDirectory, planned: Planned) -> dict[str, str]:
    """Write what workers read; give the hashes of what is public."""
    scenario, dataset = planned.scenario, planned.dataset
    for (title, seed), plan in planned.plans.items():
        write_plan(run, plan_file(title, seed), plan)
    # No inputs without explanations: whoever is in them would be disclosed for nothing.
    chosen = np.array(scenario.explanations.chosen(len(dataset.test)), np.int64)
    explained = dataset.test.inputs[chosen]
    shown = chosen if scenario.explanations.methods else chosen[:0]
    heldout: dict[str, npt.NDArray[Any]] = {
        "inputs": dataset.test.inputs[shown],
        "targets": explained_labels(scenario.task, dataset.test.labels[shown]),
        "test_labels": dataset.test.labels,
        **slice_arrays(scenario.slices, dataset.test_keys),
    }
    if dataset.token_names is not None and len(shown):
        heldout["tokens"] = np.array(dataset.token_names())[dataset.test.inputs[shown].astype(np.int64)]
    write_arrays(run.file(HELDOUT), heldout)
    baselines = explanation_inputs(scenario, dataset, inputs=explained)
    write_atomic(run.file(BASELINES), encode_arrays(baselines), private=True)
    public = [HELDOUT]
    for seed in scenario.seeds:
        for name, weights in starting_files(scenario, dataset, seed, planned.start, own=planned.starts).items():
            write_atomic(run.file(name), encode_weights(weights))
            public.append(name)
    return {name: sha256(run.file(name)) for name in public}


def _record(job: Job, expansion: Expansion) -> JobRecord:
    regime, seed, explained = "-", -1, ""
    kind = cast(JobKind, type(job).__struct_config__.tag)
    match job:
        case TrainJob():
            regime, seed = job.regime.title, job.seed
        case ExplainJob() | ReconstructionJob():
            subject = next(train for train in expansion.train if train.id == job.subject)
            regime, seed = subject.regime.title, subject.seed
            explained = subject.id if isinstance(job, ExplainJob) else ""
        case ShadowJob():
            regime = job.regime.title
        case CanaryJob():
            regime, seed = job.training.regime.title, job.training.seed
    return JobRecord(
        id=job.id, backend=job.backend, kind=kind, regime=regime, seed=seed, digest=digest(job), subject=explained
    )
