"""Every loss of one backend, in its environment: ``BACKEND OUTPUT.npz``; a test holds it against the oracle."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests import WHOLE
from tests.models.task_cases import EXAMPLES, STEPS, TASKS_TRIED, draw_labels, outputs_of
from trustml.backends.contract import Backend, Federation, Model
from trustml.backends.settings import EngineChoice, FederatedSettings, PrivateSettings, UserPrivacy
from trustml.backends.table import load_backend
from trustml.data.dataset import Examples
from trustml.data.user_rows import stacked, user_rows
from trustml.models.layers import GRU, Add, Architecture, Dense, LayerNorm, Node, ReLU
from trustml.models.tasks import NextToken, Task
from trustml.models.token_layers import Attention, Embedding, Pick, Reshape
from trustml.models.weights import Weights, initial_weights
from trustml.models.zoo import mlp
from trustml.scenario.federated import DPFedAvg, FedAvg, IndependentNoise
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import IID
from trustml.scenario.regimes import Plain

FEATURES, RATE, NORM = 4, 0.1, 0.3
INPUTS = np.random.default_rng(0).normal(size=(EXAMPLES, FEATURES)).astype(np.float32)
COPIES = INPUTS[::-1] / 2
MODES = {"torch": ("hooks", "functorch", "ew", "book_keeping"), "tensorflow": ("dp_model", "book_keeping")}


EVERY, OF_EACH_KIND = tuple(range(len(TASKS_TRIED))), (3, 5, 8, 9)
ASKED: dict[str, tuple[int, ...]] = {
    "plain": EVERY if WHOLE else (3,),
    "clipped": EVERY if WHOLE else (1, 5, 8, 9),
    "copies": OF_EACH_KIND if WHOLE else (9,),
    "users": EVERY if WHOLE else (0, 9),
    "federated": OF_EACH_KIND if WHOLE else (),
}
"""Numbers of tasks. A federation has its loss from where plain training has it, so that one of each kind is enough,
with weights of classes and with what can be left out. In short each kind is asked for once, clipped where it can be,
and none without weights that has some."""
USERS = np.array([0, 0, 0, 1, 2, 2, 3])
"""Whose each example is: users have 3, 1, 2 and 1 rows."""


def model_of(task: Task) -> Model:
    architecture = mlp([5], classes=outputs_of(task))
    if isinstance(task, NextToken):
        layers = (Reshape(shape=(STEPS, FEATURES // STEPS)), Dense(units=5), ReLU(), Dense(units=outputs_of(task)))
        architecture = Architecture(layers=layers)
    weights = initial_weights(architecture, (FEATURES,), generator=np.random.default_rng(3))
    return Model(architecture=architecture, input_shape=(FEATURES,), weights=weights, task=task)


def private_settings(mode: str) -> PrivateSettings:
    return PrivateSettings(
        optimizer=SGD(learning_rate=RATE),
        expected_batch_size=EXAMPLES,
        noise_seed=(1, 2, 3, 4),
        grad_sample_mode=mode if mode in MODES["torch"] else "auto",
    )


def after_a_step(backend: Backend, task: Task) -> Weights:
    trainer = backend.plain(model_of(task), Plain(batch_size=EXAMPLES, optimizer=SGD(learning_rate=RATE)), 0)
    trainer.step(INPUTS, draw_labels(task), learning_rate=RATE)
    return trainer.weights()


def clipped(backend: Backend, task: Task, mode: str) -> Weights:
    force(mode)
    trainer = backend.private(model_of(task), private_settings(mode), 0)
    trainer.accumulate(INPUTS[:, None], draw_labels(task), clipping_norm=NORM)
    return trainer.clipped_sum()


def clipped_copies(backend: Backend, task: Task, mode: str) -> Weights:
    """Two copies of each example, whose gradients are averaged before clipping."""
    force(mode)
    settings = dataclasses.replace(private_settings(mode), multiplicity=2)
    trainer = backend.private(model_of(task), settings, 0)
    trainer.accumulate(np.stack([INPUTS, COPIES], axis=1), draw_labels(task), clipping_norm=NORM)
    return trainer.clipped_sum()


def clipped_users(backend: Backend, task: Task, mode: str) -> Weights:
    """The mean over each user's rows is clipped; two users come alone, so that what fills up is there in every way."""
    force(mode)
    settings = dataclasses.replace(private_settings(mode), multiplicity=3, rows_of_users=True)
    trainer = backend.private(model_of(task), settings, 0)
    examples = Examples(inputs=INPUTS, labels=draw_labels(task))
    users = user_rows(USERS, np.ones(EXAMPLES, bool), users=4)
    for batch in (np.arange(2), np.arange(2, 4)):
        inputs, labels = stacked(examples, users.chosen(batch, most=3, entropy=()), most=3)
        found = trainer.accumulate(inputs, labels, clipping_norm=NORM)
        assert found.finite
    return trainer.clipped_sum()


