"""Plain training around a trainer that only looks: which images it is shown, and which after an interruption."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from trustml.data.batches import make_plan
from trustml.data.dataset import Examples
from trustml.models.layers import Architecture, Dense, Flatten
from trustml.plan.job import TrainJob, checkpoint_file
from trustml.record.checkpoint import Checkpoint, Checkpoints
from trustml.scenario.regimes import Augmentation, Plain
from trustml.scenario.spec import Execution
from trustml.worker.clock import Clock
from trustml.worker.job_context import JobContext, Progress
from trustml.worker.plain import train_plain

ROWS, STEPS, SIDE = 12, 6, 4
GENERATOR = np.random.default_rng(0)
EXAMPLES = Examples(inputs=GENERATOR.random((ROWS, SIDE, SIDE, 1), np.float32), labels=np.arange(ROWS))
PLAN = make_plan([GENERATOR.permutation(ROWS)[: 3 + step % 2] for step in range(STEPS)])
WEIGHTS = {"1.kernel": np.zeros((16, 2), np.float32), "1.bias": np.zeros(2, np.float32)}


class Looking:
    """Remembers the batches of a training."""

    def __init__(self):
        self.seen = []

    def step(self, inputs, labels, *, learning_rate):
        self.seen.append((inputs.copy(), labels.copy()))

    def weights(self):
        return WEIGHTS

    def state(self):
        return {}

    def restore(self, weights, state):
        pass


def trained(folder, augmentation, *, backend: str = "jax", seed: int = 0, done: int = 0):
    """Train in a folder of its own, or go on after so many steps, and give all batches."""
    job = TrainJob(
        id=f"train.{backend}", backend=backend, model=Architecture(layers=(Flatten(), Dense(units=2))),
        input_shape=(SIDE, SIDE, 1), execution=Execution(checkpoint_seconds=3600),
        regime=Plain(augmentation=augmentation), seed=seed, initial_weights="", data="", plan="", data_fingerprint="d",
    )  # fmt: skip
    looking = Looking()
    jobs = folder / "jobs" / job.id
    jobs.mkdir(parents=True, exist_ok=True)
    if done:
        path = folder / checkpoint_file(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        Checkpoints(path, seconds=0).write(Checkpoint(step=done, weights=WEIGHTS, state={}))
    at = JobContext(root=folder, folder=jobs, clock=Clock(lambda: None), progress=Progress(jobs / "events.jsonl"))
    made = SimpleNamespace(plain=lambda model, regime, dropout_seed: looking)
    train_plain(job, job.regime, made, SimpleNamespace(weights=WEIGHTS), EXAMPLES, plan=PLAN, at=at)
    return looking.seen


def alike(one, other) -> bool:
    pairs = zip((array for step in one for array in step), (array for step in other for array in step), strict=True)
    return all(np.array_equal(first, second) for first, second in pairs)


def test_without_augmentation_batches_are_those_of_the_plan(tmp_path):
    for (inputs, labels), batch in zip(trained(tmp_path, None), PLAN, strict=True):
        np.testing.assert_array_equal(inputs, EXAMPLES.inputs[batch])
        np.testing.assert_array_equal(labels, batch)


@pytest.mark.parametrize("copies", [1, 3])
def test_each_step_sees_copies_of_its_own_with_their_labels(tmp_path, copies):
    seen = trained(tmp_path, Augmentation(multiplicity=copies, flip=True))
    moved = 0
    for (inputs, labels), batch in zip(seen, PLAN, strict=True):
        assert inputs.shape == (copies * len(batch), SIDE, SIDE, 1)
        np.testing.assert_array_equal(labels, np.repeat(batch, copies))
        moved += (inputs != EXAMPLES.inputs[labels]).any(axis=(1, 2, 3)).sum()
        if copies > 1:
            np.testing.assert_array_equal(inputs[::copies], EXAMPLES.inputs[batch])
    assert moved > len(PLAN.indices) / 2
    row = PLAN[0][0]
    views = [inputs[labels == row].tobytes() for inputs, labels in seen if row in labels]
    assert len(views) == len(set(views)) > 1, "an image looks otherwise each time"


def test_every_backend_sees_the_same_images_and_another_seed_others(tmp_path):
    augmentation = Augmentation(multiplicity=2, flip=True)
    first = trained(tmp_path, augmentation)
    assert alike(first, trained(tmp_path, augmentation, backend="torch"))
    assert not alike(first, trained(tmp_path / "other", augmentation, seed=1))


def test_a_resume_sees_what_an_uninterrupted_training_sees(tmp_path):
    augmentation = Augmentation(multiplicity=1, flip=True)
    whole = trained(tmp_path / "whole", augmentation)
    assert alike(whole[4:], trained(tmp_path / "rest", augmentation, done=4))
