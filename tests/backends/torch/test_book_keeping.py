"""Clipped sums by book-keeping against a loop over the examples that knows nothing of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.backends.torch.explaining import model_of
from trustml.backends.settings import PrivateSettings
from trustml.backends.torch import book_keeping, layer_gradients
from trustml.backends.torch.book_keeping import weighted_layers
from trustml.backends.torch.dp import OpacusTrainer
from trustml.backends.torch.network import build_module, from_torch_tensors, parameter_names, to_input, to_labels
from trustml.conformance import StepSettings, check_step
from trustml.errors import UsageError
from trustml.models.layers import Architecture, AvgPool, Conv2D, Dense, Flatten, GroupNorm, LayerNorm, MaxPool, ReLU
from trustml.scenario.optimizers import SGD
from trustml.worker.private import accumulate_finite

pytestmark = pytest.mark.torch

IMAGE = (6, 7, 2)
CASES: dict[str, tuple[Architecture, tuple[int, ...]]] = {
    "dense": (Architecture(layers=(Dense(units=9, bias=False), ReLU(), LayerNorm(), Dense(units=4))), (12,)),
    "vector norm": (Architecture(layers=(LayerNorm(), Dense(units=6), GroupNorm(groups=3), Dense(units=4))), (12,)),
    "many patches": (
        Architecture(
            layers=(
                Conv2D(filters=4, kernel=(3, 2), stride=(2, 1), padding=((1, 1), (1, 1))),
                GroupNorm(groups=2),
                ReLU(),
                Conv2D(filters=3, kernel=(1, 2), padding=((0, 1), (0, 0)), bias=False),
                MaxPool(size=(2, 2), stride=(1, 1)),
                LayerNorm(),
                Flatten(),
                Dense(units=4),
            )
        ),
        IMAGE,
    ),
    "few patches": (
        Architecture(
            layers=(
                Conv2D(filters=8, kernel=(2, 2)),
                AvgPool(size=(2, 2), stride=(2, 2)),
                Conv2D(filters=30, kernel=(2, 2)),
                Flatten(),
                Dense(units=4),
            )
        ),
        IMAGE,
    ),
}
NORM, COUNT = 0.8, 10


def batch_of(shape, *, copies=1, count=COUNT):
    draw = np.random.default_rng(3)
    inputs = draw.normal(0, draw.uniform(0.1, 2, (count, 1, *[1] * len(shape))), (count, copies, *shape))
    return inputs.astype(np.float32), draw.integers(0, 4, count)


def trainer_of(case, *, mode="book_keeping", noise_seed=(1, 2, 3, 4), **changes):
    settings = PrivateSettings(
        optimizer=SGD(), expected_batch_size=8, noise_seed=noise_seed, grad_sample_mode=mode, **changes
    )
    return OpacusTrainer(model_of(*CASES[case]), settings=settings, dropout_seed=0)


def looped_gradients(case, inputs, labels):
    """Gradient of each example by each parameter, one example at a time."""
    model = model_of(*CASES[case])
    module = build_module(model)
    parameters = parameter_names(module, list(model.weights))
    rows = []
    for example, label in zip(inputs, labels, strict=True):
        loss = functional.cross_entropy(module(to_input(example)), to_labels(np.repeat(label, len(example))))
        rows.append(torch.autograd.grad(loss, list(parameters.values())))
    return dict(zip(parameters, map(torch.stack, zip(*rows, strict=True)), strict=True))


def clipped_sum(rows, norms, bounds):
    """Sum of the rows, each scaled down to its bound."""
    scaled = {
        name: torch.tensordot((bounds / norms[name]).clamp(max=1).float(), row, dims=1) for name, row in rows.items()
    }
    return from_torch_tensors(scaled)


def gap(found, expected):
    """Norm of the difference over the norm of what is expected."""
    a, b = (np.concatenate([part.ravel() for part in weights.values()]) for weights in (found, expected))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize(("per_layer", "copies"), [(False, 1), (True, 1), (False, 3), (True, 3)])
@pytest.mark.parametrize("case", CASES)
def test_the_sum_is_that_of_a_loop_over_the_examples(case, per_layer, copies, monkeypatch):
    monkeypatch.setattr(layer_gradients, "_IMAGES_AT_ONCE", 4)  # 10 examples leave a remainder
    monkeypatch.setattr(book_keeping, "_MOST_WRITTEN", 6 * 40 * 24)  # some examples at once
    inputs, labels = batch_of(CASES[case][1], copies=copies)
    rows = looped_gradients(case, inputs, labels)
    norms = {name: row.flatten(1).double().norm(dim=1) for name, row in rows.items()}
    whole = torch.stack(list(norms.values())).norm(dim=0)
    norm = float(whole.sort().values[COUNT // 2 - 1 : COUNT // 2 + 1].mean())  # half of the examples are clipped
    trainer = trainer_of(case, per_layer=per_layer, multiplicity=copies, count_unclipped=True)
    found = trainer.accumulate(inputs, labels, clipping_norm=norm)
    if per_layer:
        expected = clipped_sum(rows, norms, norm / len(rows) ** 0.5)
    else:
        expected = clipped_sum(rows, dict.fromkeys(rows, whole), norm)
    assert found.finite
    assert found.unclipped == int((whole <= norm).sum()) == COUNT // 2
    assert gap(trainer.clipped_sum(), expected) < 1e-5  # as in the conformance suite


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_noise_is_drawn_once_and_is_that_of_the_other_modes():
    inputs, labels = batch_of(IMAGE)
    found = {}
    for mode in ("hooks", "book_keeping"):
        trainer = trainer_of("many patches", mode=mode)
        for part in (slice(0, 4), slice(4, None)):
            trainer.accumulate(inputs[part], labels[part], clipping_norm=NORM)
        trainer.update(clipping_norm=NORM, noise_multiplier=3.0, learning_rate=0.1)
        found[mode] = trainer.gradient()
    assert gap(found["book_keeping"], found["hooks"]) < 1e-5
    quiet = trainer_of("many patches")
    quiet.update(clipping_norm=NORM, noise_multiplier=0.0, learning_rate=0.1)
    assert not any(part.any() for part in quiet.gradient().values())


def test_what_is_not_finite_adds_nothing_and_leaves_nothing():
    inputs, labels = batch_of(IMAGE)
    trainer, right = trainer_of("many patches"), trainer_of("many patches")
    huge = inputs.copy()
    huge[2] = 3e38
    assert not trainer.accumulate(huge, labels, clipping_norm=NORM).finite
    assert not any(part.any() for part in trainer.clipped_sum().values())
    for one in (trainer, right):
        assert one.accumulate(inputs, labels, clipping_norm=NORM).finite
    assert gap(trainer.clipped_sum(), right.clipped_sum()) == 0


def test_no_gradient_of_a_parameter_is_made(monkeypatch):
    asked = []
    grad = torch.autograd.grad
    monkeypatch.setattr(book_keeping.torch.autograd, "grad", lambda *of: asked.append(of) or grad(*of))
    inputs, labels = batch_of(IMAGE)
    trainer = trainer_of("many patches")
    trainer.accumulate(inputs, labels, clipping_norm=NORM)
    assert len(asked) == 1
    assert not any(isinstance(wanted, nn.Parameter) for wanted in asked[0][1])
    assert all(parameter.grad is None for parameter in trainer._parameters.values())


@pytest.mark.parametrize("layer", [nn.ConvTranspose2d(2, 2, 1), nn.Embedding(3, 2), nn.Conv3d(1, 1, 2)])
def test_a_layer_that_is_not_covered_is_named(layer):
    with pytest.raises(UsageError, match=rf"does not cover {type(layer).__name__}.*use auto or hooks"):
        weighted_layers(nn.Sequential(nn.Linear(2, 2), layer))


@pytest.mark.long
@pytest.mark.parametrize(("case", "per_layer"), [("dense", False), ("dense", True), ("many patches", False)])
def test_the_conformance_suite_lets_it_through(case, per_layer):
    def make(settings: StepSettings):
        private = PrivateSettings(
            optimizer=SGD(),
            per_layer=per_layer,
            expected_batch_size=settings.expected_batch_size,
            noise_seed=(settings.seed, 2, 3, 4),
            grad_sample_mode="book_keeping",
        )
        trainer = OpacusTrainer(model_of(*CASES[case]), settings=private, dropout_seed=0)

        def step(inputs, labels, micro_batch_size):
            usable = np.isfinite(inputs.reshape(len(inputs), -1)).all(axis=1) if len(inputs) else np.zeros(0, bool)
            inputs, labels = inputs[usable][:, None], labels[usable]
            size = micro_batch_size or max(1, len(labels))
            for start in range(0, len(labels), size):
                part = slice(start, start + size)
                accumulate_finite(trainer, inputs[part], labels[part], clipping_norm=settings.clipping_norm)
            trainer.update(
                clipping_norm=settings.clipping_norm, noise_multiplier=settings.noise_multiplier, learning_rate=0.0
            )
            return trainer.gradient()

        return step

    inputs, labels = batch_of(CASES[case][1], count=48)
    findings = check_step(make, inputs[:, 0], labels)
    assert len(findings) >= 14
    assert [finding.diagnosis for finding in findings if not finding.passed] == []
