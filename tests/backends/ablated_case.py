"""What the steps of an ablation must come to in every framework: computed by plain steps and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trustml.backends.contract import Backend, Model
from trustml.backends.settings import PrivateSettings
from trustml.data.batches import make_plan
from trustml.data.dataset import Examples
from trustml.models.weights import Weights, initial_weights
from trustml.models.zoo import mlp
from trustml.plan.job import AblatedSteps, TrainJob
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import DPSGD, Ablation, Plain
from trustml.scenario.spec import Execution
from trustml.worker.ablated import train_ablated
from trustml.worker.clock import Clock
from trustml.worker.job_context import JobContext, Progress

SIZE, STEPS, NORM, NOISE = 8, 6, 0.05, 3.0
OPTIMIZER = SGD(learning_rate=0.4, momentum=0.5)
REGIME = DPSGD(noise_multiplier=NOISE, clipping_norm=NORM, batch_size=SIZE, steps=STEPS, optimizer=OPTIMIZER)


def drawn() -> tuple[Model, Examples]:
    generator = np.random.default_rng(5)
    architecture = mlp([5], classes=3)
    model = Model(
        architecture=architecture, input_shape=(4,), weights=initial_weights(architecture, (4,), generator=generator)
    )
    inputs = generator.normal(size=(40, 4)).astype(np.float32)
    return model, Examples(inputs=inputs, labels=generator.integers(0, 3, 40))


def batches() -> list[np.ndarray]:
    return [np.random.default_rng(step).permutation(40)[:SIZE] for step in range(STEPS)]


def ablated(backend: Backend, keeps: str, folder: Path, *, noise: float = 0.0, seed: int = 0) -> Weights:
    """Weights after all steps of an ablation."""
    model, examples = drawn()
    ablation = Ablation(of="DPSGD", keeps=keeps)  # type: ignore[arg-type]
    steps = AblatedSteps(regime=REGIME, noise_multiplier=noise)
    job = TrainJob(
        id="train", backend="x", model=model.architecture, input_shape=(4,), execution=Execution(threads=1),
        regime=Plain(ablation=ablation), seed=seed, initial_weights="", data="", plan="", data_fingerprint="d",
        ablated=steps,
    )  # fmt: skip
    at = JobContext(root=folder, folder=folder, clock=Clock(lambda: None), progress=Progress(folder / "events"))
    plan = make_plan(batches())
    return train_ablated(job, ablation, steps, backend, model, examples, plan=plan, at=at).weights


def plain(backend: Backend) -> Weights:
    """Weights after plain steps on the same batches, each of the declared size."""
    model, examples = drawn()
    trainer = backend.plain(model, Plain(batch_size=SIZE, optimizer=OPTIMIZER), 0)
    for batch in batches():
        trainer.step(examples.inputs[batch], examples.labels[batch], learning_rate=OPTIMIZER.learning_rate)
    return trainer.weights()


def one_by_one(backend: Backend) -> Weights:
    """Weights after steps on sums of gradients that were clipped by hand, each taken from a plain step of its own."""
    model, examples = drawn()
    weights, velocity = dict(model.weights), {name: np.zeros_like(part) for name, part in model.weights.items()}
    trainer = backend.plain(model, Plain(batch_size=1, optimizer=SGD(learning_rate=1.0)), 0)  # compiled once
    for batch in batches():
        total = {name: np.zeros(part.shape, np.float64) for name, part in weights.items()}
        for row in batch:
            trainer.restore(weights, {})
            trainer.step(examples.inputs[row : row + 1], examples.labels[row : row + 1], learning_rate=1.0)
            gradient = {name: weights[name].astype(np.float64) - part for name, part in trainer.weights().items()}
            norm = np.sqrt(sum((part**2).sum() for part in gradient.values()))
            for name, part in gradient.items():
                total[name] += part * min(1.0, NORM / norm)
        for name, part in total.items():
            velocity[name] = 0.5 * velocity[name] + part / SIZE
            weights[name] = (weights[name] - OPTIMIZER.learning_rate * velocity[name]).astype(np.float32)
    return weights


def first_noise(backend: Backend, *, clipping_norm: float) -> Weights:
    """Noise on the mean gradient of one step whose examples are clipped to a norm."""
    model, examples = drawn()
    settings = PrivateSettings(optimizer=OPTIMIZER, expected_batch_size=SIZE, noise_seed=(1, 2, 3, 4))
    trainer = backend.private(model, settings, 0)
    trainer.accumulate(examples.inputs[:SIZE, None], examples.labels[:SIZE], clipping_norm=clipping_norm)
    quiet = trainer.clipped_sum()
    trainer.update(clipping_norm=NORM, noise_multiplier=NOISE, learning_rate=0.1)
    return {name: part - quiet[name] / SIZE for name, part in trainer.gradient().items()}


def gap(first: Weights, second: Weights) -> float:
    """Largest difference over the largest change from the start."""
    start = drawn()[0].weights
    moved = max(np.abs(second[name] - start[name]).max() for name in start)
    return float(max(np.abs(first[name] - second[name]).max() for name in start) / moved)


def findings(backend: Backend, folder: Path) -> dict[str, float]:
    """Gaps that must be nothing but rounding, and distances that must not be."""
    from trustml.worker.ablated import NEVER_BINDS

    schedule, clipped = ablated(backend, "schedule", folder), ablated(backend, "clipping", folder)
    noisy, again, other = (ablated(backend, "noise", folder, noise=NOISE, seed=seed) for seed in (0, 0, 1))
    bound, free = (first_noise(backend, clipping_norm=norm) for norm in (NORM, NEVER_BINDS))
    size = NOISE * NORM / SIZE
    return {
        "schedule against plain": gap(schedule, plain(backend)),
        "clipped against by hand": gap(clipped, one_by_one(backend)),
        "clipped against schedule": gap(clipped, schedule),
        "noise again": gap(again, noisy),
        "noise of another seed": gap(other, noisy),
        "noise against none": gap(noisy, schedule),
        "size of the noise": max(float(np.abs(free[name] - bound[name]).max()) / size for name in free),
    }


def check(found: dict[str, float]) -> None:
    """Hold what a backend found; 1e-4 of a training's way is float32 over a few steps."""
    same = ("schedule against plain", "clipped against by hand", "noise again", "size of the noise")
    assert all(found[name] < 1e-4 for name in same), found
    assert all(value > 0.05 for name, value in found.items() if name not in same), found
