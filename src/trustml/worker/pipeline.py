"""What a worker does with a job, written once for every backend."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from trustml.backends.contract import Backend, ExplainRequest, Model
from trustml.backends.table import load_backend
from trustml.data.dataset import Examples, Floats, fingerprint_of
from trustml.errors import PrivacyError
from trustml.models.shapes import weight_shapes
from trustml.models.weights import Weights, encode_weights, read_weights
from trustml.plan.job import ExplainJob, Job, TrainJob, checkpoint_file, timings_file
from trustml.plan.support import Missing, Supported, explainer_library, training_support
from trustml.plan.switches import switches_in_force
from trustml.record.files import encode_arrays, inside, read_arrays, write_atomic
from trustml.record.provenance import package_versions
from trustml.record.schema import EngineRecord, WorkerResult
from trustml.worker.clock import Clock
from trustml.worker.common_lane import integrated_gradients
from trustml.worker.events import Progress
from trustml.worker.training import train
from trustml.worker.workplace import Trained, Workplace

_LOGITS_AT_ONCE = 1024


def run_job(job: Job, folder: Path) -> WorkerResult:
    """Do the job and write its files into `folder`, which lies two below the run directory.

    Returns
    -------
    WorkerResult
        With status ``ok``; every other end is an exception.
    """
    root = folder.parent.parent
    progress = Progress(folder / "events.jsonl")
    progress.stage("importing")
    started = Clock(lambda: None)
    with started.stage("import"):
        backend = load_backend(job.backend)
        device = backend.open_device(job.execution.device, job.execution.threads)
    clock = Clock(device.synchronize)
    at = Workplace(root=root, folder=folder, clock=clock, progress=progress)
    trained: Trained | None = None
    match job:
        case TrainJob():
            library, trained = _train(job, backend, at=at)
        case ExplainJob():
            library = _explain(job, backend, at=at)
    return WorkerResult(
        status="ok",
        versions=package_versions(device.packages),
        device=device.describe(),
        switches={**switches_in_force(), **device.switches},
        library=library,
        seconds={**started.stages, **clock.stages},
        details={"largest_resident_bytes": float(_largest_resident())},
        notes=trained.notes if trained else (),
        engine=EngineRecord(**asdict(trained.choice)) if trained and trained.choice else None,
    )


def _train(job: TrainJob, backend: Backend, *, at: Workplace) -> tuple[str, Trained]:
    support = training_support(job.backend, job.regime)
    if isinstance(support, Missing):
        raise NotImplementedError(support.reason)
    shapes = weight_shapes(job.model, job.input_shape)
    initial = read_weights(inside(at.root, job.initial_weights), expected=shapes)
    arrays = read_arrays(inside(at.root, job.data))
    if job.mechanism is not None and fingerprint_of(arrays) != job.data_fingerprint:
        raise PrivacyError(
            f"{job.data}: is not the data this run was planned on; a private model of other data is another run"
        )
    examples = Examples(
        inputs=arrays["train_inputs"].astype(np.float32), labels=arrays["train_labels"].astype(np.int64)
    )
    model = Model(architecture=job.model, input_shape=job.input_shape, weights=initial)
    at.progress.stage("training")
    trained = train(job, backend, model, examples, at=at)
    weights = trained.weights
    broken = [name for name, array in weights.items() if not np.isfinite(array).all()]
    if broken:
        raise FloatingPointError(f"training diverged: weight {broken[0]} is not finite; lower the learning rate")
    write_atomic(at.folder / "weights.safetensors", encode_weights(weights))
    # The sizes of Poisson batches, and times that follow them, depend on who was drawn: they stay private.
    private = job.mechanism is not None
    write_atomic(inside(at.root, timings_file(job)), encode_arrays(at.clock.arrays()), private=private)
    at.progress.stage("predicting")
    with at.clock.stage("predict"):
        logits = _logits(backend, job, weights, arrays["test_inputs"].astype(np.float32))
    write_atomic(at.folder / "predictions.npz", encode_arrays({"test_logits": logits}))
    inside(at.root, checkpoint_file(job)).unlink(missing_ok=True)
    return (support.library if isinstance(support, Supported) else ""), trained


def _logits(backend: Backend, job: Job, weights: Weights, inputs: Floats) -> Floats:
    network = backend.network(Model(architecture=job.model, input_shape=job.input_shape, weights=weights))
    parts = [
        network.logits(inputs[start : start + _LOGITS_AT_ONCE]) for start in range(0, len(inputs), _LOGITS_AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.float32)


def _explain(job: ExplainJob, backend: Backend, *, at: Workplace) -> str:
    weights = read_weights(inside(at.root, job.weights), expected=weight_shapes(job.model, job.input_shape))
    model = Model(architecture=job.model, input_shape=job.input_shape, weights=weights)
    examples = read_arrays(inside(at.root, job.examples))
    inputs, targets = examples["inputs"].astype(np.float32), examples["targets"].astype(np.int64)
    at.progress.stage("explaining")
    request = ExplainRequest(model=model, inputs=inputs, targets=targets, method=job.method)
    with at.clock.stage("explain_first"):
        found = backend.explain(request)
    with at.clock.stage("explain"):
        found = backend.explain(request)
    at.progress.stage("common lane")
    network = backend.network(model)
    with at.clock.stage("common_lane"):
        found = {**found, "common": integrated_gradients(network, inputs, targets, job.method)}
    baseline = np.full_like(inputs, job.method.baseline)
    arrays = {f"attributions_{variant}": array for variant, array in found.items()}
    arrays["logits"] = network.logits(inputs)
    arrays["baseline_logits"] = network.logits(baseline)
    write_atomic(at.folder / "attributions.npz", encode_arrays(arrays))
    return explainer_library(job.backend, job.method)


def _largest_resident() -> int:
    """High-water mark of this process in bytes; 0 where the system does not tell.

    Not ``ru_maxrss``: Linux carries that over from the parent through fork and exec.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
