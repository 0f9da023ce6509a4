"""Rows made again from updates of clients, and typical inputs of classes from a trained model.

What is made, and of whom, never leaves this process: the job keeps how near it is to rows, under ``private/``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.attacks.reconstruction import dense_inputs, first_dense, nearness
from trustml.backends.contract import Backend, Model, Network
from trustml.backends.settings import InversionSettings
from trustml.data.dataset import Examples, Floats, Ints, LabelArray
from trustml.data.partition import read_owners
from trustml.errors import DataError, RecordError
from trustml.models.shapes import weight_shapes
from trustml.models.tasks import Binary, Classes, Labels, Regression, Task
from trustml.models.weights import Weights, read_weights
from trustml.plan.job import ReconstructionJob
from trustml.record.files import encode_arrays, inside, read_arrays, write_atomic
from trustml.scenario.attacks import GradientInversion, ModelInversion
from trustml.scenario.federated import DPFedAvg, FederatedSpec, LocalDPFedAvg, LocalSpec
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import Plain
from trustml.worker.job_context import JobContext
from trustml.worker.predicting import predict
from trustml.worker.prepared import read_prepared

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
FEWEST_OF_LABEL = 10
"""Held-out rows of a label, below which no row of it is looked for."""
_MOST_CLASSES = 20
_MOST_MATCHED = 9
"""Other rows that an update is held against: each takes as many local trainings as there are updates."""


def reconstruct(job: ReconstructionJob, backend: Backend, *, at: JobContext) -> str:
    """Attack one model, write how near what was made is, and give the library's name.

    Raises
    ------
    NotImplementedError
        If the backend inverts no gradients.
    RecordError
        If the job is of no federated regime and has updates to attack.
    """
    if backend.invert is None:
        raise NotImplementedError(f"{job.id}: {job.backend} makes no inputs of gradients")
    with at.clock.stage("data"):
        train, held_out = read_prepared(inside(at.root, job.data), fingerprint=job.data_fingerprint)
        shapes = weight_shapes(job.model, job.input_shape)
        files = {"first": job.initial_weights, "last": job.weights}
        weights = {name: read_weights(inside(at.root, file), expected=shapes) for name, file in files.items()}
    model = Model(architecture=job.model, input_shape=job.input_shape, weights=weights["last"], task=job.task)
    found: Arrays = {}
    if job.gradients is not None:
        if not isinstance(job.regime, FederatedSpec):
            raise RecordError(f"{job.id}: has updates to attack, and {job.regime.title} is not federated")
        owners, _ = read_owners(read_arrays(inside(at.root, job.clients)), name=job.clients, examples=len(train))
        chosen = choose(job.gradients, job.task, owners, train, held_out, generator=np.random.default_rng())
        found["sets"] = np.unique(chosen.sets, return_inverse=True)[1]
        at.progress.stage("attacking updates")
        send = client_updates(job.regime, backend, model)
        for number, (name, known) in enumerate(weights.items()):
            with at.clock.stage(f"{name}_round"):
                at_moment = _of_updates(job, job.gradients, backend, replace(model, weights=known), send, chosen)
                found |= {f"{name}.{key}": array for key, array in at_moment.items()}
            at.progress.step(number + 1, len(weights))
    if job.inversion is not None:
        at.progress.stage("inverting the model")
        with at.clock.stage("inversion"):
            found |= of_model(backend.network(model), train, held_out, asked=job.inversion, task=job.task)
    write_atomic(inside(at.root, job.output), encode_arrays(found), private=True)
    return "trustml"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Updates that are attacked, and rows that the row of each is told from.

    Attributes
    ----------
    updates : Examples
        Rows of shape (k, r, *x), and their labels; the first of each is looked for.
    others : float32 array of shape (k, n, *x)
        Held-out rows with its label.
    sets : int64 array of shape (k,)
        Which set of held-out rows those are.
    centre, spread, low, high : float32 array of shape (*x)
        Of held-out rows.
    """

    updates: Examples
    others: Floats
    sets: Ints
    centre: Floats
    spread: Floats
    low: Floats
    high: Floats


