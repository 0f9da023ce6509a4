"""A model of a run explains an input that a reader gives, in a folder that is gone afterwards: the run stays as it is.

Workers are asked as they are for any run, by data alone: what a stranger's record holds is never executed. Of its jobs,
the model and the method are taken; where files lie, how long it may take and how much memory, is decided here.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from trustml.data.baselines import background_for, baseline_for, features_of
from trustml.data.dataset import Floats
from trustml.errors import EnvironmentMissingError, RecordError, UsageError
from trustml.launch.environments import find_environment
from trustml.launch.process import Ended, JobLimits, Worker
from trustml.models.native import native_of
from trustml.models.token_space import table_of_tokens
from trustml.plan.job import ExplainJob, encode_job
from trustml.plan.switches import switch_variables
from trustml.record.array_names import array_name
from trustml.record.explained import explained_model, methods_done
from trustml.record.files import UNREADABLE, encode_arrays, plain_bytes, write_atomic
from trustml.record.schema import JobRecord, Manifest, failed_methods
from trustml.record.store import BASELINES, HELDOUT, RunDirectory
from trustml.scenario.baselines import Background, Blur, Constants
from trustml.scenario.methods import Method, background_of, baseline_of
from trustml.scenario.spec import Execution, Probes

SECONDS = 180.0
"""That one library may take, its start included."""
_MEMORY = 8 << 30
_LOOK_SECONDS = 0.05
_ONE_AT_A_TIME = threading.Lock()

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """What is asked.

    Attributes
    ----------
    model : str
        Train job of the model.
    method : str
        Title of a method that explained it in the run.
    input : float32 array of the shape of an input
        As the model gets it.
    target : "predicted" or int
        Output that is explained: the one each library's copy of the model predicts, or a given one.
    """

    model: str
    method: str
    input: Floats
    target: Literal["predicted"] | int = "predicted"


@contextmanager
def asked_again(run: RunDirectory, what_if: WhatIf) -> Iterator[tuple[RunDirectory, dict[str, str]]]:
    """Let every library that explained a model explain it for another input.

    Yields
    ------
    answers : RunDirectory
        Of one example; it reads as a run does, and is gone when the context ends.
    failed : dict of str to str
        Backend to one line, of those that gave no answer.

    Raises
    ------
    UsageError, RecordError
        If the input does not fit, or nothing can be asked.
    """
    manifest = run.manifest()
    _check_input(what_if.input, manifest.data.input_shape)
    jobs = explaining(run, manifest, what_if)
    with tempfile.TemporaryDirectory(prefix="trustml-what-if-") as folder:
        answers = RunDirectory(Path(folder))
        methods = {method.title: method for _, job in jobs for method in job.methods}
        _write_inputs(run, answers, manifest, what_if, methods[what_if.method])
        for record, job in jobs:
            write_atomic(answers.job_folder(record.id) / "job.json", encode_job(job))
        if not _ONE_AT_A_TIME.acquire(timeout=SECONDS):
            raise UsageError("another input is being explained; ask again when that is done")
        try:
            records, failed = _work(answers, jobs)
        finally:
            _ONE_AT_A_TIME.release()
        trained = tuple(record for record in manifest.jobs if record.id == what_if.model)
        answers.write_manifest(replace(manifest, jobs=(*trained, *records)))
        yield answers, failed


def outputs_of(run: RunDirectory, model: str, inputs: Floats) -> npt.NDArray[np.float32]:
    """Let one worker give a model's outputs for inputs that a reader gives, in one framework that explained it.

    Parameters
    ----------
    run : RunDirectory
    model : str
        Train job.
    inputs : float32 array of shape (n, *x)
        As the model gets them.

    Returns
    -------
    float32 array of shape (n, c)

    Raises
    ------
    UsageError, RecordError
        If an input does not fit, or nothing can be asked, or no answer came.
    """
    manifest = run.manifest()
    for given in inputs:
        _check_input(given, manifest.data.input_shape)
    record, job = _explains(run, manifest, model)
    with tempfile.TemporaryDirectory(prefix="trustml-what-if-") as folder:
        answers = RunDirectory(Path(folder))
        targets = run.mapped(HELDOUT, names=("targets",))["targets"][:1]
        rows = {"inputs": inputs.astype(np.float32), "targets": np.repeat(targets, len(inputs), axis=0)}
        write_atomic(answers.file(HELDOUT), encode_arrays(rows))
        write_atomic(answers.file(BASELINES), encode_arrays({}), private=True)
        write_atomic(answers.file(_weights(model)), _weights_of(run, model))
        write_atomic(answers.job_folder(record.id) / "job.json", encode_job(replace(job, methods=())))
        if not _ONE_AT_A_TIME.acquire(timeout=SECONDS):
            raise UsageError("another input is being explained; ask again when that is done")
        try:
            _, failed = _work(answers, [(record, job)])
        finally:
            _ONE_AT_A_TIME.release()
        if failed:
            raise UsageError(f"{model}: {record.backend} gave no answer: {next(iter(failed.values()))}")
        found: npt.NDArray[np.float32] = answers.arrays(f"jobs/{record.id}/attributions.npz")["logits"]
        return found


def _explains(run: RunDirectory, manifest: Manifest, model: str) -> tuple[JobRecord, ExplainJob]:
    """Give the job by which a framework explained the model: the one that trained it, if it did."""
    trained = {record.id: record.backend for record in manifest.jobs if record.kind == "train"}
    done = [
        (record.backend != trained.get(model), one.method)
        for record in manifest.jobs
        for one in methods_done(record)
        if explained_model(run, record) == model
    ]
    if not done:
        raise UsageError(f"{model}: was not explained in this run; choose another")
    nothing = np.zeros(manifest.data.input_shape, np.float32)
    found = explaining(run, manifest, WhatIf(model=model, method=min(done)[1], input=nothing))
    return min(found, key=lambda one: one[0].backend != trained.get(model))


def explaining(run: RunDirectory, manifest: Manifest, what_if: WhatIf) -> list[tuple[JobRecord, ExplainJob]]:
    """Give the jobs that explained the model by the method, as they are asked again.

    Raises
    ------
    UsageError
        If there are none, or their model takes tokens or is no data.
    """
    found = []
    for record in manifest.jobs:
        if all(done.method != what_if.method for done in methods_done(record)):
            continue
        job = run.job(record.id)
        if explained_model(run, record) != what_if.model or not isinstance(job, ExplainJob):
            continue
        if native_of(job.model) is not None:
            raise UsageError(f"{what_if.model}: is code and no data; it is not run for what a record says")
        if table_of_tokens(job.model):
            raise UsageError(f"{what_if.model}: takes tokens of texts, of which none can be changed here")
        found.append((record, _again(record, job, what_if)))
    if not found:
        raise UsageError(f"{what_if.model}: was not explained by {what_if.method} in this run; choose another")
    return found


def _again(record: JobRecord, job: ExplainJob, what_if: WhatIf) -> ExplainJob:
    return replace(
        job,
        id=record.id,
        weights=_weights(what_if.model),
        examples=HELDOUT,
        baselines=BASELINES,
        methods=tuple(method for method in job.methods if method.title == what_if.method),
        target=what_if.target,
        probes=Probes(faithfulness=False),
        timing=False,
        execution=Execution(),
    )


def _weights(model: str) -> str:
    return f"jobs/{model}/weights.safetensors"


def _check_input(given: Floats, shape: tuple[int, ...]) -> None:
    if given.shape != shape:
        raise UsageError(f"input: has the shape {given.shape}, and the model takes {shape}; give one of that shape")
    if not np.isfinite(given).all():
        raise UsageError("input: holds what is infinite or no number; give numbers")


def _write_inputs(
    run: RunDirectory, answers: RunDirectory, manifest: Manifest, what_if: WhatIf, method: Method
) -> None:
    inputs = what_if.input[None].astype(np.float32)
    targets = run.mapped(HELDOUT, names=("targets",))["targets"][:1]  # of any example: what is explained is named
    write_atomic(answers.file(HELDOUT), encode_arrays({"inputs": inputs, "targets": targets}))
    write_atomic(answers.file(BASELINES), encode_arrays(_prepared(run, manifest, method, inputs)), private=True)
    write_atomic(answers.file(_weights(what_if.model)), _weights_of(run, what_if.model))


def _weights_of(run: RunDirectory, model: str) -> bytes:
    try:
        return plain_bytes(run.file(_weights(model)))
    except UNREADABLE as error:
        raise RecordError(f"{model}: its weights cannot be read ({error})") from None


def _prepared(run: RunDirectory, manifest: Manifest, method: Method, inputs: Floats) -> Arrays:
    """Baseline, background and features of a method for one input, from the run where they rest on its rows."""
    stored = run.arrays(BASELINES) if run.file(BASELINES).is_file() else {}
    title, shape = method.title, manifest.data.input_shape
    found = {"features": _features(stored, "features", manifest, patch=1)}
    baseline, background = baseline_of(method), background_of(method)
    match baseline:
        case None:
            pass
        case Blur() | Constants() | float() | int():
            found[array_name(title, "baseline")] = baseline_for(baseline, inputs=inputs, train=inputs, heldout=inputs)
        case _:  # the same for every example
            found[array_name(title, "baseline")] = _stored(stored, array_name(title, "baseline"))[:1]
    if isinstance(background, Background) and background.rows == "uniform":
        rows = np.zeros((0, *shape), np.float32)
        found[array_name(title, "background")] = background_for(background, train=rows, heldout=rows)
    elif background is not None:
        found[array_name(title, "background")] = _stored(stored, array_name(title, "background"))
    if hasattr(method, "patch"):
        name = array_name(title, "features")
        found[name] = _features(stored, name, manifest, patch=method.patch)
    return found


def _features(stored: Arrays, name: str, manifest: Manifest, *, patch: int) -> npt.NDArray[Any]:
    if name in stored:
        return stored[name]
    if manifest.scenario.get("explanations", {}).get("groups"):
        return _stored(stored, name)
    return features_of(manifest.data.input_shape, patch=patch, groups=manifest.data.feature_groups)


def _stored(stored: Arrays, name: str) -> npt.NDArray[Any]:
    if name not in stored:
        raise UsageError(f"{name}: is made of rows that are in private/ of the run, which is not here; choose another")
    return stored[name]


def _work(
    answers: RunDirectory, jobs: list[tuple[JobRecord, ExplainJob]]
) -> tuple[tuple[JobRecord, ...], dict[str, str]]:
    """Run all jobs beside each other, and wait."""
    failed: dict[str, str] = {}
    workers: dict[str, Worker] = {}
    ended: dict[str, Ended] = {}
    try:
        for record, job in jobs:
            try:
                workers[record.id] = _started(answers, job)
            except (EnvironmentMissingError, UsageError) as error:
                failed[record.backend] = str(error)
        while len(ended) < len(workers):
            for name, worker in workers.items():
                if name not in ended and (end := worker.poll()) is not None:
                    ended[name] = end
            time.sleep(_LOOK_SECONDS)
    finally:
        for name in workers.keys() - ended.keys():
            workers[name].stop("interrupted", "stopped")
    records = []
    for record, _ in jobs:
        if record.id in ended:
            new = _record(record, ended[record.id])
            records.append(new)
            if new.status != "ok":
                failed[record.backend] = new.reason
            elif broken := failed_methods(new):
                failed[record.backend] = broken[0].reason
    return tuple(records), failed


def _record(record: JobRecord, end: Ended) -> JobRecord:
    return replace(record, status=end.status, reason=end.reason, result=end.result, artifacts={})


def _started(answers: RunDirectory, job: ExplainJob) -> Worker:
    environment = find_environment(job.backend)
    return Worker(
        python=environment.require(),
        folder=answers.job_folder(job.id),
        variables=switch_variables(job.execution) | environment.variables,
        limits=JobLimits(timeout=SECONDS, memory=_MEMORY),
    )


def may_change(run: RunDirectory, manifest: Manifest, model: str, method: str) -> str:
    """Say why the inputs of a model cannot be changed; empty if they can."""
    shape = manifest.data.input_shape
    try:
        explaining(run, manifest, WhatIf(model=model, method=method, input=np.zeros(shape, np.float32)))
    except (UsageError, RecordError) as error:
        return str(error)
    return ""
