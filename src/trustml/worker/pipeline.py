"""What a worker does with a job, written once for every backend."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from trustml.backends.contract import Backend, Device, Model
from trustml.backends.table import load_backend
from trustml.errors import PrivacyError
from trustml.frameworks.entry import Missing, Supported
from trustml.models.shapes import weight_shapes
from trustml.models.weights import encode_weights, read_weights
from trustml.plan.attack_files import events_file
from trustml.plan.job import (
    CanaryJob,
    ExplainJob,
    GameJob,
    Job,
    ReconstructionJob,
    ShadowJob,
    TrainJob,
    timings_file,
)
from trustml.plan.support import training_support
from trustml.plan.switches import compiled_programs, reducing_variables, switches_in_force
from trustml.record.files import encode_arrays, inside, read_arrays, write_atomic
from trustml.record.provenance import package_versions
from trustml.record.schema import EngineRecord, MethodRecord, WorkerResult
from trustml.scenario.methods import RandomControl
from trustml.worker.clock import Clock
from trustml.worker.job_context import JobContext, Progress, Trained
from trustml.worker.learning_curve import LearningCurve
from trustml.worker.machine_load import MachineLoad, resident_bytes
from trustml.worker.predicting import extract, predict_recorded
from trustml.worker.prepared import read_prepared


def run_job(job: Job, folder: Path) -> WorkerResult:
    """Do the job and write its files into `folder`, which lies two below the run directory.

    Returns
    -------
    WorkerResult
        With status ``ok``; every other end is an exception.
    """
    root, compiled = folder.parent.parent, compiled_programs(job.backend)
    training = job.training if isinstance(job, CanaryJob) else job
    mechanism = training.mechanism if isinstance(training, TrainJob) else None
    progress = Progress(inside(root, events_file(job.id)), attempt=mechanism.attempt if mechanism else 0)
    progress.stage("importing")
    started = Clock(lambda: None)
    with started.stage("import"):
        backend = load_backend(job.backend)
        device = backend.open_device(job.execution.device, job.execution.threads)
    require_full_precision(job, device)
    before, load = resident_bytes("VmRSS"), MachineLoad()
    clock = Clock(device.synchronize)
    at = JobContext(root=root, folder=folder, clock=clock, progress=progress)
    trained: Trained | None = None
    methods: tuple[MethodRecord, ...] = ()
    notes: tuple[str, ...] = ()
    match job:  # each kind imports its own: what a job does not need costs every other one
        case TrainJob():
            library, trained = _train(job, backend, at=at)
            notes = trained.notes
        case ExplainJob():
            from trustml.worker.explaining import explain

            methods = explain(job, backend, at=at)
            library = ", ".join(dict.fromkeys(m.library for m in methods if m.method != RandomControl().title))
        case ShadowJob():
            from trustml.worker.shadows import train_shadows

            library = train_shadows(job, backend, at=at)
        case CanaryJob():
            from trustml.worker.canaries import CANARY_NOTES, train_with_canaries

            library, notes = train_with_canaries(job, backend, at=at), CANARY_NOTES
        case GameJob():
            from trustml.worker.games import play_game

            library = play_game(job, backend, at=at)
        case ReconstructionJob():
            from trustml.worker.reconstruction import reconstruct

            library = reconstruct(job, backend, at=at)
    return WorkerResult(
        status="ok",
        versions=package_versions(device.packages),
        device=device.describe(),
        switches={**switches_in_force(), **device.switches},
        library=library,
        seconds={**started.stages, **clock.stages},
        details={
            "largest_resident_bytes": float(resident_bytes("VmHWM")),
            "resident_before_work_bytes": float(before),
            **load.details(),
            "compiled_before": float(compiled),
            "compiled_anew": float(max(0, compiled_programs(job.backend) - compiled)),
        },
        notes=notes,
        engine=EngineRecord(**asdict(trained.choice)) if trained and trained.choice else None,
        methods=methods,
    )


def _train(job: TrainJob, backend: Backend, *, at: JobContext) -> tuple[str, Trained]:
    from trustml.worker.training import train

    support = training_support(job.backend, job.regime)
    if isinstance(support, Missing):
        raise NotImplementedError(support.reason)
    shapes = weight_shapes(job.model, job.input_shape)
    initial = read_weights(inside(at.root, job.initial_weights), expected=shapes)
    with at.clock.stage("data"):
        examples, held_out = read_prepared(inside(at.root, job.data), fingerprint=job.data_fingerprint)
    model = Model(architecture=job.model, input_shape=job.input_shape, weights=initial, task=job.task)
    at.progress.stage("training")
    curve = LearningCurve(backend, model, held_out, folder=at.folder)
    trained = train(job, backend, model, examples, at=replace(at, curve=curve))
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
        network = backend.network(replace(model, weights=weights))
        logits = predict_recorded(network, held_out.inputs, held_out.labels, task=job.task)
        if job.scores:
            scores = {"train_logits": predict_recorded(network, examples.inputs, examples.labels, task=job.task)}
            write_atomic(inside(at.root, job.scores), encode_arrays(scores), private=True)
        if job.extraction is not None:
            right = extract(network, examples, held_out, asked=job.extraction)
            write_atomic(inside(at.root, job.extracted), encode_arrays(right), private=True)
        if job.attributes is not None:
            from trustml.worker.attributes import attribute_fits, columns_of

            values = read_arrays(inside(at.root, job.attribute_values))
            fits = attribute_fits(
                network,
                examples,
                held_out,
                asked=job.attributes,
                columns=columns_of(values, job.attributes),
                known=values["known"],
                task=job.task,
            )
            write_atomic(inside(at.root, job.attributed), encode_arrays(fits), private=True)
    with at.clock.stage("evaluating"):
        curve.end(logits)
    write_atomic(at.folder / "predictions.npz", encode_arrays({"test_logits": logits}))
    return (support.library if isinstance(support, Supported) else ""), trained


def require_full_precision(job: Job, device: Device) -> None:
    """Refuse a private job under reduced precision; all other jobs may have it.

    Clipping bounds what one example can change only as exactly as its norm is computed, and epsilon is computed for
    that bound. Under ``torch.autocast`` with bfloat16, Opacus's clipped gradients were up to 0.7 % longer than the
    clipping norm (``tests/backends/torch/test_device.py``); in float32 they are not longer by 1e-6.

    Raises
    ------
    PrivacyError
        Naming each switch, its value and how to turn it off.
    """
    if not _is_private(job):
        return
    found = (*reducing_variables(), *device.reduced_precision())
    if found:
        raise PrivacyError(
            f"{job.id}: private training needs norms in full float32, or clipped gradients may be longer than the "
            f"clipping norm that epsilon assumes; {' · '.join(found)}"
        )


def _is_private(job: Job) -> bool:
    match job:
        case TrainJob():
            return job.mechanism is not None
        case CanaryJob() | GameJob():
            return True
        case _:
            return False
