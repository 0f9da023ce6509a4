"""What a regime trains of a model: frozen weights, pairs of LoRA beside them, and features that never change."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from trustml.backends.contract import Backend, Model, Network
from trustml.backends.settings import filled_up
from trustml.data.dataset import Examples, Floats
from trustml.data.streams import Stream, public_generator
from trustml.models.adapters import merged, starting_pairs
from trustml.models.frozen_front import cut_before, weights_of
from trustml.models.weights import Weights, encode_weights
from trustml.plan.job import TrainJob, features_file, trainable_of
from trustml.record.files import encode_arrays, inside, read_arrays, write_atomic
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.trained_part import TrainedPart, trained_part
from trustml.worker.job_context import JobContext

_BLOCK = 96
"""Rows that go through the front at once, always as many: what an example's features are must not follow from how many
others there are (:meth:`trustml.backends.settings.PrivateSettings.block_rows`)."""


@dataclass(frozen=True)
class FineTuning:
    """A training of a part of a model.

    Attributes
    ----------
    model : Model
        What is trained: with pairs, behind the features.
    examples : Examples
        On what.
    """

    model: Model
    examples: Examples
    _part: TrainedPart
    _start: Weights

    def whole(self, weights: Weights) -> Weights:
        """Give the weights of the scenario's model from those of the part that was trained.

        Raises
        ------
        NotImplementedError
            If the backend moved what it was told to leave alone.
        """
        for name in sorted(self.model.frozen):
            if not np.array_equal(weights[name], self.model.weights[name]):
                raise NotImplementedError(f"the backend moved {name}, which is frozen: it knows no trainable")
        found = {**self._start, **weights}
        return merged(found, self._part.beside, scale=self._part.scale) if self._part.beside else found


def fine_tuning(
    job: TrainJob, backend: Backend, model: Model, examples: Examples, *, at: JobContext, whole: bool = False
) -> FineTuning:
    """Prepare the training of what the job's regime says; features are computed once, and read again after that.

    `whole` leaves the frozen front in the model, and writes nothing.
    """
    part = trained_part(trainable_of(job), job.model, job.input_shape)
    weights = model.weights
    if part.beside:
        generator = public_generator(job.seed, Stream.ADAPTERS)
        pairs = starting_pairs(part.architecture, job.input_shape, part.beside, generator=generator)
        weights = weights | pairs
    frozen = frozenset(weights) - set(part.trained)
    tuned = replace(model, architecture=part.architecture, weights=weights, frozen=frozen)
    apart = _sees_the_same(job) and not whole
    cut = cut_before(part.architecture, job.input_shape, part.trained) if apart else None
    if cut is None:
        return FineTuning(tuned, examples, part, weights)
    before, after = weights_of(cut, job.input_shape)
    front = Model(architecture=cut.front, input_shape=job.input_shape, weights={name: weights[name] for name in before})
    with at.clock.stage("features"):
        inputs = _features(job, backend, front, examples, at=at)
    back = replace(
        tuned,
        architecture=cut.back,
        input_shape=cut.features,
        weights={name: weights[name] for name in after},
        frozen=frozen.intersection(after),
    )
    return FineTuning(back, Examples(inputs=inputs, labels=examples.labels), part, weights)


def features_of(network: Network, inputs: Floats, *, width: int) -> Floats:
    """Features of all examples, each from a block of one size; of inputs that are not finite no number, either.

    Parameters
    ----------
    network : Network
        Whose outputs are the features.
    inputs : float32 array of shape (n, *x)
    width : int
    """
    found = np.empty((len(inputs), width), np.float32)
    for start in range(0, len(inputs), _BLOCK):
        rows = inputs[start : start + _BLOCK]
        found[start : start + _BLOCK] = network.logits(filled_up(rows, _BLOCK))[: len(rows)]
    broken = ~np.isfinite(inputs.reshape(len(inputs), -1)).all(axis=1)
    found[broken] = np.nan  # left out of the training, as they would be without features
    return found


def _sees_the_same(job: TrainJob) -> bool:
    """Whether every step sees an example as it is, and nothing else looks at the model in training."""
    regime = job.regime
    stops = isinstance(regime, Plain) and bool(regime.stop_at)
    return isinstance(regime, Plain | DPSGD) and regime.augmentation is None and not stops


def _features(job: TrainJob, backend: Backend, front: Model, examples: Examples, *, at: JobContext) -> Floats:
    """Read the features of these examples by this front, or compute them and keep them for other trainings."""
    named = hashlib.sha256(encode_weights(front.weights))
    named.update(repr(front.architecture).encode())
    named.update(np.ascontiguousarray(examples.inputs).tobytes())
    path = inside(at.root, features_file(job, named.hexdigest()[:24]))
    if path.is_file():
        return read_arrays(path)["features"].astype(np.float32)
    found = features_of(backend.network(front), examples.inputs, width=front.outputs)
    write_atomic(path, encode_arrays({"features": found}), private=True)
    return found
