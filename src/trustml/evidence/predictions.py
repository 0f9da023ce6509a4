"""Whether the weights of a run give its predictions: a model whose weights were exchanged answers otherwise.

The network is computed by the slow oracle of the conformance suite, from the architecture that the job states as data:
nothing of the record is imported or run, and no framework is needed. Only inputs that are at hand can be put in: the
held-out ones under ``private/``, or else those that were explained (``heldout.npz``). What is left is said to be so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.backends.contract import Model
from trustml.backends.numpy.network import logits as oracle_logits
from trustml.data.streams import Stream, public_generator
from trustml.evidence.checks import NOT_COMPUTABLE, Check, Outcome
from trustml.measures.evidence import Evidence
from trustml.models.answers import recorded
from trustml.models.native import native_of
from trustml.models.shapes import layer_shapes, weight_shapes
from trustml.models.tasks import NextToken
from trustml.models.weights import initial_weights, read_weights
from trustml.plan.expand import weights_file
from trustml.plan.job import Job, TrainJob
from trustml.record.mapped import map_arrays
from trustml.record.schema import JobRecord
from trustml.record.store import HELDOUT, PRIVATE_DATA
from trustml.scenario.read import from_plain

SAME_LOGITS = 1e-3
"""Of the largest logit: float32 in another order of adding, on any device. Other weights give other digits at once."""
_SMALLEST_SCALE = 0.1
_ROWS, _POSITIONS, _VALUES = 4096, 100_000, 1 << 26
_LARGEST_VALUES, _LARGEST_NUMBER = 1 << 24, 1 << 16


def prediction_checks(evidence: Evidence, jobs: dict[str, Job]) -> list[Check]:
    """Compute logits of every trained model from its weights, and hold them against what is recorded of it."""
    checks = _start_checks(evidence)
    inputs: _AtHand | None = None
    missing = ""
    try:
        inputs = _inputs(evidence)
    except NOT_COMPUTABLE as error:
        missing = str(error)
    checks += _heldout_checks(evidence, inputs)
    for record in evidence.manifest.jobs:
        job = jobs.get(record.id)
        if record.kind == "train" and record.status == "ok" and isinstance(job, TrainJob):
            try:
                checks += _model_checks(evidence, record, job, inputs, missing)
            except NotImplementedError as error:
                checks.append(_check(record.id, "not recomputed", f"weights: {error}"))
            except NOT_COMPUTABLE as error:
                checks.append(_check(record.id, "differs", f"weights: {type(error).__name__}: {error}"))
    return [*checks, *_exchanged(evidence, jobs), *_explained_checks(evidence)]


def _exchanged(evidence: Evidence, jobs: dict[str, Job]) -> list[Check]:
    """Name private models whose weights are those of a model that was trained without privacy."""
    digests: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for record in evidence.manifest.jobs:
        job, digest = jobs.get(record.id), record.artifacts.get("weights.safetensors")
        if isinstance(job, TrainJob) and digest is not None:
            digests[job.mechanism is not None][digest] = record.id
    return [
        _check(model, "differs", f"has the weights of {digests[False][digest]}, which was trained without privacy")
        for digest, model in digests[True].items()
        if digest in digests[False]
    ]


def _start_checks(evidence: Evidence) -> list[Check]:
    """Draw the starting weights again: they follow from public seeds."""
    checks = []
    try:
        scenario, shape = from_plain(evidence.manifest.scenario), tuple(evidence.manifest.data.input_shape)
    except NOT_COMPUTABLE as error:
        return [_check("starting weights", "differs", f"cannot be drawn again ({type(error).__name__}: {error})")]
    for seed in scenario.seeds:
        name = weights_file(seed)
        if name not in evidence.manifest.artifacts:
            continue
        if scenario.start:
            message = "are those of a file that the scenario starts from, which is no part of the record"
            checks.append(_check(name, "not recomputed", message))
            continue
        if native_of(scenario.model) is not None:
            checks.append(_check(name, "not recomputed", "are drawn by the model's own code, which is not run here"))
            continue
        try:
            shapes = weight_shapes(scenario.model, shape)
            stated = read_weights(evidence.run.file(name), expected=shapes)
            drawn = initial_weights(scenario.model, shape, generator=public_generator(seed, Stream.WEIGHTS))
            same = all(np.array_equal(stated[part], drawn[part]) for part in shapes)
        except NOT_COMPUTABLE as error:
            checks.append(_check(name, "differs", f"cannot be drawn again ({type(error).__name__}: {error})"))
            continue
        message = "as drawn again from the seed" if same else "are not those that the seed gives"
        checks.append(_check(name, "ok" if same else "differs", message))
    return checks


@dataclass(frozen=True)
class _AtHand:
    """Held-out inputs, and their numbers among all of them."""

    inputs: npt.NDArray[Any]
    numbers: npt.NDArray[np.int64]


def _inputs(evidence: Evidence) -> _AtHand:
    """Held-out inputs that are at hand; raises an error that says why where there are none."""
    private = evidence.run.file(PRIVATE_DATA)
    if private.is_file():
        first = map_arrays(private, names=("test_inputs",))["test_inputs"][:_ROWS]
        return _AtHand(first, np.arange(len(first)))
    explained: npt.NDArray[Any] = evidence.heldout["inputs"]
    return _AtHand(explained, _chosen(evidence)[: len(explained)])


def _chosen(evidence: Evidence) -> npt.NDArray[np.int64]:
    """Numbers of the explained examples, as the scenario says them."""
    asked = from_plain(evidence.manifest.scenario).explanations
    return np.array(asked.chosen(evidence.manifest.data.test_examples), np.int64)


def _heldout_checks(evidence: Evidence, inputs: _AtHand | None) -> list[Check]:
    """Hold the explained inputs against the held-out ones, where those are at hand."""
    try:
        explained, chosen = evidence.heldout["inputs"], _chosen(evidence)
    except NOT_COMPUTABLE:
        return []  # told where they are needed
    if inputs is None or not len(explained):
        return []
    places = {int(number): place for place, number in enumerate(inputs.numbers)}
    there = [(row, places[int(number)]) for row, number in enumerate(chosen) if int(number) in places]
    rows, own = [row for row, _ in there], [place for _, place in there]
    if len(explained) == len(chosen) and np.array_equal(explained[rows], inputs.inputs[own], equal_nan=True):
        return []
    which = "first" if np.array_equal(chosen, np.arange(len(chosen))) else "chosen"
    return [_check(HELDOUT, "differs", f"its inputs are not the {which} held-out ones of {PRIVATE_DATA}")]


def _model_checks(
    evidence: Evidence, record: JobRecord, job: TrainJob, known: _AtHand | None, missing: str
) -> list[Check]:
    shapes = weight_shapes(job.model, job.input_shape)
    weights = read_weights(evidence.run.job_folder(record.id) / "weights.safetensors", expected=shapes)
    stated = evidence.run.arrays(f"jobs/{record.id}/predictions.npz")["test_logits"]
    if known is None or not len(known.inputs):
        why = missing or "the run explains nothing, and held-out inputs are not at hand"
        return [_check(record.id, "not recomputed", f"predictions from weights: {why}")]
    rows = _rows(job, len(known.numbers))
    if not rows:
        raise NotImplementedError("the network is too large to be computed again here")
    model = Model(architecture=job.model, input_shape=job.input_shape, weights=weights)
    outputs, numbers = oracle_logits(model, np.asarray(known.inputs[:rows], np.float32)), known.numbers[:rows]
    if len(stated) <= numbers.max() or len(evidence.heldout["test_labels"]) <= numbers.max():
        return [_check(record.id, "differs", f"predictions of {len(stated)} examples are not those of the run")]
    found = recorded(job.task, outputs, evidence.heldout["test_labels"][numbers])
    if stated.shape[1:] != found.shape[1:]:
        return [_check(record.id, "differs", f"predictions of shape {stated.shape} are not what its weights give")]
    gap = _gap(found, stated[numbers])
    if gap > SAME_LOGITS:
        return [_check(record.id, "differs", f"its weights do not give its predictions: logits differ by {gap:.2g}")]
    checks = [_check(record.id, "ok", f"its weights give the predictions of {rows} inputs")]
    if rows < len(stated):
        left = f"predictions from weights: {len(stated) - rows} of {len(stated)} inputs are not at hand, or too many"
        checks.append(_check(record.id, "not recomputed", left))
    return checks


def _rows(job: TrainJob, count: int) -> int:
    """How many inputs the oracle can be given in seconds; 0 where not even one, whatever a record states."""
    numbers = [number for number in _numbers(msgspec.to_builtins(job.model)) if number > _LARGEST_NUMBER]
    shapes = layer_shapes(job.model, job.input_shape)
    values = sum(math.prod(shape) for shape in [job.input_shape, *shapes])
    if numbers or values > _LARGEST_VALUES:
        return 0
    positions = sum(math.prod(shape[:-1]) for shape in shapes if len(shape) > 1)
    return min(count, _ROWS, max(2, min(_POSITIONS // max(1, positions), _VALUES // max(1, values))))


def _numbers(plain: Any) -> list[float]:
    if isinstance(plain, dict):
        return [number for value in plain.values() for number in _numbers(value)]
    if isinstance(plain, list | tuple):
        return [number for value in plain for number in _numbers(value)]
    return [plain] if isinstance(plain, int | float) else []


def _explained_checks(evidence: Evidence) -> list[Check]:
    """Hold what explain jobs saw of a model against its predictions of the same held-out inputs.

    So attributions that were exchanged between models show, without any data.
    """
    checks = []
    try:
        chosen = _chosen(evidence)
    except NOT_COMPUTABLE:
        return []  # told with the starting weights
    for record, job in evidence.explain_jobs:
        if record.status != "ok":
            continue
        try:
            seen = evidence.run.mapped(f"jobs/{record.id}/attributions.npz", names=("logits",))["logits"]
            stated = evidence.run.arrays(f"jobs/{job.subject}/predictions.npz")["test_logits"][chosen]
            if isinstance(job.task, NextToken):  # of the one step that is explained
                seen = recorded(job.task, seen, evidence.heldout["test_labels"][chosen][:, job.task.step])
                stated = stated[:, job.task.step]
                seen = seen[:, : stated.shape[1]]  # a record of before holds fewer numbers a step
            gap = _gap(seen, stated) if seen.shape == stated.shape else math.inf
        except NOT_COMPUTABLE as error:
            checks.append(_check(record.id, "differs", f"cannot be compared ({type(error).__name__}: {error})"))
            continue
        if gap > SAME_LOGITS:
            checks.append(_check(record.id, "differs", f"explains other predictions than those of {job.subject}"))
        else:
            checks.append(_check(record.id, "ok", f"explains the predictions of {job.subject}"))
    return checks


def _gap(found: npt.NDArray[Any], stated: npt.NDArray[Any]) -> float:
    """Largest difference over the largest logit that is not tiny; infinite where only one of two is finite."""
    first, second = found.astype(np.float64), stated.astype(np.float64)
    if not np.array_equal(np.isfinite(first), np.isfinite(second)):
        return math.inf
    finite = np.isfinite(first)
    if not finite.any():
        return 0.0
    return float(np.abs(first - second)[finite].max() / max(_SMALLEST_SCALE, float(np.abs(second[finite]).max())))


def _check(subject: str, outcome: Outcome, message: str) -> Check:
    return Check(area="predictions", subject=subject, outcome=outcome, message=message)
