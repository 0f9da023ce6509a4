"""The private training loop, written once for every backend.

A step: charge if the ledger has not paid for it; clip the batch in microbatches and sum; add noise once; step. Whatever
is not finite is left out before anything is added.
"""

from __future__ import annotations

import secrets

import numpy as np
import numpy.typing as npt

from trustml.backends.contract import Backend, Model, PrivateTrainer
from trustml.backends.settings import PrivateSettings, usual_batch_size
from trustml.data.augmentation import augmented
from trustml.data.batches import BatchPlan, comes_in_turn, drawn_in_cycles, participation
from trustml.data.dataset import Examples, Floats, Ints, LabelArray
from trustml.data.partition import owners_fingerprint, read_owners
from trustml.data.streams import secret_generator
from trustml.data.user_rows import UserRows, stacked, user_rows
from trustml.errors import PrivacyError
from trustml.models.weights import Weights
from trustml.plan.job import TrainJob, checkpoint_file, counts_file
from trustml.plan.mechanism import check_draws, drawn_for, make_charge, tells_participation
from trustml.privacy.ledger import charge, read_ledger
from trustml.privacy.noise_strategy import NoiseStrategy, noise_strategy
from trustml.record.checkpoint import Checkpoint, Checkpoints, read_checkpoint
from trustml.record.files import encode_arrays, inside, read_arrays, write_atomic
from trustml.scenario.clipping import Adaptive, PerLayer
from trustml.scenario.regimes import DPSGD
from trustml.scenario.spec import Execution
from trustml.worker.job_context import JobContext, Trained

_ROWS_AT_ONCE = 1024


