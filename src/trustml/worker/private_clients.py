"""Federated training by clients that are private themselves, written once for every backend.

A round: charge; every client trains from the global weights by itself and sends an update that is private already; the
server moves by their mean. What a client does is the backend's: steps of DP-SGD, or plain ones whose sum is clipped and
gets noise. The mean of what was sent needs no trust, and is the core's.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from trustml.backends.contract import Backend, Client, Model, Trainer
from trustml.backends.settings import EngineChoice, PrivateSettings, RoundOutcome
from trustml.data.clients import FederatedPlan
from trustml.data.dataset import Examples, Ints
from trustml.data.partition import owners_fingerprint, read_owners
from trustml.errors import PrivacyError
from trustml.models.weights import Weights
from trustml.plan.client_mechanism import charged_steps, rounds_per_charge, rounds_within
from trustml.plan.job import TrainJob
from trustml.plan.mechanism import check_draws, drawn_for, make_charge
from trustml.plan.user_mechanism import block_participation
from trustml.privacy.ledger import charge, read_ledger
from trustml.record.files import inside, read_arrays
from trustml.scenario.federated import FedAvg, LocalDPFedAvg, PrivateClients, SiloDPFedAvg
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import Plain
from trustml.scenario.spec import Execution
from trustml.worker.federated import Look, write_rounds
from trustml.worker.job_context import JobContext, Trained
from trustml.worker.private import accumulate_finite, entropy_words, finite_rows, microbatch

Send: TypeAlias = Callable[[Weights, Sequence[Ints]], Weights]
"""From the global weights and a client's batches to the update that it sends."""


class SiloClient:
    """A client that takes steps of DP-SGD: as many as it has batches, empty ones too.

    One trainer plays all clients in turn; its noise goes on and is never drawn twice.

    Parameters
    ----------
    regime : SiloDPFedAvg
    backend : Backend
    model : Model
    examples : Examples
    noise_multiplier, sample_rate : float
    execution : Execution
    """

    def __init__(
        self,
        regime: SiloDPFedAvg,
        backend: Backend,
        model: Model,
        examples: Examples,
        *,
        noise_multiplier: float,
        sample_rate: float,
        execution: Execution,
    ) -> None:
        self._regime, self._examples, self._noise = regime, examples, noise_multiplier
        self._usable = finite_rows(examples.inputs)
        self._piece, usual = microbatch(execution, expected=regime.batch_size)
        settings = PrivateSettings(
            optimizer=regime.client_optimizer,
            expected_batch_size=regime.batch_size,
            summed=math.ceil(sample_rate * len(examples)),  # as of a client that holds all of them
            noise_seed=entropy_words(),
            micro_batch_size=self._piece if self._piece < usual else 0,
            grad_sample_mode=execution.grad_sample_mode,
            devices=execution.devices,
        )
        self._trainer = backend.private(model, settings, secrets.randbits(31))
        self.left_out = 0  # updates; examples that are not finite are left out one by one

    @property
    def choice(self) -> EngineChoice | None:
        """Which of the library's ways to clip is used."""
        return self._trainer.choice

    def send(self, weights: Weights, batches: Sequence[Ints]) -> Weights:
        """Train from the global weights and give the change."""
        norm = self._regime.clipping_norm
        self._trainer.restore(weights, {})
        for batch in batches:
            came = batch[self._usable[batch]]
            for start in range(0, len(came), self._piece):
                piece = came[start : start + self._piece]
                inputs, labels = self._examples.inputs[piece][:, None], self._examples.labels[piece]
                accumulate_finite(self._trainer, inputs, labels, clipping_norm=norm)
            self._trainer.update(
                clipping_norm=norm,
                noise_multiplier=self._noise,
                learning_rate=self._regime.client_optimizer.learning_rate,
            )
        return _change(self._trainer.weights(), weights)