def choose(
    asked: GradientInversion,
    task: Task,
    owners: Ints,
    train: Examples,
    held_out: Examples,
    *,
    generator: np.random.Generator,
) -> Chosen:
    """Draw clients in turn, rows of each, and as many held-out rows beside.

    Raises
    ------
    DataError
        If no client holds so many rows, or no label has ten held-out ones.
    """
    kinds, other_kinds = _kinds(task, train, held_out)
    counts = np.bincount(other_kinds, minlength=int(kinds.max()) + 1)
    usable = counts[kinds] >= min(asked.among, FEWEST_OF_LABEL)
    if not usable.any():
        raise DataError(f"attacks.gradient_inversion: no label has {FEWEST_OF_LABEL} held-out rows to tell a row from")
    held = [generator.permutation(np.flatnonzero(owners == client)) for client in range(int(owners.max()) + 1)]
    generator.shuffle(held)
    batches: list[Ints] = []
    for turn in range(max(map(len, held)) // asked.rows):
        for rows in held:
            own = rows[turn * asked.rows : (turn + 1) * asked.rows]
            if len(own) == asked.rows and usable[own].any():
                batches.append(own[np.argsort(~usable[own], kind="stable")])
    if not batches:
        raise DataError(f"attacks.gradient_inversion.rows: no client holds {asked.rows} rows; ask for fewer")
    rows = np.stack(batches[: asked.updates])
    among = int(min(asked.among, counts[kinds[rows[:, 0]]].min()))
    others, sets = _dealt(other_kinds, kinds[rows[:, 0]], among=among, generator=generator)
    inputs = held_out.inputs
    return Chosen(
        updates=Examples(inputs=train.inputs[rows], labels=train.labels[rows]),
        others=inputs[others],
        sets=sets,
        centre=inputs.mean(axis=0),
        spread=inputs.std(axis=0),
        low=inputs.min(axis=0),
        high=inputs.max(axis=0),
    )


def _dealt(pool: Ints, wanted: Ints, *, among: int, generator: np.random.Generator) -> tuple[Ints, Ints]:
    """Deal each update a set of rows of its kind, in random order; nobody has another's set while there are more."""
    others, sets = np.zeros((len(wanted), among), np.int64), np.zeros(len(wanted), np.int64)
    for kind in np.unique(wanted):
        own, rows = np.flatnonzero(wanted == kind), generator.permutation(np.flatnonzero(pool == kind))
        dealt = rows[: len(rows) // among * among].reshape(-1, among)
        turns = np.arange(len(own)) % len(dealt)
        others[own] = generator.permuted(dealt[turns], axis=1)
        sets[own] = dealt[turns].min(axis=1)  # rows of a set are in no other
    return others, sets


def _kinds(task: Task, train: Examples, held_out: Examples) -> tuple[Ints, Ints]:
    """Number the labels of both sets; what is no class is all of one kind."""
    if isinstance(task, Regression | Labels):
        return np.zeros(len(train), np.int64), np.zeros(len(held_out), np.int64)
    both = np.concatenate([train.labels.reshape(len(train), -1), held_out.labels.reshape(len(held_out), -1)])
    numbers = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return numbers[: len(train)], numbers[len(train) :]


def _of_updates(
    job: ReconstructionJob, asked: GradientInversion, backend: Backend, model: Model, send: Send, chosen: Chosen
) -> Arrays:
    """Attack what clients send at these weights, and what comes of it with noise, where there is any."""
    assert isinstance(job.regime, FederatedSpec)
    sent = send(model.weights, chosen.updates)
    views = {"sent": sent}
    if job.noise_multiplier and isinstance(job.regime, DPFedAvg | LocalDPFedAvg):
        views = {} if isinstance(job.regime, LocalDPFedAvg) else views  # nobody but the client sees it before
        views["noisy"] = noisy(sent, deviation=job.noise_multiplier * job.regime.clipping_norm)
    most = np.max([np.abs(array).reshape(len(array), -1).max(axis=1) for array in sent.values()], axis=0)
    moved = np.array(int(np.count_nonzero(np.isfinite(most) & (most > 0))))
    found: Arrays = {"span": np.array(float((chosen.high - chosen.low).max())), "moved": moved}
    name = first_dense(model.architecture)
    for view, updates in views.items():
        gradients = {part: -array for part, array in updates.items()}
        if name:
            made = [
                dense_inputs({p: array[k] for p, array in gradients.items()}, name=name)
                for k in range(len(chosen.others))
            ]
            found |= _near(f"{view}.exact", made, chosen)
        if view == "noisy":
            found[f"{view}.matched.correlation"] = _matched(send, model.weights, updates, chosen)
        if asked.steps:
            made = list(_optimised(asked, backend, model, gradients, chosen))
            found |= _near(f"{view}.optimised", made, chosen)
    return found


Send: TypeAlias = Callable[[Weights, Examples], Weights]
"""From weights and batches of rows, (k, r, *x), to what each client sends that has one of them, (k, *shape)."""


def client_updates(regime: FederatedSpec, backend: Backend, model: Model) -> Send:
    """Give what clients send: compiled once, for any weights.

    By its own steps, clipped where the regime is private. The pull of FedProx is left out: it is nothing in the first
    step.
    """
    optimizer, epochs, size = SGD(learning_rate=1.0), 1, 0
    if isinstance(regime, LocalSpec | DPFedAvg | LocalDPFedAvg):
        optimizer, epochs, size = regime.client_optimizer, regime.local_epochs, regime.batch_size
    trainer = backend.plain(model, Plain(optimizer=optimizer), 0)

    def of_client(weights: Weights, inputs: Floats, labels: LabelArray) -> Weights:
        trainer.restore(weights, {})
        for _ in range(epochs):
            for start in range(0, len(inputs), size or len(inputs)):
                batch = slice(start, start + (size or len(inputs)))
                trainer.step(inputs[batch], labels[batch], learning_rate=optimizer.learning_rate)
        update = {name: array - weights[name] for name, array in trainer.weights().items()}
        return clipped(update, norm=regime.clipping_norm) if isinstance(regime, DPFedAvg | LocalDPFedAvg) else update

    def of_all(weights: Weights, rows: Examples) -> Weights:
        found = [of_client(weights, inputs, labels) for inputs, labels in zip(rows.inputs, rows.labels, strict=True)]
        return {name: np.stack([update[name] for update in found]) for name in weights}

    return of_all


def clipped(update: Weights, *, norm: float) -> Weights:
    """Give an update that is no longer than the norm."""
    length = float(np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in update.values())))
    return {name: (array * min(1.0, norm / max(length, 1e-300))).astype(np.float32) for name, array in update.items()}