class PrivateTraining:
    """One attempt at one private training.

    Parameters
    ----------
    job : TrainJob
        With a mechanism.
    backend : Backend
    model : Model
        With the starting weights.
    examples : Examples
    commitment : str
        SHA-256 of the batch plan.
    at : JobContext
    """

    def __init__(
        self, job: TrainJob, backend: Backend, model: Model, examples: Examples, *, commitment: str, at: JobContext
    ) -> None:
        if job.mechanism is None or not isinstance(job.regime, DPSGD):
            raise PrivacyError(f"{job.id}: no private mechanism to train with")
        self._job, self._regime, self._mechanism = job, job.regime, job.mechanism
        self._examples, self._commitment, self._at = examples, commitment, at
        self._ledger = at.folder / "ledger.jsonl"
        if any(entry.plan == commitment for entry in read_ledger(self._ledger)):
            raise PrivacyError(f"{job.id}: an earlier attempt used these batches; a new attempt needs new ones")
        self._usable = finite_rows(examples.inputs)
        self._users = self._rows_of_users() if job.regime.unit == "user" else None
        self._count = len(examples) if self._users is None else self._mechanism.examples
        clipping = job.regime.clipping
        expected, multiplicity = self._mechanism.expected_batch_size, rows_each(job.regime)
        self._piece, usual = microbatch(job.execution, expected=expected, multiplicity=multiplicity)
        settings = PrivateSettings(
            optimizer=job.regime.optimizer,
            per_layer=isinstance(clipping, PerLayer),
            count_unclipped=isinstance(clipping, Adaptive),
            expected_batch_size=expected,
            multiplicity=multiplicity,
            rows_of_users=self._users is not None,
            noise_seed=entropy_words(),
            noise=self._strategy(),
            micro_batch_size=self._piece if self._piece < usual else 0,
            grad_sample_mode=job.execution.grad_sample_mode,
            devices=job.execution.devices,
        )
        self._trainer = backend.private(model, settings, secrets.randbits(31))
        self._drawn = drawn_for(job.mechanism, backend=job.backend, weights=model.trained)
        self._count_noise = secret_generator()
        self._clipping_norm = self._mechanism.clipping_norm
        self._average: Weights = model.trained if job.regime.ema_decay else {}
        self._restore(model)

    def run(self, plan: BatchPlan, *, entropy: tuple[int, ...]) -> Trained:
        """Take all steps that the mechanism allows; copies, or rows of users, are drawn by `entropy`."""
        mechanism, at = self._mechanism, self._at
        checkpoints = Checkpoints(
            inside(at.root, checkpoint_file(self._job)), seconds=self._job.execution.checkpoint_seconds
        )
        steps = min(mechanism.steps, len(plan))
        check_draws(mechanism, np.diff(plan.offsets), examples=self._count, name=self._job.id)
        if mechanism.noise != "independent" and not self._comes_as_planned(plan):
            raise PrivacyError(f"{self._job.id}: its batches do not come in turn, as its noise needs; start a new run")
        broken = np.zeros(steps, np.int64)
        each = self._regime.rows_per_user if self._regime.unit == "user" else 1  # what users hold would tell of them
        seen = mechanism.expected_batch_size * mechanism.total_steps * each
        at.plan_curve(steps=mechanism.start_step + steps, rows=seen, start=mechanism.start_step)
        at.look(mechanism.start_step, self._weights)
        for number in range(steps):
            if number % mechanism.steps_per_charge == 0:
                self._charge(plan, number, min(number + mechanism.steps_per_charge, steps))
            done = mechanism.start_step + number
            with at.clock.step(examples=self._rows_in(plan[number])):
                broken[number] = self._step(plan[number], done, (*entropy, done))
            at.progress.step(done + 1, mechanism.start_step + steps)
            at.look(done + 1, self._weights)
            if checkpoints.due:
                checkpoints.write(self._checkpoint(done + 1))
        if steps:
            checkpoints.write(self._checkpoint(mechanism.start_step + steps))
        write_atomic(
            inside(at.root, counts_file(self._job)), encode_arrays({"not_finite_examples": broken}), private=True
        )
        return Trained(weights=self._weights(), choice=self._trainer.choice, notes=self._notes(len(plan), steps))

    def _comes_as_planned(self, plan: BatchPlan) -> bool:
        mechanism = self._mechanism
        if mechanism.sampling != "cyclic poisson":
            return comes_in_turn(plan, separation=mechanism.separation)
        rate = mechanism.sample_rate
        return drawn_in_cycles(plan, separation=mechanism.separation, examples=self._count, rate=rate)

    def _weights(self) -> Weights:
        """What would be released if the training ended now."""
        return {**self._trainer.weights(), **self._average}

    def _strategy(self) -> NoiseStrategy | None:
        """Give the noise of all steps of this attempt: a resume never goes on with the vectors of another one."""
        mechanism = self._mechanism
        if mechanism.noise == "independent" or not mechanism.steps:
            return None
        strategy = noise_strategy(self._regime.mechanism, steps=mechanism.steps, separation=mechanism.separation)
        if strategy.participation > mechanism.largest_participation:
            raise PrivacyError(
                f"{self._job.id}: its noise needs a participation of {strategy.participation}, "
                f"and {mechanism.largest_participation} is charged; start a new run"
            )
        return strategy

    def _restore(self, model: Model) -> None:
        if not self._mechanism.start_step:
            return
        path = inside(self._at.root, checkpoint_file(self._job))
        saved = read_checkpoint(path, like=model.weights)
        if saved is None or saved.step != self._mechanism.start_step:
            raise PrivacyError(
                f"{self._job.id}: its checkpoint is not the one this attempt was planned on; resume again"
            )
        self._trainer.restore(saved.weights, saved.state)
        self._average = saved.average
        self._clipping_norm = saved.clipping_norm

    def _charge(self, plan: BatchPlan, first: int, end: int) -> None:
        told = tells_participation(self._mechanism)
        most = int(participation(plan, self._count, first=first, end=end).max()) if told else None
        if self._mechanism.noise != "independent":
            most = self._mechanism.largest_participation
        charge(
            self._ledger,
            make_charge(
                self._mechanism,
                first=first,
                end=end,
                plan=self._commitment,
                data=self._job.data_fingerprint,
                block=most,
                drawn=self._drawn,
            ),
        )

    def _step(self, batch: Ints, done: int, entropy: tuple[int, ...]) -> int:
        """Take one step and count the examples, or users, that were left out."""
        there = self._usable if self._users is None else self._users.counts > 0
        came = batch[there[batch]]
        unclipped, broken = 0, len(batch) - len(came)
        for start in range(0, len(came), self._piece):
            inputs, labels = self._rows(came[start : start + self._piece], entropy)
            found = accumulate_finite(self._trainer, inputs, labels, clipping_norm=self._clipping_norm)
            unclipped, broken = unclipped + found[0], broken + found[1]
        regime = self._regime
        self._trainer.update(
            clipping_norm=self._clipping_norm,
            noise_multiplier=self._mechanism.noise_multiplier,
            learning_rate=regime.optimizer.learning_rate * regime.schedule.factor(done, self._mechanism.total_steps),
        )
        if isinstance(regime.clipping, Adaptive):
            self._adapt(regime.clipping, unclipped - (len(batch) - broken) / 2)
        if regime.ema_decay is not None:
            decay = min(regime.ema_decay, (1 + done) / (10 + done))
            weights = self._trainer.weights()
            self._average = {
                k: np.float32(decay) * v + np.float32(1 - decay) * weights[k] for k, v in self._average.items()
            }
        return broken

    def _rows(self, came: Ints, entropy: tuple[int, ...]) -> tuple[Floats, LabelArray]:
        """Give the copies of examples, or the rows of users, that a step sees, and their labels."""
        if self._users is not None:
            most = self._regime.rows_per_user
            return stacked(self._examples, self._users.chosen(came, most=most, entropy=entropy), most=most)
        augmentation = self._regime.augmentation
        inputs, labels = self._examples.inputs[came], self._examples.labels[came]
        if augmentation is None:
            return inputs[:, None], labels
        return augmented(inputs, came, augmentation, examples=len(self._examples), entropy=entropy), labels

    def _rows_of_users(self) -> UserRows:
        """Read who holds what, and see that it is the division whose users are protected."""
        name, users = self._job.clients, self._mechanism.examples
        found = read_arrays(inside(self._at.root, name))
        owners, _ = read_owners(found, name=name, examples=len(self._examples), clients=users)
        if owners_fingerprint(owners) != self._mechanism.users:
            raise PrivacyError(f"{self._job.clients}: is not the partition whose users {self._job.id} protects")
        return user_rows(owners, self._usable, users=users)

    def _rows_in(self, batch: Ints) -> int:
        """Count the training examples of a batch that a step sees."""
        if self._users is None:
            return len(batch)
        return int(np.minimum(self._users.counts[batch], self._regime.rows_per_user).sum())

    def _adapt(self, clipping: Adaptive, centred_count: float) -> None:
        """Move the clipping norm towards the quantile; `centred_count` sums +1/2 and -1/2 over the examples."""
        noisy = centred_count + self._count_noise.normal(0.0, self._mechanism.count_noise)
        share = noisy / self._mechanism.expected_batch_size + 0.5
        change = float(np.exp(-clipping.learning_rate * (share - clipping.quantile)))
        start = self._mechanism.clipping_norm
        self._clipping_norm = min(max(self._clipping_norm * change, 1e-4 * start), 1e4 * start)

    def _checkpoint(self, step: int) -> Checkpoint:
        return Checkpoint(
            step=step,
            weights=self._trainer.weights(),
            state=self._trainer.state(),
            average=self._average,
            clipping_norm=self._clipping_norm,
        )

    def _notes(self, planned: int, steps: int) -> tuple[str, ...]:
        notes = []
        if steps < planned:
            target = f"epsilon {self._regime.epsilon:g}" if self._regime.epsilon else "its target"
            notes.append(f"stopped after {steps} of {planned} steps: one more would pass {target}")
        if self._mechanism.attempt > 1:
            notes.append("went on after an interruption, on new batches: batch parity with other backends is lost")
        return tuple(notes)


