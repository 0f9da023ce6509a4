"""The federated training loop, written once for every backend.

A round: charge if it is private and the ledger has not paid for it; hand the clients their batches; let the
library train, aggregate and step; look at the held-out examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from trustml.backends.contract import Backend, Client, Federation, Model
from trustml.backends.settings import FederatedSettings, RoundOutcome, UserPrivacy
from trustml.data.clients import FederatedPlan
from trustml.data.dataset import Examples
from trustml.data.partition import owners_fingerprint, read_owners
from trustml.errors import PrivacyError
from trustml.models.answers import recorded_losses, right, score
from trustml.models.tasks import Regression, facts_of
from trustml.models.weights import Weights
from trustml.plan.job import TrainJob, rounds_file
from trustml.plan.mechanism import check_draws, drawn_for, make_charge
from trustml.plan.user_mechanism import block_participation
from trustml.privacy.ledger import charge, read_ledger
from trustml.privacy.noise_strategy import noise_strategy
from trustml.record.files import encode_arrays, inside, read_arrays, write_atomic
from trustml.scenario.clipping import Adaptive
from trustml.scenario.federated import DPFedAvg, FedAvg, FederatedRegime
from trustml.worker.job_context import JobContext, Trained
from trustml.worker.learning_curve import HISTORY
from trustml.worker.predicting import predict_recorded
from trustml.worker.prepared import held_out_examples
from trustml.worker.private import entropy_words


class FederatedDriver:
    """One attempt at one federated training.

    Parameters
    ----------
    job : TrainJob
        Of a federated regime.
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
        if not isinstance(job.regime, FederatedRegime) or (job.mechanism is None) == isinstance(job.regime, DPFedAvg):
            raise PrivacyError(f"{job.id}: its regime and its mechanism do not go together")
        self._job, self._regime, self._mechanism = job, job.regime, job.mechanism
        self._backend, self._model, self._examples = backend, model, examples
        self._commitment, self._at = commitment, at
        self._masked = isinstance(job.regime, FedAvg) and job.regime.aggregation == "masked"
        self._ledger = at.folder / "ledger.jsonl"
        owners, _ = read_owners(read_arrays(inside(at.root, job.clients)), name=job.clients, examples=len(examples))
        if job.mechanism is not None and owners_fingerprint(owners) != job.mechanism.users:
            raise PrivacyError(f"{job.clients}: is not the partition whose users {job.id} protects")
        if any(entry.plan == commitment for entry in read_ledger(self._ledger)):
            raise PrivacyError(f"{job.id}: an earlier attempt used these cohorts; a new attempt needs new ones")

    def run(self, plan: FederatedPlan) -> Trained:
        """Take all rounds that the mechanism allows."""
        at, mechanism = self._at, self._mechanism
        rounds = len(plan) if mechanism is None else min(mechanism.steps, len(plan))
        if mechanism is not None:
            check_draws(mechanism, np.diff(plan.rounds), examples=mechanism.examples, name=self._job.id)
        with at.clock.stage("federation_setup"):
            federation = self._federation(plan)
        look = Look(self._job, self._backend, self._model, at=at)
        outcomes: list[RoundOutcome] = []
        clips: list[float] = []
        for number in range(rounds):
            if mechanism is not None and number % mechanism.steps_per_charge == 0:
                self._charge(plan, number, min(number + mechanism.steps_per_charge, rounds))
            clips.append(federation.clipping_norm())
            clients: list[Client] = [
                [(self._examples.inputs[batch], self._examples.labels[batch]) for batch in batches]
                for batches in plan.round(number)
            ]
            seen = sum(len(labels) for client in clients for _, labels in client)
            if clients or mechanism is not None:
                with at.clock.step(examples=seen):
                    outcomes.append(federation.round(clients))
            else:  # nobody came, and there is no noise to add
                outcomes.append(RoundOutcome(summed=False))
            at.progress.step(number + 1, rounds)
            if (number + 1) % self._regime.evaluate_every == 0 or number + 1 == rounds:
                with at.clock.stage("evaluating"):
                    look.at_round(number + 1, federation.weights())
        write_rounds(self._job, plan, outcomes, clips, look, at)
        return Trained(weights=federation.weights(), choice=federation.choice, notes=self._notes(outcomes, rounds))

    def _federation(self, plan: FederatedPlan) -> Federation:
        if self._masked:
            from trustml.worker.masked import MaskedFederation

            asked = plan.asked[np.diff(plan.rounds) > 0]
            return MaskedFederation(self._regime, self._backend, self._model, asked=asked, seed=self._job.seed)
        settings = FederatedSettings(
            regime=self._regime,
            privacy=self._privacy(),
            noise_seed=entropy_words(),
            batch_size=max(1, plan.batches.largest),
        )
        return self._backend.federated(self._model, settings)

    def _privacy(self) -> UserPrivacy | None:
        mechanism, regime = self._mechanism, self._regime
        if mechanism is None or not isinstance(regime, DPFedAvg):
            return None
        needed = noise_strategy(regime.mechanism, steps=mechanism.total_steps, separation=mechanism.separation)
        if mechanism.noise != "independent" and needed.participation > mechanism.largest_participation:
            raise PrivacyError(
                f"{self._job.id}: its noise needs a participation of {needed.participation}, "
                f"and {mechanism.largest_participation} is charged; start a new run"
            )
        adaptive = regime.clipping if isinstance(regime.clipping, Adaptive) else None
        return UserPrivacy(
            mechanism=regime.mechanism,
            noise_multiplier=mechanism.noise_multiplier,
            clipping_norm=mechanism.clipping_norm,
            quantile=adaptive.quantile if adaptive else 0.5,
            clip_learning_rate=adaptive.learning_rate if adaptive else 0.0,
            count_noise=mechanism.count_noise,
            expected_clients=mechanism.expected_batch_size,
            separation=mechanism.separation,
        )

    def _charge(self, plan: FederatedPlan, first: int, end: int) -> None:
        mechanism = self._mechanism
        assert mechanism is not None
        most = block_participation(mechanism, plan, first=first, end=end)
        entry = make_charge(
            mechanism,
            first=first,
            end=end,
            plan=self._commitment,
            data=self._job.data_fingerprint,
            block=most,
            drawn=drawn_for(mechanism, backend=self._job.backend, federated=True, weights=self._model.weights),
        )
        charge(self._ledger, entry)

    def _notes(self, outcomes: list[RoundOutcome], rounds: int) -> tuple[str, ...]:
        notes = []
        mechanism = self._mechanism
        if mechanism is not None and rounds < mechanism.total_steps:
            epsilon = self._regime.epsilon if isinstance(self._regime, DPFedAvg) else None
            target = f"epsilon {epsilon:g}" if epsilon else "its target"
            notes.append(f"stopped after {rounds} of {mechanism.total_steps} rounds: one more would pass {target}")
        if mechanism is not None and mechanism.attempt > 1:
            notes.append("began anew after an interruption, on new cohorts: parity with other backends is lost")
        left_out = sum(outcome.left_out for outcome in outcomes)
        if left_out and mechanism is None:
            notes.append(f"{left_out} updates were not finite and counted as zero")
        missed = sum(not outcome.summed for outcome in outcomes)
        if missed and self._masked:
            notes.append(
                f"{missed} of {rounds} rounds gave nothing: fewer clients were asked or stayed than secure sums need"
            )
        return tuple(notes)


