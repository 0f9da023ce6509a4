"""Training a part of a model: on features that are computed once, as on the frozen network itself."""

from __future__ import annotations

import dataclasses
import stat

import numpy as np
import pytest

from tests import WHOLE
from trustml.backends.contract import Model
from trustml.backends.settings import PrivateSettings
from trustml.backends.table import load_backend
from trustml.data.dataset import Examples
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, GroupNorm, ReLU
from trustml.models.weights import initial_weights
from trustml.plan.job import TrainJob
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import Augmentation, Plain
from trustml.scenario.spec import Execution
from trustml.scenario.trainable import Head, LoRA, Named
from trustml.worker import fine_tuning as module
from trustml.worker.clock import Clock
from trustml.worker.fine_tuning import features_of, fine_tuning
from trustml.worker.job_context import JobContext, Progress

NETWORK = Architecture(
    layers=(Conv2D(filters=3), GroupNorm(groups=1), ReLU(), Flatten(), Dense(units=6), ReLU(), Dense(units=4))
)
SHAPE, ROWS = (4, 4, 1), 100
GENERATOR = np.random.default_rng(3)
EXAMPLES = Examples(
    inputs=GENERATOR.normal(size=(ROWS, *SHAPE)).astype(np.float32), labels=GENERATOR.integers(4, size=ROWS)
)
BACKENDS = ("torch", "jax") if WHOLE else ("torch",)


@pytest.fixture(params=BACKENDS)
def backend(request):
    found = load_backend(request.param)
    found.open_device("cpu", 1)
    return dataclasses.replace(found)


def prepared(folder, backend, trainable, *, examples=EXAMPLES, **changes):
    """A model, and the part of it that is trained, in a run directory of its own."""
    job = TrainJob(
        id="train.one", backend="torch", model=NETWORK, input_shape=SHAPE, execution=Execution(),
        regime=Plain(trainable=trainable, **changes), seed=0, initial_weights="", data="", plan="", data_fingerprint="",
    )  # fmt: skip
    jobs = folder / "jobs" / job.id
    jobs.mkdir(parents=True, exist_ok=True)
    at = JobContext(root=folder, folder=jobs, clock=Clock(lambda: None), progress=Progress(jobs / "events.jsonl"))
    weights = initial_weights(NETWORK, SHAPE, generator=np.random.default_rng(0))
    model = Model(architecture=NETWORK, input_shape=SHAPE, weights=weights)
    return model, fine_tuning(job, backend, model, examples, at=at)


def trained(backend, part, *, private: bool):
    """Weights of the whole model after three steps."""
    settings = PrivateSettings(
        optimizer=SGD(momentum=0.5), expected_batch_size=40, noise_seed=(1, 2, 3, 4), grad_sample_mode="book_keeping"
    )
    trainer = backend.private(part.model, settings, 0) if private else backend.plain(part.model, Plain(), 0)
    for start in (0, 30, 60):
        rows = slice(start, start + 40)
        inputs, labels = part.examples.inputs[rows], part.examples.labels[rows]
        if private:
            trainer.accumulate(inputs[:, None], labels, clipping_norm=0.5)
            trainer.update(clipping_norm=0.5, noise_multiplier=0.0, learning_rate=0.5)
        else:
            trainer.step(inputs, labels, learning_rate=0.5)
    return part.whole(trainer.weights())


@pytest.mark.parametrize("trainable", [(Head(),), (LoRA(rank=2), Head()), (Named(patterns=("4.bias",)),)])
@pytest.mark.parametrize("private", [False, True])
def test_training_on_features_is_training_with_the_frozen_body(backend, trainable, private, tmp_path, monkeypatch):
    model, part = prepared(tmp_path, backend, trainable)
    assert len(part.model.input_shape) == 1
    monkeypatch.setattr(module, "_sees_the_same", lambda job: False)
    _, whole = prepared(tmp_path, backend, trainable)
    assert whole.model.input_shape == SHAPE
    found, expected = (trained(backend, one, private=private) for one in (part, whole))
    assert found.keys() == expected.keys() == model.weights.keys()
    moved = {name for name, array in model.weights.items() if np.abs(expected[name] - array).max() > 1e-3}
    assert moved == {"4.kernel", "6.kernel", "6.bias"} if len(trainable) == 2 else moved
    assert moved and all(np.array_equal(found[name], model.weights[name]) for name in model.weights.keys() - moved)
    for name in moved:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


def test_features_are_computed_once_and_lie_under_private(backend, tmp_path):
    _, part = prepared(tmp_path, backend, (Head(),))
    (file,) = (tmp_path / "private" / "features").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    nobody = dataclasses.replace(backend, network=lambda model: pytest.fail("asked again"))
    _, again = prepared(tmp_path, nobody, (Head(),))
    np.testing.assert_array_equal(again.examples.inputs, part.examples.inputs)
    others = Examples(inputs=EXAMPLES.inputs[::-1].copy(), labels=EXAMPLES.labels)
    _, other = prepared(tmp_path, backend, (Head(),), examples=others)
    assert np.array_equal(other.examples.inputs, part.examples.inputs[::-1]), "those of other examples were taken"


def test_features_of_an_example_do_not_depend_on_others(backend):
    _, part = (
        None,
        backend.network(
            Model(
                architecture=Architecture(layers=NETWORK.layers[:5]),
                input_shape=SHAPE,
                weights=initial_weights(
                    Architecture(layers=NETWORK.layers[:5]), SHAPE, generator=np.random.default_rng(0)
                ),
            )
        ),
    )
    every = features_of(part, EXAMPLES.inputs, width=6)
    without = features_of(part, np.delete(EXAMPLES.inputs, 7, axis=0), width=6)
    np.testing.assert_array_equal(without, np.delete(every, 7, axis=0))


def test_what_is_not_finite_has_no_features(backend, tmp_path):
    broken = EXAMPLES.inputs.copy()
    broken[5, 0, 0] = np.inf
    _, part = prepared(tmp_path, backend, (Head(),), examples=Examples(inputs=broken, labels=EXAMPLES.labels))
    assert np.isnan(part.examples.inputs[5]).all()
    assert np.isfinite(np.delete(part.examples.inputs, 5, axis=0)).all()


@pytest.mark.parametrize("changes", [{"augmentation": Augmentation()}, {"stop_at": "other"}])
def test_where_steps_see_other_images_nothing_is_kept(backend, changes, tmp_path):
    _, part = prepared(tmp_path, backend, (Head(),), **changes)
    assert part.model.input_shape == SHAPE and not (tmp_path / "private").exists()


def test_a_backend_that_moves_what_is_frozen_is_found(backend, tmp_path):
    _, part = prepared(tmp_path, backend, (Named(patterns=("4.bias",)),))
    moved = {name: array + np.float32(1) for name, array in part.model.weights.items()}
    with pytest.raises(NotImplementedError, match=r"moved 4.kernel, which is frozen"):
        part.whole(moved)