def rows_each(regime: DPSGD) -> int:
    """Rows of one example, or one user, that go through the network for one gradient."""
    if regime.unit == "user":
        return regime.rows_per_user
    return 1 if regime.augmentation is None else regime.augmentation.multiplicity


def microbatch(execution: Execution, *, expected: int, multiplicity: int = 1) -> tuple[int, int]:
    """Examples of a batch that are clipped at once, and the size that hardly any batch passes."""
    usual, most = usual_batch_size(expected), max(1, _ROWS_AT_ONCE // multiplicity)
    return execution.micro_batch_size or (usual if usual < 2 * most else most), usual


def finite_rows(inputs: Floats) -> npt.NDArray[np.bool_]:
    """Say which examples are finite throughout, some at a time: data may be larger than memory; shape (n,)."""
    found = np.zeros(len(inputs), bool)
    for start in range(0, len(inputs), _ROWS_AT_ONCE):
        part = inputs[start : start + _ROWS_AT_ONCE]
        found[start : start + _ROWS_AT_ONCE] = np.isfinite(part.reshape(len(part), -1)).all(axis=1)
    return found


def accumulate_finite(
    trainer: PrivateTrainer, inputs: Floats, labels: LabelArray, *, clipping_norm: float
) -> tuple[int, int]:
    """Add the clipped gradients of all examples but those that are not finite, which are searched by halves.

    Returns
    -------
    unclipped, left_out : int
    """
    found = trainer.accumulate(inputs, labels, clipping_norm=clipping_norm)
    if found.finite:
        return found.unclipped, 0
    if len(labels) == 1:
        return 0, 1
    middle = len(labels) // 2
    first = accumulate_finite(trainer, inputs[:middle], labels[:middle], clipping_norm=clipping_norm)
    second = accumulate_finite(trainer, inputs[middle:], labels[middle:], clipping_norm=clipping_norm)
    return first[0] + second[0], first[1] + second[1]


def entropy_words() -> tuple[int, int, int, int]:
    """128 bits of operating-system entropy for the noise; used once, kept nowhere."""
    first, second, third, fourth = (secrets.randbits(32) for _ in range(4))
    return first, second, third, fourth