def noisy(updates: Weights, *, deviation: float) -> Weights:
    """What whoever knows all other updates of a round learns of each: the update with the noise of the round."""
    generator = np.random.default_rng()
    return {
        name: (array + deviation * generator.normal(size=array.shape)).astype(np.float32)
        for name, array in updates.items()
    }


def _matched(send: Send, weights: Weights, seen: Weights, chosen: Chosen) -> npt.NDArray[np.float64]:
    """Log-likelihood of what was seen under each of a few rows that it may be of, times the noise's variance.

    No attack on one round finds a row more often that is one of those (Hayes et al. 2023, section 3.3): it is what the
    bound is held against. The other rows of the update are taken as known.
    """
    rows, labels = chosen.updates.inputs, chosen.updates.labels
    columns = [rows[:, :1], chosen.others[:, : _MOST_MATCHED + 1]]
    found = []
    for candidate in np.concatenate(columns, axis=1).swapaxes(0, 1):
        inputs = np.concatenate([candidate[:, None], rows[:, 1:]], axis=1)
        told = send(weights, Examples(inputs=inputs, labels=labels))
        products = [(seen[name] - told[name] / 2) * told[name].astype(np.float64) for name in told]
        found.append(sum(product.reshape(len(product), -1).sum(axis=1) for product in products))
    return np.stack(found, axis=1)


def _optimised(asked: GradientInversion, backend: Backend, model: Model, gradients: Weights, chosen: Chosen) -> Floats:
    assert backend.invert is not None
    shape = chosen.updates.inputs.shape
    draws = np.random.default_rng(0).normal(size=shape)
    settings = InversionSettings(
        gradients=gradients,
        labels=chosen.updates.labels,
        start=np.clip(chosen.centre + chosen.spread * draws, chosen.low, chosen.high).astype(np.float32),
        low=chosen.low,
        high=chosen.high,
        steps=asked.steps,
        total_variation=asked.total_variation,
    )
    return backend.invert(model, settings)


