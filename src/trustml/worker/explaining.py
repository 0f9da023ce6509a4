"""An explain job: every method on the same examples, timed apart; one that fails does not stop the others."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.attribution.passes import rows_of_pass
from trustml.attribution.sharing import feature_values
from trustml.backends.contract import Attributions, Backend, ExplainRequest, Model, Network
from trustml.catalogue.available import attributed_layer, library_of
from trustml.data.dataset import Floats, Ints
from trustml.data.streams import Stream, public_generator
from trustml.models.answers import explained_outputs
from trustml.models.outcome import explained_columns, with_outcome
from trustml.models.shapes import weight_shapes
from trustml.models.weights import read_weights
from trustml.plan.job import VARIANTS, ExplainJob
from trustml.record.array_names import array_name
from trustml.record.files import encode_arrays, inside, read_arrays, write_atomic
from trustml.record.mapped import write_arrays
from trustml.record.schema import MethodRecord
from trustml.scenario.methods import IntegratedGradients, Method, RandomControl, draws
from trustml.worker.adaptive_steps import explain_to_error
from trustml.worker.common_lane import common_lane, logit_changes
from trustml.worker.job_context import JobContext
from trustml.worker.predicting import InPieces, predict
from trustml.worker.probing import probe
from trustml.worker.token_space import at_the_step, by_token, in_token_space, tables_looked_up

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]

_SECOND_CALL_BELOW = 10.0
"""Seconds of the first call up to which a second one is made, to time it without compiling."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What one method gave.

    Attributes
    ----------
    attributions : Attributions
        With the common lane where there is one.
    request : ExplainRequest
        As it was asked last: a completeness error asked for has become a number of points.
    counts : dict
        For integrated gradients, ``passes_<variant>``, the forward and backward passes of each example, and
        ``tried``, the numbers of points that the library was asked for in search of the error. For methods that draw
        random numbers, ``again``, their attributions by other draws, where there was time for them.
    seconds, first : float
        Wall time of the library's last and first call; a search is all in the first.
    """

    attributions: Attributions
    request: ExplainRequest
    counts: Arrays = field(default_factory=dict)
    seconds: float = 0.0
    first: float = 0.0


def explain(job: ExplainJob, backend: Backend, *, at: JobContext) -> tuple[MethodRecord, ...]:
    """Explain the model by every method of the job and write ``attributions.npz`` and ``probes.npz``.

    Raises
    ------
    RuntimeError
        If every method failed.
    """
    weights = read_weights(inside(at.root, job.weights), expected=weight_shapes(job.model, job.input_shape))
    model = Model(architecture=job.model, input_shape=job.input_shape, weights=weights, task=job.task)
    examples = read_arrays(inside(at.root, job.examples))
    model, inputs, prepared = in_token_space(
        at_the_step(model), examples["inputs"].astype(np.float32), read_arrays(inside(at.root, job.baselines))
    )
    rows = rows_of_pass(model.architecture, model.input_shape, asked=job.execution.explanation_rows)
    plain = InPieces(backend.network(model), rows)
    logits = predict(plain, inputs)
    targets = explained_outputs(job.task, logits, examples["targets"], target=job.target)
    arrays: Arrays = {"logits": logits, "targets": targets}
    model, network = replace(model, architecture=with_outcome(model.architecture, model.task, job.quantity)), plain
    if job.quantity != "logit":
        network = InPieces(backend.network(model), rows)
        targets = explained_columns(job.task, job.quantity, logits, examples["targets"], job.target)
        arrays |= {"outcomes": predict(network, inputs), "columns": targets}
    requests: dict[str, ExplainRequest] = {}
    records = []
    for number, method in enumerate(job.methods):
        at.progress.stage(f"explaining: {method.title} ({number + 1} of {len(job.methods)})")
        request = _request(model, inputs, targets, method, prepared, rows=rows)
        try:
            done = _attributions(backend, network, request, at=at, twice=job.timing)
        except MemoryError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            records.append(_record(job, method, ok=False, reason=reason))
            continue
        found, seconds, first = done.attributions, done.seconds, done.first
        broken = [variant for variant, array in found.items() if not np.isfinite(array).all()]
        if broken:
            reason = f"{broken[0]} attributions are not finite"
            records.append(_record(job, method, ok=False, reason=reason, seconds=seconds, first=first))
            continue
        title = method.title
        arrays |= {array_name(title, variant): array for variant, array in found.items()}
        if hasattr(method, "baseline"):
            arrays[array_name(title, "baseline_logits")] = predict(network, request.baseline)
        arrays |= {array_name(title, f"total_{v}"): _totals(request, array) for v, array in found.items()}
        arrays |= {array_name(title, name): array for name, array in done.counts.items()}
        requests[title] = done.request
        records.append(_record(job, method, ok=True, seconds=seconds, first=first))
    if job.methods and not requests:
        raise RuntimeError(f"every method failed, the first with {records[0].reason}")
    write_arrays(at.folder / "attributions.npz", published(model, arrays, requests))
    with at.clock.stage("probes"):
        probes = probe(job, backend, (plain, network), requests, arrays, prepared, at=at)
    write_atomic(at.folder / "probes.npz", encode_arrays(probes))
    return tuple(records)


def published(model: Model, arrays: Arrays, requests: dict[str, ExplainRequest]) -> Arrays:
    """Arrays in the shape of the data: of tokens, not of their vectors."""
    if not tables_looked_up(model):
        return arrays
    found = dict(arrays)
    for title, request in requests.items():
        for variant in VARIANTS:
            name = array_name(title, variant)
            if name in found:
                found[name] = by_token(request.method, found[name])
    return found


def random_control(inputs: Floats, seed: int) -> Floats:
    """Standard normal numbers in the shape of the inputs."""
    return np.random.default_rng(seed).standard_normal(inputs.shape, dtype=np.float32)


def seed_of(method: Method) -> int:
    """Seed of what a method draws: another for every title, the same in every backend and run."""
    return int(public_generator(zlib.crc32(method.title.encode()), Stream.EXPLANATIONS).integers(2**31))


def _request(
    model: Model, inputs: Floats, targets: Ints, method: Method, prepared: Arrays, *, rows: int
) -> ExplainRequest:
    title = method.title
    shape = inputs.shape[1:]
    return ExplainRequest(
        model=model,
        inputs=inputs,
        targets=targets,
        method=method,
        baseline=prepared.get(array_name(title, "baseline"), np.zeros_like(inputs)).astype(np.float32),
        background=prepared.get(array_name(title, "background"), np.zeros((0, *shape))).astype(np.float32),
        features=prepared.get(array_name(title, "features"), prepared["features"]).astype(np.int64),
        layer=attributed_layer(method, model.architecture, model.input_shape),
        seed=seed_of(method),
        rows=rows,
    )


def _attributions(
    backend: Backend, network: Network, request: ExplainRequest, *, at: JobContext, twice: bool
) -> _Found:
    """Attributions with the common lane; the library is timed."""
    method = request.method
    if isinstance(method, RandomControl):
        native = random_control(request.inputs, request.seed)
        return _Found(attributions={"native": native}, request=request)
    to_error = isinstance(method, IntegratedGradients) and method.max_completeness_error > 0
    changes = logit_changes(network, request) if to_error else None
    tried: tuple[int, ...] = ()
    other = request
    with at.clock.timed() as timed:
        if isinstance(method, IntegratedGradients) and changes is not None:
            enough = explain_to_error(backend, request, method, changes)
            request, found, tried = enough.request, enough.attributions, enough.tried
        else:
            found = backend.explain(request)
    first = seconds = timed.seconds
    if twice and first < _SECOND_CALL_BELOW:
        # The second call of a method that draws is by other draws, which tells how far its numbers rest on them.
        other = replace(request, seed=request.seed + 1) if draws(method) else request
        with at.clock.timed() as timed:
            again = backend.explain(other)
        seconds = timed.seconds
    counts: Arrays = {} if other is request else {"again": again["native"]}
    if isinstance(method, IntegratedGradients):
        common, passes = common_lane(network, request, method, changes)
        spent = np.full(len(passes), sum(tried) or method.n_steps)
        counts = {f"passes_{variant}": spent for variant in found} | {"passes_common": passes}
        counts |= {"tried": np.array(tried, np.int64)}
        found = {**found, "common": common}
    return _Found(attributions=found, request=request, counts=counts, seconds=seconds, first=first)


def _totals(request: ExplainRequest, attributions: Floats) -> Floats:
    """Sum of each example's attributions, each feature counted once; shape (n,)."""
    if hasattr(request.method, "patch"):  # every value of a feature has the attribution of the whole
        whole = feature_values(attributions, features=request.features, combine="mean")
        return whole.sum(axis=1).astype(np.float32)
    return attributions.reshape(len(attributions), -1).sum(axis=1, dtype=np.float64).astype(np.float32)


def _record(
    job: ExplainJob, method: Method, *, ok: bool, reason: str = "", seconds: float = 0.0, first: float = 0.0
) -> MethodRecord:
    return MethodRecord(
        method=method.title,
        library=library_of(job.backend, method),
        ok=ok,
        reason=reason,
        seconds=seconds,
        first_seconds=first,
    )
