"""Our own backends under the suite: steps and rounds as black boxes, and short trainings through the worker's loops.

``python -m trustml.worker.conformance BACKEND FOLDER`` writes ``findings.json`` and ``sums.npz`` into FOLDER.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
from msgspec.structs import replace

from trustml.backends.contract import Backend, Model, PrivateTrainer
from trustml.backends.settings import PrivateSettings
from trustml.backends.table import load_backend
from trustml.conformance.correlated_noise import check_correlated
from trustml.conformance.findings import CheckResult
from trustml.conformance.step import check_step
from trustml.conformance.subject import Step, StepSettings, flat
from trustml.conformance.training import ExecutedStep, TrainingRecord, check_training
from trustml.data.batches import BatchPlan, cyclic_poisson_batches, poisson_batches
from trustml.data.dataset import Examples, Floats, Ints, LabelArray
from trustml.data.streams import Stream, public_generator, secret_generator
from trustml.frameworks.entry import Supported
from trustml.frameworks.table import backend_names, entry_of, is_known
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, GroupNorm, MaxPool, ReLU
from trustml.models.weights import Weights, initial_weights
from trustml.models.zoo import mlp
from trustml.plan.job import TrainJob
from trustml.plan.mechanism import plan_mechanism
from trustml.privacy.ledger import NoiseKind, read_ledger
from trustml.privacy.noise_strategy import noise_strategy
from trustml.record.files import encode_arrays, write_atomic
from trustml.scenario.federated import BandedMatrix
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import DPSGD
from trustml.scenario.spec import BackendName, Execution, GradSampleMode
from trustml.worker.clock import Clock
from trustml.worker.federated_conformance import MECHANISMS, check_federations, supported_noise
from trustml.worker.forwarding import TracingTrainer
from trustml.worker.job_context import JobContext, Progress
from trustml.worker.private import PrivateTraining, accumulate_finite, entropy_words
from trustml.worker.user_conformance import check_users

AWKWARD_SIZES = (99, 210, 234)
"""Numbers of batches for which Opacus's own sampler loses a step to rounding."""
_EXAMPLES = 48
_BATCH = 16
_PIECE = 4  # examples of a batch of a short training
_STEPS, _SEPARATION, _NOISE = 20, 5, 50.0
"""Of a training with correlated noise; so much that gradients of float32 tell the noise well."""

MODELS: dict[str, tuple[Architecture, tuple[int, ...]]] = {
    "cnn": (
        Architecture(
            layers=(
                Conv2D(filters=6, padding=((1, 1), (1, 1))),
                GroupNorm(groups=2),
                ReLU(),
                Conv2D(filters=8, kernel=(3, 2), stride=(2, 1)),
                ReLU(),
                MaxPool(size=(2, 2), stride=(1, 1)),
                Flatten(),
                Dense(units=24),
                ReLU(),
                Dense(units=10),
            )
        ),
        (8, 8, 1),
    ),
    "mlp": (mlp([40, 24], classes=10), (64,)),
}
VARIANTS = {"cnn": ("cnn", False), "mlp": ("mlp", False), "mlp per layer": ("mlp", True)}


def example_data(model: str) -> tuple[Floats, Ints]:
    """Synthetic examples, the same in every environment."""
    generator = public_generator(11, Stream.SPLIT)
    inputs = generator.normal(0, 1, (_EXAMPLES, *MODELS[model][1])).astype(np.float32)
    return inputs, generator.integers(0, 10, _EXAMPLES)


def _examples(model: str) -> Examples:
    inputs, labels = example_data(model)
    return Examples(inputs=inputs, labels=labels)


def example_model(model: str) -> Model:
    """Give a model with its starting weights, the same in every environment."""
    architecture, shape = MODELS[model]
    weights = initial_weights(architecture, shape, generator=public_generator(7, Stream.WEIGHTS))
    return Model(architecture=architecture, input_shape=shape, weights=weights)