def _near(name: str, made: list[npt.NDArray[Any]], chosen: Chosen) -> Arrays:
    """How near what was made of each update is to its first row, and to the others."""
    flat = chosen.centre.reshape(-1)
    found = []
    for inputs, own, others in zip(made, chosen.updates.inputs, chosen.others, strict=True):
        rows = np.concatenate([own[:1], others]).reshape(1 + len(others), -1)
        found.append(nearness(inputs.reshape(len(inputs), len(flat)), rows, centre=flat))
    return {
        f"{name}.correlation": np.stack([likeness for likeness, _ in found]),
        f"{name}.error": np.stack([error for _, error in found]),
    }


def of_model(network: Network, train: Examples, held_out: Examples, *, asked: ModelInversion, task: Task) -> Arrays:
    """Make the typical input of every class, and say how near it is to rows of both sets.

    Raises
    ------
    NotImplementedError
        If the task has no classes.
    """
    if not isinstance(task, Classes | Binary):
        raise NotImplementedError(f"model inversion is of classes, and the task is {type(task).__name__}")
    inputs = held_out.inputs
    centre, bounds = inputs.mean(axis=0), (inputs.min(axis=0), inputs.max(axis=0))
    sides = {name: _drawn(rows, asked.rows) for name, rows in (("train", train), ("test", held_out))}
    classes = np.unique(sides["train"].labels.reshape(-1).astype(np.int64))[:_MOST_CLASSES]
    made = typical_inputs(network, classes, task=task, start=centre, bounds=bounds, steps=asked.steps)
    flat, at = made.reshape(len(made), -1), centre.reshape(-1)
    known = {name: rows.labels.reshape(-1).astype(np.int64) for name, rows in sides.items()}
    means = np.stack([train.inputs[train.labels.reshape(-1) == one].mean(axis=0).reshape(-1) for one in classes])
    found: Arrays = {}
    for name, rows in sides.items():
        own = np.isin(known[name], classes)
        labels, values = np.searchsorted(classes, known[name][own]), rows.inputs[own].reshape(int(own.sum()), -1)
        found |= {f"{name}_classes": labels, f"{name}_likeness": _likeness(values, flat[labels], at)}
        if name == "test":
            found["test_other"] = _likeness(values, flat[(labels + 1) % len(classes)], at)
            found["test_ceiling"] = _likeness(values, means[labels], at)
    return found


def _drawn(rows: Examples, most: int) -> Examples:
    chosen = np.random.default_rng().permutation(len(rows))[:most]
    return Examples(inputs=rows.inputs[chosen], labels=rows.labels[chosen])


def _likeness(rows: Floats, made: Floats, centre: Floats) -> npt.NDArray[np.float64]:
    one, other = (rows - centre).astype(np.float64), (made - centre).astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: npt.NDArray[np.float64] = (one * other).sum(axis=1) / np.where(lengths > 0, lengths, 1.0)
    return found


def typical_inputs(
    network: Network, classes: Ints, *, task: Task, start: Floats, bounds: tuple[Floats, Floats], steps: int
) -> Floats:
    """Climb the log-probability of each class from the mean input, within the range of inputs; (c, *x)."""
    low, high = bounds
    made = np.repeat(start[None], len(classes), axis=0).astype(np.float32)
    axes = tuple(range(1, made.ndim))
    for number in range(steps):
        slope = _slopes(network, made, classes, task=task)
        largest = np.abs(slope).max(axis=axes, keepdims=True)
        move = slope / np.where(largest > 0, largest, 1.0) * (high - low) * 0.1 * (1 - number / steps)
        made = np.clip(made + move, low, high).astype(np.float32)
    return made


def _slopes(network: Network, made: Floats, classes: Ints, *, task: Task) -> Floats:
    """Slope of the log-probability of each class by its input; of the likelier of two it is that of one logit."""
    logits = predict(network, made).astype(np.float64)
    if isinstance(task, Binary):
        slope = network.input_gradients(made, np.zeros(len(made), np.int64))
        return np.where(classes > 0, 1.0, -1.0).astype(np.float32).reshape(-1, *[1] * (made.ndim - 1)) * slope
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    weights = -shares
    weights[np.arange(len(made)), classes] += 1
    found = np.zeros(made.shape)
    for column in range(logits.shape[1]):
        slope = network.input_gradients(made, np.full(len(made), column, np.int64))
        found += weights[:, column].reshape(-1, *[1] * (made.ndim - 1)) * slope
    return found.astype(np.float32)
