"""Plain training: to its end, or until it is as accurate as another regime's model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trustml.backends.contract import Backend, Model, Trainer
from trustml.data.augmentation import augmented
from trustml.data.batches import BatchPlan
from trustml.data.dataset import Examples, Floats, Ints, LabelArray
from trustml.data.streams import Stream, public_generator
from trustml.models.answers import score
from trustml.models.tasks import facts_of
from trustml.plan.job import TrainJob, checkpoint_file, train_id
from trustml.record.checkpoint import Checkpoint, Checkpoints, read_checkpoint
from trustml.record.files import inside, read_arrays
from trustml.scenario.regimes import Plain
from trustml.worker.job_context import JobContext, Trained
from trustml.worker.predicting import predict_recorded
from trustml.worker.prepared import held_out_examples

_LOOKS_PER_EPOCH = 20


def train_plain(
    job: TrainJob,
    regime: Plain,
    backend: Backend,
    model: Model,
    examples: Examples,
    *,
    plan: BatchPlan,
    at: JobContext,
) -> Trained:
    """Train batch by batch, with checkpoints."""
    if regime.random_labels:
        order = public_generator(job.seed, Stream.LABELS).permutation(len(examples))
        examples = Examples(inputs=examples.inputs, labels=examples.labels[order])
    dropout_seed = int(public_generator(job.seed, Stream.DROPOUT).integers(2**31))
    trainer = backend.plain(model, regime, dropout_seed)
    path = inside(at.root, checkpoint_file(job))
    checkpoints = Checkpoints(path, seconds=job.execution.checkpoint_seconds)
    saved = read_checkpoint(path, like=model.weights)
    if saved is not None:
        trainer.restore(saved.weights, saved.state)
    goal = _Goal(job, regime, backend, model, at=at) if regime.stop_at else None
    look_every = max(1, len(plan) // max(1, regime.epochs) // _LOOKS_PER_EPOCH)
    begin = saved.step if saved is not None else 0
    at.plan_curve(steps=len(plan), rows=len(plan.indices), start=begin)
    at.look(begin, trainer.weights)
    for number in range(begin, len(plan)):
        batch = plan[number]
        rate = regime.optimizer.learning_rate * regime.schedule.factor(number, len(plan))
        with at.clock.step(examples=len(batch)):
            inputs, labels = _batch(examples, batch, regime, entropy=(job.seed, Stream.AUGMENTATION, number))
            trainer.step(inputs, labels, learning_rate=rate)
        at.progress.step(number + 1, len(plan))
        at.look(number + 1, trainer.weights)
        if goal is not None and number % look_every == 0 and goal.reached(trainer):
            note = f"stopped after step {number + 1} of {len(plan)}, at held-out {goal.measure} {goal.score:.4f}: "
            return Trained(weights=trainer.weights(), notes=(f"{note}{regime.stop_at} has {goal.wanted:.4f}",))
        if checkpoints.due:
            checkpoints.write(Checkpoint(step=number + 1, weights=trainer.weights(), state=trainer.state()))
    if goal is None:
        return Trained(weights=trainer.weights())
    missed = f"never reached {goal.wanted:.4f}, the held-out {goal.measure} of {regime.stop_at}"
    return Trained(weights=trainer.weights(), notes=(missed,))


def _batch(examples: Examples, rows: Ints, regime: Plain, *, entropy: Sequence[int]) -> tuple[Floats, LabelArray]:
    """Give the examples of a batch, or as many copies of each as the regime augments them to."""
    inputs, labels = examples.inputs[rows], examples.labels[rows]
    if regime.augmentation is None:
        return inputs, labels
    copies = augmented(inputs, rows, regime.augmentation, examples=len(examples), entropy=entropy)
    return copies.reshape(-1, *inputs.shape[1:]), labels[np.repeat(np.arange(len(rows)), copies.shape[1])]


class _Goal:
    """The held-out accuracy, or R2, of another regime's model, to be reached."""

    def __init__(self, job: TrainJob, regime: Plain, backend: Backend, model: Model, *, at: JobContext) -> None:
        self._held_out = held_out_examples(inside(at.root, job.data))
        other = train_id(job.backend, regime.stop_at, job.seed)
        logits = read_arrays(inside(at.root, f"jobs/{other}/predictions.npz"))["test_logits"]
        self._backend, self._model = backend, model
        self.measure = facts_of(job.task).score_words
        self.wanted = score(job.task, logits, self._held_out.labels)
        self.score = -math.inf

    def reached(self, trainer: Trainer) -> bool:
        """Whether the model in training is as good by now."""
        network = self._backend.network(replace(self._model, weights=trainer.weights()))
        held_out, task = self._held_out, self._model.task
        self.score = score(
            task, predict_recorded(network, held_out.inputs, held_out.labels, task=task), held_out.labels
        )
        return self.score >= self.wanted