def write_rounds(
    job: TrainJob,
    plan: FederatedPlan,
    outcomes: Sequence[RoundOutcome],
    clips: Sequence[float],
    look: Look,
    at: JobContext,
) -> None:
    """Write how good the model was as it was looked at, and what each round came to."""
    history = {"rounds": look.rounds, facts_of(job.task).score: look.score, "loss": look.loss}
    write_atomic(at.folder / HISTORY, encode_arrays({k: np.array(v) for k, v in history.items()}))
    norms = [np.nan if outcome.update_norm is None else outcome.update_norm for outcome in outcomes]
    rounds: dict[str, npt.NDArray[np.generic]] = {
        "participants": np.diff(plan.rounds)[: len(outcomes)],
        "asked": plan.asked[: len(outcomes)],
        "update_norm": np.array(norms, np.float64),
        "clipping_norm": np.array(clips, np.float64),
        "left_out": np.array([outcome.left_out for outcome in outcomes], np.int64),
        "client_mean": np.array(look.client_mean),
        "client_tenth": np.array(look.client_tenth),
        "client_worst": np.array(look.client_worst),
        "client_best": np.array(look.client_best),
    }
    if any(outcome.bytes_up for outcome in outcomes):
        rounds["sent_up"] = np.array([outcome.bytes_up for outcome in outcomes], np.int64)
        rounds["sent_down"] = np.array([outcome.bytes_down for outcome in outcomes], np.int64)
    private = job.mechanism is not None
    write_atomic(inside(at.root, rounds_file(job)), encode_arrays(rounds), private=private)


class Look:
    """Held-out accuracy of the global model, over all examples and for each client; R2 of all for a regression."""

    def __init__(self, job: TrainJob, backend: Backend, model: Model, *, at: JobContext) -> None:
        held_out = held_out_examples(inside(at.root, job.data))
        self._inputs, self._labels = held_out.inputs, held_out.labels
        clients = read_arrays(inside(at.root, job.clients))
        count = len(self._labels)
        self._owners, self._count = read_owners(clients, name=job.clients, examples=count, of="held_out")
        self._backend, self._model = backend, model
        self.rounds: list[int] = []
        self.score: list[float] = []
        self.loss: list[float] = []
        self.client_mean: list[float] = []
        self.client_tenth: list[float] = []
        self.client_worst: list[float] = []
        self.client_best: list[float] = []

    def at_round(self, number: int, weights: Weights) -> None:
        """Note how good the present model is."""
        network = self._backend.network(replace(self._model, weights=weights))
        task = self._model.task
        outputs = predict_recorded(network, self._inputs, self._labels, task=task)
        self.rounds.append(number)
        self.score.append(score(task, outputs, self._labels))
        self.loss.append(float(recorded_losses(task, outputs, self._labels).mean()))
        each = np.zeros(0)
        if not isinstance(task, Regression):
            each = client_accuracies(right(task, outputs, self._labels), self._owners, clients=self._count)
            each = each[np.isfinite(each)]
        self.client_mean.append(float(each.mean()) if len(each) else np.nan)
        self.client_tenth.append(float(np.quantile(each, 0.1)) if len(each) else np.nan)
        self.client_worst.append(float(each.min()) if len(each) else np.nan)
        self.client_best.append(float(each.max()) if len(each) else np.nan)


def client_accuracies(
    right: npt.NDArray[np.float64], owners: npt.NDArray[np.int64], *, clients: int
) -> npt.NDArray[np.float64]:
    """Held-out accuracy of each client; NaN for one without held-out examples; shape (clients,)."""
    held = owners >= 0
    count = np.bincount(owners[held], minlength=clients)
    hits = np.bincount(owners[held], weights=right[held], minlength=clients)
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, hits / np.maximum(count, 1), np.nan)