def check_backend(name: BackendName, backend: Backend) -> tuple[list[CheckResult], dict[str, Weights]]:
    """Put one backend through the whole suite.

    Returns
    -------
    findings : list of CheckResult
    sums : dict of str to weights
        Clipped sum of the same batch from the same weights, and weights after un-noised steps on the same
        batches, to be compared between backends.
    """
    findings: list[CheckResult] = []
    sums: dict[str, Weights] = {}
    for variant, (model, per_layer) in VARIANTS.items():
        inputs, labels = example_data(model)
        factory = _factory(backend, model, per_layer=per_layer)
        subject = f"{name}, {variant}"
        findings += [replace(finding, subject=subject) for finding in check_step(factory, inputs, labels)]
        trainer = _trainer(backend, model, StepSettings(), per_layer=per_layer)
        trainer.accumulate(inputs[:, None], labels, clipping_norm=1.0)
        sums[f"clipped sum, {variant}"] = trainer.clipped_sum()
    for kind in supported_noise(name):
        findings += [replace(found, subject=f"{name}, {kind}") for found in check_steps(backend, kind)]
    if isinstance(entry_of(name).regimes.users, Supported):
        found, sums["clipped sum of users"] = check_users(
            lambda settings: backend.private(example_model("mlp"), settings, 0), _examples("mlp")
        )
        findings += [replace(one, subject=f"{name}, users") for one in found]
    sums["weights after 20 steps without noise"] = _twenty_steps(backend)
    if isinstance(entry_of(name).regimes.federated, Supported):
        findings += check_federations(name, backend)
    for batches in AWKWARD_SIZES:
        subject = f"{name}, {batches} batches an epoch"
        regime, plan = _one_epoch(batches)
        findings += [replace(found, subject=subject) for found in check_training(_train(name, backend, regime, plan))]
    if "banded matrix factorisation" in supported_noise(name):
        cyclic = check_training(_train(name, backend, *_cyclic_epochs()))
        findings += [replace(found, subject=f"{name}, banded, cyclic Poisson batches") for found in cyclic]
    return findings, sums


def _factory(backend: Backend, model: str, *, per_layer: bool) -> Callable[[StepSettings], Step]:
    return step_factory(lambda settings, mode: _trainer(backend, model, settings, per_layer=per_layer, mode=mode))


def step_factory(
    make_trainer: Callable[[StepSettings, GradSampleMode], PrivateTrainer],
    labels_of: Callable[[Ints], LabelArray] = lambda labels: labels,
) -> Callable[[StepSettings], Step]:
    """Make steps, each of a new trainer, that go through it as the worker does.

    `labels_of` gives numbers of classes the form of the labels that the trainer takes.
    """
    mode: GradSampleMode = "auto"

    def make(settings: StepSettings) -> Step:
        nonlocal mode
        trainer = make_trainer(settings, mode)
        mode = chosen_mode(trainer)  # measured once

        def step(inputs: Floats, labels: Ints, micro_batch_size: int) -> Weights:
            # As the worker does it: examples whose inputs are not finite are left out first.
            usable = np.isfinite(inputs.reshape(len(inputs), -1)).all(axis=1) if len(inputs) else np.zeros(0, bool)
            inputs, given = inputs[usable][:, None], labels_of(labels[usable])
            size = micro_batch_size or max(1, len(given))
            for start in range(0, len(given), size):
                part = slice(start, start + size)
                accumulate_finite(trainer, inputs[part], given[part], clipping_norm=settings.clipping_norm)
            trainer.update(
                clipping_norm=settings.clipping_norm,
                noise_multiplier=settings.noise_multiplier,
                learning_rate=0.0,  # so that every call starts from the same weights
            )
            return trainer.gradient()

        return step

    return make


def chosen_mode(trainer: PrivateTrainer) -> GradSampleMode:
    """Opacus's mode that a trainer chose; ``auto`` for other libraries."""
    return next((mode for mode in get_args(GradSampleMode) if mode == trainer.choice.name), "auto")


def _trainer(
    backend: Backend, model: str, settings: StepSettings, *, per_layer: bool, mode: GradSampleMode = "auto"
) -> PrivateTrainer:
    private = PrivateSettings(
        optimizer=SGD(),
        per_layer=per_layer,
        expected_batch_size=settings.expected_batch_size,
        noise_seed=(settings.seed, 2, 3, 4),
        grad_sample_mode=mode,
    )
    return backend.private(example_model(model), private, 0)


def check_steps(backend: Backend, kind: NoiseKind) -> list[CheckResult]:
    """Check correlated noise of the steps of one training, with examples in some of them."""
    strategy = noise_strategy(MECHANISMS[kind], steps=_STEPS, separation=_SEPARATION)
    private = PrivateSettings(
        optimizer=SGD(),
        expected_batch_size=_BATCH,
        noise_seed=entropy_words(),
        noise=strategy,
        grad_sample_mode="book_keeping",
    )
    trainer = backend.private(example_model("mlp"), private, 0)
    inputs, labels = example_data("mlp")
    rows = []
    for step in range(_STEPS):
        if step % _SEPARATION == 0:
            trainer.accumulate(inputs[:3, None], labels[:3], clipping_norm=1.0)
        quiet = flat(trainer.clipped_sum())
        trainer.update(clipping_norm=1.0, noise_multiplier=_NOISE, learning_rate=0.0)
        rows.append((flat(trainer.gradient()) * _BATCH - quiet) / _NOISE)
    noise = np.stack(rows)
    found, _ = check_correlated(noise, kind, separation=_SEPARATION, every_node=False)
    return found


