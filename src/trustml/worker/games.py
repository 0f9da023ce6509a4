"""Plays a distinguishing game with a backend's own private trainer.

The game is about the mechanism's code (clipping, summing, noise, division), not about the model of the scenario, so
it is played on one small dense layer, where a step takes well under a millisecond. The noise of every trial is drawn
by the library, from a seed of operating-system entropy that is kept nowhere.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import numpy as np

from trustml.backends.contract import Backend, Model, PrivateTrainer
from trustml.backends.settings import Clipped, PrivateSettings
from trustml.conformance.games import play, worst_pair
from trustml.conformance.subject import Step, StepSettings
from trustml.data.dataset import Floats, Ints, LabelArray
from trustml.data.streams import Stream, public_generator
from trustml.frameworks.entry import Supported
from trustml.models.layers import Architecture, Dense
from trustml.models.weights import Weights, initial_weights
from trustml.plan.job import GameJob
from trustml.plan.support import training_support
from trustml.record.files import encode_arrays, inside, write_atomic
from trustml.scenario.attacks import Fault
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import DPSGD
from trustml.scenario.spec import GradSampleMode
from trustml.worker.forwarding import ForwardingTrainer
from trustml.worker.job_context import JobContext
from trustml.worker.private import accumulate_finite, entropy_words

EXPECTED_BATCH_SIZE = 16
"""What the noisy sum is divided by; batches of the game are smaller, and a right step does not care."""
_FEATURES, _CLASSES, _EXAMPLES = 8, 3, 12


def play_game(job: GameJob, backend: Backend, *, at: JobContext) -> str:
    """Play the game of a job and write ``present`` and ``absent`` into its private output.

    Parameters
    ----------
    job : GameJob
        Its model is not used; see the module.
    backend : Backend
    at : JobContext

    Returns
    -------
    str
        The library whose mechanism it was.
    """
    generator = public_generator(11, Stream.SPLIT)
    inputs = generator.normal(0, 1, (_EXAMPLES, _FEATURES)).astype(np.float32)
    labels = np.arange(_EXAMPLES, dtype=np.int64) % _CLASSES
    settings = StepSettings(
        clipping_norm=job.clipping_norm,
        noise_multiplier=job.game.noise_multiplier,
        expected_batch_size=EXPECTED_BATCH_SIZE,
        seed=secrets.randbits(31),
    )
    make_step = step_factory(backend, job.game.fault)
    at.progress.stage("choosing the pair")
    with at.clock.stage("search"):
        pair = worst_pair(make_step, inputs, labels, settings)
    at.progress.stage("playing")
    with at.clock.stage("game"):
        present, absent = play(make_step, pair, settings, trials=job.game.trials, tell=at.progress.step)
    write_atomic(inside(at.root, job.output), encode_arrays({"present": present, "absent": absent}), private=True)
    support = training_support(job.backend, DPSGD(noise_multiplier=1.0))
    return support.library if isinstance(support, Supported) else ""


def step_factory(backend: Backend, fault: Fault = "") -> Callable[[StepSettings], Step]:
    """Make steps of a backend's own private trainer, right or with a mistake, on one small dense layer."""
    mode: GradSampleMode = "hooks"  # fixed, as measuring all of them would take longer than a game of few trials
    architecture = Architecture(layers=(Dense(units=_CLASSES),))
    weights = initial_weights(architecture, (_FEATURES,), generator=public_generator(7, Stream.WEIGHTS))
    model = Model(architecture=architecture, input_shape=(_FEATURES,), weights=weights)
    entropy = entropy_words()[1:]

    quiet: dict[StepSettings, Step] = {}  # without noise all calls are alike, and making a trainer may compile

    def make(settings: StepSettings) -> Step:
        if settings in quiet:
            return quiet[settings]
        private = PrivateSettings(
            optimizer=SGD(),
            expected_batch_size=settings.expected_batch_size,
            noise_seed=(settings.seed % 2**32, *entropy),
            grad_sample_mode=mode,
        )
        trainer = with_fault(
            backend.private(model, private, 0), fault, expected_batch_size=settings.expected_batch_size
        )

        def step(inputs: Floats, labels: Ints, micro_batch_size: int) -> Weights:
            size = micro_batch_size or max(1, len(labels))
            for start in range(0, len(labels), size):
                part = slice(start, start + size)
                accumulate_finite(trainer, inputs[part][:, None], labels[part], clipping_norm=settings.clipping_norm)
            trainer.update(
                clipping_norm=settings.clipping_norm,
                noise_multiplier=settings.noise_multiplier,
                learning_rate=0.0,  # so that every trial starts from the same weights
            )
            return trainer.gradient()

        if not settings.noise_multiplier:
            quiet[settings] = step
        return step

    return make


_NEVER = 1e12
"""A clipping norm that no gradient reaches."""


class FaultyTrainer(ForwardingTrainer):
    """A :class:`trustml.backends.contract.PrivateTrainer` that makes one mistake and says nothing of it.

    The mistake is on purpose: does an audit notice it?

    Parameters
    ----------
    trainer : PrivateTrainer
        Does the work, with other numbers than it should be given.
    fault : {"no clipping", "noise divided by the batch", "halved sensitivity"}
        With half the sensitivity, noise has half its stated standard deviation.
    expected_batch_size : int
    """

    def __init__(self, trainer: PrivateTrainer, fault: Fault, *, expected_batch_size: int) -> None:
        super().__init__(trainer)
        self._clips = fault != "no clipping"
        self._noise = {"noise divided by the batch": 1 / expected_batch_size, "halved sensitivity": 0.5}.get(fault, 1.0)

    def accumulate(self, inputs: Floats, labels: LabelArray, *, clipping_norm: float) -> Clipped:
        """Clip, or do not."""
        return self._trainer.accumulate(inputs, labels, clipping_norm=clipping_norm if self._clips else _NEVER)

    def plant(self, gradients: Weights, *, clipping_norm: float) -> None:
        """Clip, or do not."""
        self._trainer.plant(gradients, clipping_norm=clipping_norm if self._clips else _NEVER)

    def update(self, *, clipping_norm: float, noise_multiplier: float, learning_rate: float) -> None:
        """Take a step, perhaps with too little noise."""
        self._trainer.update(
            clipping_norm=clipping_norm, noise_multiplier=noise_multiplier * self._noise, learning_rate=learning_rate
        )


def with_fault(trainer: PrivateTrainer, fault: Fault, *, expected_batch_size: int) -> PrivateTrainer:
    """Wrap a trainer; one without a fault comes back as it is."""
    if not fault:
        return trainer
    return FaultyTrainer(trainer, fault, expected_batch_size=expected_batch_size)
