"""Training with canaries, and how well each shows.

The canary model is one more private training on the same data, under the mechanism of the attacked model and with a
ledger of its own. It is never released: its weights are looked at here and thrown away, and the coins, the scores
and what happened by round stay private. Held-out examples that serve as canaries are trained on by this model alone;
for the attacked models they remain held out.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from trustml.attacks.canaries import DiracDirections, Directions, Doubles, SignDirections
from trustml.backends.contract import Backend, Federation, Model, PrivateTrainer
from trustml.backends.settings import FederatedSettings, PrivateSettings
from trustml.conformance.subject import flat
from trustml.data.batches import BatchPlan
from trustml.data.dataset import Examples, Floats, Ints, LabelArray
from trustml.frameworks.entry import Supported
from trustml.models.answers import recorded_losses
from trustml.models.shapes import weight_shapes
from trustml.models.weights import Weights, read_weights
from trustml.plan.job import CanaryJob, TrainJob, checkpoint_file, trainable_of
from trustml.plan.support import training_support
from trustml.record.files import encode_arrays, inside, read_arrays, write_atomic
from trustml.scenario.optimizers import SGD
from trustml.scenario.trained_part import trained_shapes
from trustml.worker.canary_insertion import CanaryFederation, CanaryTrainer, strength_of
from trustml.worker.fine_tuning import fine_tuning
from trustml.worker.job_context import JobContext
from trustml.worker.learning_curve import HISTORY
from trustml.worker.predicting import predict_recorded
from trustml.worker.prepared import labels_of, read_prepared
from trustml.worker.private import entropy_words
from trustml.worker.training import train

CANARY_NOTES = (
    "a private training of its own on the same data, whose model was not kept: an audit spends privacy too, "
    "but releases nothing save its figures",
)


def train_with_canaries(job: CanaryJob, backend: Backend, *, at: JobContext) -> str:
    """Train with the canaries whose coin came up, score all of them, and write both to ``job.output``.

    Scores are larger where a canary seems to have been in the training. Gradients as canaries have the
    log-likelihood ratio of all noisy gradients; examples, by how much their loss fell from the starting to the final
    weights; updates as canaries, the cosine with which the final model moved along them.

    Parameters
    ----------
    job : CanaryJob
    backend : Backend
    at : JobContext
        Its folder gets the ledger.

    Returns
    -------
    str
        Library that trained.

    Raises
    ------
    RecordError
        If the data are not those the run was planned on.
    FloatingPointError
        If the training diverged.
    """
    training = replace(job.training, id=job.id)  # files of its own, nothing of the attacked model's
    examples, _ = read_prepared(inside(at.root, training.data), fingerprint=training.data_fingerprint)
    chosen = read_arrays(inside(at.root, job.chosen))
    plan = read_arrays(inside(at.root, training.plan))
    included = chosen["included"].astype(bool)
    initial = read_weights(
        inside(at.root, training.initial_weights), expected=weight_shapes(job.model, job.input_shape)
    )
    model = Model(architecture=job.model, input_shape=job.input_shape, weights=initial, task=job.task)
    joins = BatchPlan(indices=plan["joins"].astype(np.int64), offsets=plan["join_offsets"].astype(np.int64))
    size = sum(map(math.prod, trained_shapes(trainable_of(training), job.model, job.input_shape).values()))
    joined = _times_joined(plan, joins, rows=len(examples), count=len(included))
    told: dict[str, npt.NDArray[Any]] = {"joined": joined}
    at.progress.stage("training")
    match job.canaries.kind:
        case "dirac gradient" | "random gradient":
            scores = _gradients(training, backend, model, examples, _directions(chosen, size), joins, at=at)
        case "random update":
            scores = _updates(training, backend, model, examples, _directions(chosen, size), joins, at=at)
        case _:
            scores, losses = _examples(training, backend, model, examples, chosen, at=at)
            told |= losses
    if not np.isfinite(scores).all():
        raise FloatingPointError("training diverged: scores are not finite; lower the learning rate")
    write_atomic(
        inside(at.root, job.output),
        encode_arrays({"included": included, "scores": scores.astype(np.float64), **told}),
        private=True,
    )
    inside(at.root, checkpoint_file(training)).unlink(missing_ok=True)
    (at.folder / HISTORY).unlink(missing_ok=True)
    support = training_support(job.backend, training.regime)
    return support.library if isinstance(support, Supported) else ""


def _gradients(
    job: TrainJob,
    backend: Backend,
    model: Model,
    examples: Examples,
    directions: Directions,
    joins: BatchPlan,
    *,
    at: JobContext,
) -> Doubles:
    mechanism = job.mechanism
    assert mechanism is not None
    watched: list[CanaryTrainer] = []

    def private(model: Model, settings: PrivateSettings, dropout_seed: int) -> PrivateTrainer:
        trainer = CanaryTrainer(
            backend.private(model, settings, dropout_seed),
            directions=directions,
            joins=joins,
            mechanism=mechanism,
            rate=mechanism.sample_rate,
            strength=strength_of(directions, model.trained, per_layer=settings.per_layer),
        )
        watched.append(trainer)
        return trainer

    train(job, dataclasses.replace(backend, private=private), model, examples, at=at)
    return watched[0].evidence


def _updates(
    job: TrainJob,
    backend: Backend,
    model: Model,
    examples: Examples,
    directions: Directions,
    joins: BatchPlan,
    *,
    at: JobContext,
) -> Doubles:
    def federated(model: Model, settings: FederatedSettings) -> Federation:
        return CanaryFederation(backend.federated(model, settings), directions=directions, joins=joins)

    trained = train(job, dataclasses.replace(backend, federated=federated), model, examples, at=at)
    moved = flat(trained.weights) - flat(model.weights)
    return directions.project(moved) / max(float(np.linalg.norm(moved)), 1e-30)


def _examples(
    job: TrainJob,
    backend: Backend,
    model: Model,
    examples: Examples,
    chosen: dict[str, npt.NDArray[Any]],
    *,
    at: JobContext,
) -> tuple[Doubles, dict[str, Doubles]]:
    """Give how far the loss of each canary fell, its gradient and, where there are others, the losses of all."""
    inputs, labels = chosen["inputs"].astype(np.float32), labels_of(chosen["labels"])
    both = Examples(inputs=np.concatenate([examples.inputs, inputs]), labels=np.concatenate([examples.labels, labels]))
    trained = train(job, backend, model, both, at=at)
    lengths = gradient_lengths(job, backend, model, Examples(inputs=inputs, labels=labels), at=at)

    def losses(weights: Weights, inputs: Floats, labels: LabelArray) -> Doubles:
        network = backend.network(dataclasses.replace(model, weights=weights))
        return recorded_losses(job.task, predict_recorded(network, inputs, labels, task=job.task), labels)

    after = losses(trained.weights, inputs, labels)
    fallen = losses(model.weights, inputs, labels) - after
    if "reference_inputs" not in chosen:
        return fallen, {"gradients": lengths}
    others = chosen["reference_inputs"].astype(np.float32), labels_of(chosen["reference_labels"])
    return fallen, {
        "gradients": lengths, "losses": after, "reference_losses": losses(trained.weights, *others)
    }  # fmt: skip


def gradient_lengths(job: TrainJob, backend: Backend, model: Model, canaries: Examples, *, at: JobContext) -> Doubles:
    """Length of each canary's clipped gradient by what the job trains, alone in a step at the starting weights.

    One of length 0 never received loss, however often it came: its labels are masked, what it reaches is frozen, or
    its numbers are not finite.
    """
    if trainable_of(job):
        part = fine_tuning(job, backend, model, canaries, at=at, whole=True)
        model, canaries = part.model, part.examples
    settings = PrivateSettings(optimizer=SGD(), expected_batch_size=1, noise_seed=entropy_words())
    trainer = backend.private(model, settings, 0)
    norm = 1.0 if job.mechanism is None else job.mechanism.clipping_norm
    found = np.zeros(len(canaries))
    for row in range(len(canaries)):
        inputs, labels = canaries.inputs[row : row + 1, None], canaries.labels[row : row + 1]
        trainer.accumulate(inputs, labels, clipping_norm=norm)
        found[row] = np.linalg.norm(flat(trainer.clipped_sum()))
        trainer.update(clipping_norm=norm, noise_multiplier=0.0, learning_rate=0.0)  # begins anew, where it was
    return found


def _times_joined(plan: dict[str, npt.NDArray[Any]], joins: BatchPlan, *, rows: int, count: int) -> Ints:
    """Count the batches that each canary was planned for: as an example behind `rows` others, or by itself."""
    examples = plan["indices"].astype(np.int64) if "indices" in plan else np.zeros(0, np.int64)
    numbers = np.concatenate([joins.indices, examples[examples >= rows] - rows])
    return np.bincount(numbers, minlength=count).astype(np.int64)


def _directions(chosen: dict[str, npt.NDArray[Any]], size: int) -> Directions:
    if "coordinates" in chosen:
        return DiracDirections(chosen["coordinates"].astype(np.int64), size)
    seed = tuple(int(word) for word in chosen["seed"])
    return SignDirections(seed, count=len(chosen["included"]), size=size)