def _twenty_steps(backend: Backend) -> Weights:
    settings = PrivateSettings(optimizer=SGD(momentum=0.5), expected_batch_size=_BATCH, noise_seed=(1, 2, 3, 4))
    trainer = backend.private(example_model("cnn"), settings, 0)
    inputs, labels = example_data("cnn")
    plan = poisson_batches(_EXAMPLES, steps=20, sample_rate=_BATCH / _EXAMPLES, generator=np.random.default_rng(0))
    for batch in plan:
        if len(batch):
            trainer.accumulate(inputs[batch][:, None], labels[batch], clipping_norm=1.0)
        trainer.update(clipping_norm=1.0, noise_multiplier=0.0, learning_rate=0.5)
    return trainer.weights()


def _one_epoch(batches: int) -> tuple[DPSGD, BatchPlan]:
    regime = DPSGD(noise_multiplier=1.0, epochs=1, batch_size=_PIECE)
    drawn = poisson_batches(_PIECE * batches, steps=batches, sample_rate=1 / batches, generator=secret_generator())
    return regime, drawn


def _cyclic_epochs() -> tuple[DPSGD, BatchPlan]:
    """Three epochs, the last cycle of groups cut off."""
    batches, groups = 41, 4
    regime = DPSGD(
        noise_multiplier=1.0,
        epochs=3,
        batch_size=_PIECE,
        sampling="cyclic poisson",
        mechanism=BandedMatrix(bands=groups),
    )
    drawn = cyclic_poisson_batches(
        _PIECE * batches,
        groups=groups,
        steps=3 * batches,
        sample_rate=groups / batches,
        generator=secret_generator(),
    )
    return regime, drawn


def _train(name: BackendName, backend: Backend, regime: DPSGD, plan: BatchPlan) -> TrainingRecord:
    """Train on drawn batches through the worker's own loop, watched."""
    inputs, labels = example_data("mlp")
    count = _PIECE * len(plan) // (regime.epochs or 1)
    examples = Examples(inputs=np.resize(inputs, (count, *inputs.shape[1:])), labels=np.resize(labels, count))
    model = example_model("mlp")
    with tempfile.TemporaryDirectory(prefix="trustml-conformance-") as root:
        folder = Path(root) / "jobs" / "train"
        folder.mkdir(parents=True)
        job = TrainJob(
            id="train",
            backend=name,
            model=model.architecture,
            input_shape=model.input_shape,
            execution=Execution(checkpoint_seconds=3600),
            regime=regime,
            seed=0,
            initial_weights="",
            data="",
            plan="",
            data_fingerprint="synthetic",
            mechanism=plan_mechanism(regime, field="regime", examples=len(examples), plan=plan),
        )
        clock, progress = Clock(lambda: None), Progress(folder / "events.jsonl")
        at = JobContext(root=Path(root), folder=folder, clock=clock, progress=progress)
        steps: list[ExecutedStep] = []
        watched = dataclasses.replace(backend, private=_watched(backend, steps.append, expected=_PIECE))
        PrivateTraining(job, watched, model, examples, commitment="plan", at=at).run(plan, entropy=())
        charges = read_ledger(folder / "ledger.jsonl")
    return TrainingRecord(steps=steps, charges=charges, batches=list(plan))


def _watched(
    backend: Backend, tell: Callable[[ExecutedStep], None], *, expected: int
) -> Callable[[Model, PrivateSettings, int], PrivateTrainer]:
    def private(model: Model, settings: PrivateSettings, dropout_seed: int) -> PrivateTrainer:
        trainer = backend.private(model, settings, dropout_seed)
        return TracingTrainer(trainer, attempt=1, expected_batch_size=expected, tell=tell)

    return private


def main(arguments: list[str]) -> int:
    """Check one backend, in its own environment."""
    if len(arguments) != 2 or not is_known(arguments[0]) or not Path(arguments[1]).is_dir():
        print(f"usage: python -m trustml.worker.conformance {'|'.join(backend_names())} FOLDER", file=sys.stderr)
        return 2
    name, folder = arguments[0], Path(arguments[1])
    backend = load_backend(name)
    backend.open_device("cpu", 0)
    findings, sums = check_backend(name, backend)
    arrays = {f"{case}|{part}": array for case, weights in sums.items() for part, array in weights.items()}
    write_atomic(folder / "sums.npz", encode_arrays(arrays))
    write_atomic(folder / "findings.json", msgspec.json.encode(findings))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