class LocalClient:
    """A client that trains without privacy, then clips what came of it and adds noise before it is sent.

    Clipping and noise are those of the backend's private step, whose only contribution is the update. One that is not
    finite is left out, and `left_out` counts them.

    Parameters
    ----------
    regime : LocalDPFedAvg
    backend : Backend
    model : Model
    examples : Examples
    noise_multiplier : float
    """

    choice: EngineChoice | None = None

    def __init__(
        self, regime: LocalDPFedAvg, backend: Backend, model: Model, examples: Examples, *, noise_multiplier: float
    ) -> None:
        self._regime, self._examples, self._noise = regime, examples, noise_multiplier
        self._plain = backend.plain(model, Plain(optimizer=regime.client_optimizer), secrets.randbits(31))
        settings = PrivateSettings(
            optimizer=SGD(learning_rate=1.0),
            expected_batch_size=1,
            noise_seed=entropy_words(),
            micro_batch_size=1,
            planted_alone=True,
        )
        self.left_out = 0
        self._noisy = backend.private(model, settings, secrets.randbits(31))

    def send(self, weights: Weights, batches: Sequence[Ints]) -> Weights:
        """Train from the global weights and give the change, clipped and with noise; of nothing it is noise alone."""
        regime = self._regime
        client = [(self._examples.inputs[batch], self._examples.labels[batch]) for batch in batches]
        update = local_update(self._plain, weights, client, learning_rate=regime.client_optimizer.learning_rate)
        self._noisy.restore(weights, {})
        if all(np.isfinite(part).all() for part in update.values()):
            gradients = {name: -part[None] for name, part in update.items()}
            self._noisy.plant(gradients, clipping_norm=regime.clipping_norm)
        else:
            self.left_out += 1
        self._noisy.update(clipping_norm=regime.clipping_norm, noise_multiplier=self._noise, learning_rate=1.0)
        return _change(self._noisy.weights(), weights)


class Server:
    """Moves by the mean of the updates that were sent, whoever holds how much; with momentum (FedAvgM).

    Parameters
    ----------
    regime : SiloDPFedAvg, LocalDPFedAvg or FedAvg
    weights : Weights
    """

    def __init__(self, regime: PrivateClients | FedAvg, weights: Weights) -> None:
        self._rate, self._momentum = regime.server_learning_rate, regime.server_momentum
        self.weights = weights
        self._velocity = {name: np.zeros_like(part) for name, part in weights.items()}

    def step(self, updates: Sequence[Weights]) -> None:
        """Take the updates of one round; of none nothing changes."""
        if not updates:
            return
        for name in self.weights:
            mean = np.mean([update[name] for update in updates], axis=0, dtype=np.float64)
            velocity = self._momentum * self._velocity[name] + mean
            self._velocity[name] = velocity.astype(np.float32)
        self.weights = {
            name: part + np.float32(self._rate) * self._velocity[name] for name, part in self.weights.items()
        }


