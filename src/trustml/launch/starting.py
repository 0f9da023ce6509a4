"""Starting weights from a model of an earlier run: what it was trained on, and what of that is this run's data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Dataset
from trustml.data.streams import Stream, public_generator
from trustml.errors import RecordError, UsageError
from trustml.models.network_files import fitting_weights, starting_weights
from trustml.models.weights import Weights, initial_weights, read_weights
from trustml.plan.expand import draws_weights, weights_file
from trustml.plan.job import TrainJob
from trustml.privacy.ledger import Charge, read_ledger
from trustml.record.choices import composed_runs, siblings_of
from trustml.record.files import sha256
from trustml.record.starts import SharedRows, StartRecord, earlier_charges, is_void, start_title
from trustml.record.store import PRIVATE_DATA, RunDirectory, job_record
from trustml.scenario.regimes import DPSGD
from trustml.scenario.sources import DataSource
from trustml.scenario.spec import Scenario
from trustml.scenario.starts import run_start

_WEIGHTS = "weights.safetensors"
_MAY_DIFFER = ("path", "test_path", "classes", "test_fraction", "split_seed", "split", "split_by")
"""Fields of a source that choose rows, and change nothing in one."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """Weights of an earlier model, and what is recorded of where they are from."""

    weights: Weights
    record: StartRecord


def started(scenario: Scenario, dataset: Dataset) -> Started | None:
    """Read the model of the run that a scenario starts from; None where it names none.

    Raises
    ------
    UsageError
        If there is no such model, it was changed, or does not fit.
    """
    named = run_start(scenario.start)
    if named is None:
        return None
    run = RunDirectory(named.run)
    try:
        manifest, job = run.manifest(), run.job(named.job)
        record = job_record(manifest, named.job)
        path = run.job_folder(named.job) / _WEIGHTS
        if record.status != "ok" or not isinstance(job, TrainJob):
            raise RecordError(f"{named.job} ended {record.status}")
        if sha256(path) != record.artifacts.get(_WEIGHTS):
            raise RecordError(f"{path} is not the file that the manifest names")
        weights = read_weights(path)
        charges = read_ledger(run.job_folder(named.job) / "ledger.jsonl") if job.mechanism is not None else []
        before = [charge for found in earlier_charges(manifest, job.regime) for charge in found]
    except (RecordError, UsageError, KeyError, StopIteration, OSError) as error:
        raise UsageError(
            f"start: {named.run.name}:{named.job} cannot be started from ({error}); name another"
        ) from None
    fitted = fitting_weights(f"{named.run.name}:{named.job}", weights, scenario.model, dataset.input_shape)
    shared = _shared_rows(run, manifest.scenario, scenario, dataset)
    composes = (
        shared == "some" and isinstance(job.regime, DPSGD) and bool(charges) and not is_void(manifest, job.regime)
    )
    return Started(
        weights=fitted,
        record=StartRecord(
            run=manifest.run,
            job=named.job,
            weights=sha256(path),
            shared=shared,
            charges=tuple(in_blocks([*before, *charges])) if composes else (),
            tuned_runs=composed_runs(manifest, [job.regime]) if composes else None,
            chosen_among=siblings_of(manifest, job.regime.title) if composes else 0,
            earlier=start_title(manifest, job.regime),
        ),
    )


def starting_files(
    scenario: Scenario, dataset: Dataset, seed: int, start: Started | None, *, own: Mapping[int, Weights]
) -> dict[str, Weights]:
    """Weights that trainings of one seed start from, by file; `own` are those that own code drew, by the seed."""
    drawn = own.get(seed)
    if drawn is None:
        generator = public_generator(seed, Stream.WEIGHTS)
        drawn = initial_weights(scenario.model, dataset.input_shape, generator=generator)
    if not scenario.start:
        return {weights_file(seed): drawn}
    given = start.weights if start else starting_weights(Path(scenario.start), scenario.model, dataset.input_shape)
    found = {weights_file(seed): given}
    if any(draws_weights(scenario, regime) for regime in scenario.training):
        found[weights_file(seed, drawn=True)] = drawn
    return found


def in_blocks(charges: Sequence[Charge]) -> list[Charge]:
    """Join charges for steps that follow each other and differ in nothing else, which costs what they cost apart."""
    found: list[Charge] = []
    for charge in charges:
        last = found[-1] if found else None
        if last is not None and last.noise == "independent" and _goes_on(last, charge):
            both = last.participation + charge.participation
            found[-1] = msgspec.structs.replace(last, end_step=charge.end_step, participation=both)
        else:
            found.append(charge)
    return found


def _goes_on(last: Charge, charge: Charge) -> bool:
    moved = {"first_step": last.end_step, "end_step": charge.end_step, "participation": charge.participation}
    return msgspec.structs.replace(last, **moved) == charge


def _shared_rows(run: RunDirectory, before: Mapping[str, Any], now: Scenario, dataset: Dataset) -> SharedRows:
    """Tell whether training rows of the earlier run are training rows again, as far as can be told.

    Rows are compared by their fingerprints as they were prepared, so that nothing is ruled out where they were
    prepared otherwise, or where the earlier run itself started from something.
    """
    try:
        old = fingerprints(run.mapped(PRIVATE_DATA, names=("train_inputs",))["train_inputs"])
    except (RecordError, KeyError, OSError):
        return "unknown"
    if not old.isdisjoint(fingerprints(dataset.train.inputs)):
        return "some"
    alike = _prepared(before.get("data")) == _prepared(
        msgspec.to_builtins(now.data)
    ) and dataset.preparation.scaling in ("none", "public constants")
    return "none" if alike and not before.get("start") else "unknown"


def fingerprints(rows: npt.NDArray[Any]) -> set[bytes]:
    """SHA-256 of each row."""
    shape = str(rows.shape[1:]).encode()
    return {hashlib.sha256(shape + np.ascontiguousarray(row, np.float32).tobytes()).digest() for row in rows}


def same_preparation(recorded: Any, source: DataSource) -> bool:
    """Whether a source makes rows as one of a record did, though it may choose others."""
    before = _prepared(recorded)
    return before is not None and before == _prepared(msgspec.to_builtins(source))


def _prepared(source: Any) -> Any:
    """What a source, or a record of one, says of how rows are made; None where it cannot be read."""
    try:
        whole = msgspec.json.decode(msgspec.json.encode(msgspec.convert(source, DataSource, strict=False)))
    except (msgspec.ValidationError, TypeError):
        return None
    return {name: value for name, value in whole.items() if name not in _MAY_DIFFER}