def force(mode: str) -> None:
    """Let TensorFlow clip in one of its ways."""
    if mode in MODES["tensorflow"] and "tensorflow" in sys.modules:
        from trustml.backends.tensorflow import dp

        dp.choose_mode = lambda *_: EngineChoice(name=mode, seconds={}, refused={})


TEXTS = np.array([[1, 2, 3], [3, 3, 0], [2, 1, 0], [1, 3, 2]], np.float32)
TEXT_LABELS = np.array([2, 0, 1, 0])
GRAPH = Architecture(  # attention beside a shortcut, a norm, recurrent steps: weights in no order of their own
    layers=(
        Node(name="tokens", layer=Embedding(vocabulary=4, width=3), inputs=("input",)),
        *(Node(name=name, layer=Dense(units=3), inputs=("tokens",)) for name in ("query", "key", "value")),
        Node(name="heads", layer=Attention(heads=1, causal=True), inputs=("query", "key", "value")),
        Node(name="both", layer=Add(), inputs=("heads", "tokens")),
        Node(name="norm", layer=LayerNorm()),
        Node(name="recurrent", layer=GRU(units=3)),
        Node(name="last", layer=Pick(index=-1)),
        Node(name="logits", layer=Dense(units=3)),
    )
)


def after_private_rounds(make: Callable[[Model, FederatedSettings], Federation]) -> Weights:
    """Two rounds of three clients, one of whom has nothing, whose updates are clipped; noise is off."""
    weights = initial_weights(GRAPH, TEXTS.shape[1:], generator=np.random.default_rng(4))
    weights = {name: part + np.float32(0.3) * (name.endswith(("scale", "bias"))) for name, part in weights.items()}
    model = Model(architecture=GRAPH, input_shape=TEXTS.shape[1:], weights=weights)
    local = SGD(learning_rate=0.5, momentum=0.5)
    regime = DPFedAvg(rounds=2, batch_size=2, noise_multiplier=1.0, client_optimizer=local)
    privacy = UserPrivacy(mechanism=IndependentNoise(), noise_multiplier=0.0, clipping_norm=0.2, expected_clients=3)
    settings = FederatedSettings(regime=regime, privacy=privacy, noise_seed=(1, 2, 3, 4), batch_size=2)
    federation = make(model, settings)
    for _ in range(2):
        batches = [(TEXTS[rows], TEXT_LABELS[rows]) for rows in (slice(0, 2), slice(2, 3), slice(3, 4))]
        federation.round([batches[:2], batches[2:], []])
    return federation.weights()


def after_a_round(backend: Backend, task: Task) -> Weights:
    regime = FedAvg(
        rounds=1, local_epochs=1, batch_size=4, partition=IID(clients=2), client_optimizer=SGD(learning_rate=RATE)
    )
    settings = FederatedSettings(regime=regime, noise_seed=(1, 2, 3, 4), batch_size=4)
    federation = backend.federated(model_of(task), settings)
    labels = draw_labels(task)
    federation.round([[(INPUTS[:4], labels[:4])], [(INPUTS[4:], labels[4:])], []])
    return federation.weights()


def everything(name: str) -> dict[str, np.ndarray]:
    backend, found = load_backend(name), {}
    ways = MODES.get(name, ("auto",))

    def keep(number: int, title: str, weights: Weights) -> None:
        found.update({f"{number}/{title}/{k}": part for k, part in weights.items()})

    for place, number in enumerate(ASKED["clipped"]):
        half = ways[place % 2 :: 2] or ways  # in short each way has some task of every kind
        for way in ways if WHOLE else half:
            keep(number, f"clipped by {way}", clipped(backend, TASKS_TRIED[number], way))
    for number in ASKED["plain"]:
        keep(number, "plain", after_a_step(backend, TASKS_TRIED[number]))
    for number in ASKED["copies"]:
        keep(number, "copies", clipped_copies(backend, TASKS_TRIED[number], ways[-1]))
    for place, number in enumerate(ASKED["users"]):
        for way in ways if WHOLE else (ways[place % len(ways)],):
            keep(number, f"users by {way}", clipped_users(backend, TASKS_TRIED[number], way))
    for number in ASKED["federated"]:
        keep(number, "federated", after_a_round(backend, TASKS_TRIED[number]))
    rounds = after_private_rounds(backend.federated)
    return found | {f"graph/{name}": part for name, part in rounds.items()}


if __name__ == "__main__":
    np.savez(Path(sys.argv[2]), **everything(sys.argv[1]))