class PrivateClientsDriver:
    """One attempt at one federated training by private clients.

    Parameters
    ----------
    job : TrainJob
        Of such a regime.
    backend : Backend
    model : Model
        With the starting weights.
    examples : Examples
    commitment : str
        SHA-256 of the plan of rounds.
    at : JobContext
    """

    def __init__(
        self, job: TrainJob, backend: Backend, model: Model, examples: Examples, *, commitment: str, at: JobContext
    ) -> None:
        if not isinstance(job.regime, PrivateClients) or job.mechanism is None:
            raise PrivacyError(f"{job.id}: no private mechanism to train with")
        self._job, self._regime, self._mechanism = job, job.regime, job.mechanism
        self._backend, self._model, self._examples = backend, model, examples
        self._commitment, self._at = commitment, at
        self._ledger = at.folder / "ledger.jsonl"
        found = read_arrays(inside(at.root, job.clients))
        self._owners, _ = read_owners(found, name=job.clients, examples=len(examples))
        if owners_fingerprint(self._owners) != job.mechanism.users:
            raise PrivacyError(f"{job.clients}: is not the partition whose clients {job.id} charges for")
        if any(entry.plan == commitment for entry in read_ledger(self._ledger)):
            raise PrivacyError(f"{job.id}: an earlier attempt used these batches; a new attempt needs new ones")

    def run(self, plan: FederatedPlan) -> Trained:
        """Take all rounds that the mechanism allows."""
        job, at = self._job, self._at
        rounds = rounds_within(self._mechanism, self._regime, plan)
        self._check(plan)
        with at.clock.stage("federation_setup"):
            client = self._client()
            server = Server(self._regime, self._model.weights)
        look = Look(job, self._backend, self._model, at=at)
        every, outcomes = rounds_per_charge(self._regime), list[RoundOutcome]()
        for number in range(rounds):
            if number % every == 0:
                self._charge(plan, number, min(number + every, rounds))
            visits, before = plan.round(number), client.left_out
            with at.clock.step(examples=sum(len(batch) for batches in visits for batch in batches)):
                server.step([client.send(server.weights, batches) for batches in visits])
            outcomes.append(RoundOutcome(left_out=client.left_out - before))
            done = charged_steps(self._regime, plan, number + 1)  # never more than the ledger holds
            at.progress.step(done, charged_steps(self._regime, plan, rounds))
            if (number + 1) % self._regime.evaluate_every == 0 or number + 1 == rounds:
                with at.clock.stage("evaluating"):
                    look.at_round(number + 1, server.weights)
        write_rounds(job, plan, outcomes, [self._mechanism.clipping_norm] * rounds, look, at)
        return Trained(weights=server.weights, choice=client.choice, notes=self._notes(rounds))

    def _client(self) -> SiloClient | LocalClient:
        own = (self._backend, self._model, self._examples)
        noise = self._mechanism.noise_multiplier
        if isinstance(self._regime, SiloDPFedAvg):
            return SiloClient(
                self._regime,
                *own,
                noise_multiplier=noise,
                sample_rate=self._mechanism.sample_rate,
                execution=self._job.execution,
            )
        return LocalClient(self._regime, *own, noise_multiplier=noise)

    def _check(self, plan: FederatedPlan) -> None:
        """Refuse a plan by which clients would do what is not charged for, or that follows from what they hold."""
        held = np.repeat(np.repeat(plan.visits, plan.steps), np.diff(plan.batches.offsets))
        if (self._owners[plan.batches.indices] != held).any():
            raise PrivacyError(f"{self._job.id}: a client's batches hold examples of another; start a new run")
        if not isinstance(self._regime, SiloDPFedAvg):
            return
        if (plan.steps != self._regime.local_steps).any():
            raise PrivacyError(f"{self._job.id}: clients take other steps than the regime's; start a new run")
        sizes = np.bincount(self._owners[self._owners >= 0], minlength=int(plan.visits.max(initial=0)) + 1)
        for size in np.unique(sizes[plan.visits]):
            steps = np.diff(plan.batches.offsets)[np.repeat(sizes[plan.visits] == size, plan.steps)]
            check_draws(self._mechanism, steps, examples=int(size), name=self._job.id)

    def _charge(self, plan: FederatedPlan, first: int, end: int) -> None:
        steps = [charged_steps(self._regime, plan, number) for number in (first, end)]
        if steps[0] == steps[1]:
            return  # whoever comes has come less often than another, whose steps are charged
        entry = make_charge(
            self._mechanism,
            first=steps[0],
            end=steps[1],
            plan=self._commitment,
            data=self._job.data_fingerprint,
            block=block_participation(self._mechanism, plan, first=first, end=end),
            drawn=drawn_for(self._mechanism, backend=self._job.backend, weights=self._model.weights),
        )
        charge(self._ledger, entry)

    def _notes(self, rounds: int) -> tuple[str, ...]:
        notes = []
        if rounds < self._regime.rounds:
            target = f"epsilon {self._regime.epsilon:g}" if self._regime.epsilon else "its target"
            notes.append(f"stopped after {rounds} of {self._regime.rounds} rounds: one more would pass {target}")
        if self._mechanism.attempt > 1:
            notes.append("began anew after an interruption, on new batches: parity with other backends is lost")
        return tuple(notes)


def local_update(trainer: Trainer, weights: Weights, client: Client, *, learning_rate: float) -> Weights:
    """Train from the global weights on a client's batches, without privacy, and give the change."""
    trainer.restore(weights, {})
    for inputs, labels in client:
        trainer.step(inputs, labels, learning_rate=learning_rate)
    return _change(trainer.weights(), weights)


def _change(after: Weights, before: Weights) -> Weights:
    return {name: part - before[name] for name, part in after.items()}
