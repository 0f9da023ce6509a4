"""Which client holds which examples: drawn once, from a public stream, for all backends.

An owner of -1 marks an example that no client holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Ints
from trustml.errors import RecordError, ScenarioError
from trustml.scenario.partition import IID, Dirichlet, NaturalKey, Partition, Quantity, Shards

_MOST_DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class Keyed:
    """Labels of some examples, and their values in the columns that may make clients.

    Attributes
    ----------
    labels : int64 array of shape (n,)
    keys : mapping of str to str array of shape (n,)
    """

    labels: Ints
    keys: Mapping[str, npt.NDArray[np.str_]]


@dataclass(frozen=True, kw_only=True)
class Clients:
    """A partition as drawn.

    Attributes
    ----------
    owners : int64 array of shape (n,)
        Client of each training example.
    held_out : int64 array of shape (m,)
        Client whose accuracy each held-out example counts for.
    names : tuple of str
        Of the clients.
    """

    owners: Ints
    held_out: Ints
    names: tuple[str, ...]

    @property
    def sizes(self) -> Ints:
        """Training examples of each client; shape (clients,)."""
        return np.bincount(self.owners[self.owners >= 0], minlength=len(self.names))

    @property
    def left_out(self) -> int:
        """Training examples that no client holds."""
        return int((self.owners < 0).sum())

    def fingerprint(self) -> str:
        """SHA-256 of who holds what."""
        return owners_fingerprint(self.owners)


def owners_fingerprint(owners: Ints) -> str:
    """SHA-256 of the client of every training example."""
    return hashlib.sha256(np.ascontiguousarray(owners, np.int64).tobytes()).hexdigest()


def read_owners(
    arrays: Mapping[str, npt.NDArray[Any]],
    *,
    name: str,
    examples: int,
    clients: int | None = None,
    of: Literal["owners", "held_out"] = "owners",
) -> tuple[Ints, int]:
    """Take who holds what from a file that anybody may have made.

    Parameters
    ----------
    arrays : mapping of str to array
        Of the file.
    name : str
        Of the file, for errors.
    examples : int
        Of which it has to tell.
    clients : int, optional
        How many there are; by default as many as it names.
    of : {"owners", "held_out"}
        Whose training examples, or whose held-out ones.

    Returns
    -------
    owners : int64 array of shape (examples,)
    clients : int

    Raises
    ------
    RecordError
        If it does not give each example one of the clients, or none (-1).
    """
    if clients is None:
        clients = np.size(arrays.get("names", ()))
    owners = arrays.get(of)
    if owners is None or not clients:
        raise RecordError(f"{name}: holds no clients; start a new run")
    fits = owners.shape == (examples,) and owners.dtype.kind in "iu"
    if not fits or (examples and not (int(owners.min()) >= -1 and int(owners.max()) < clients)):
        raise RecordError(
            f"{name}: does not tell which of {clients} clients has each of {examples} examples; it is damaged, so "
            "start a new run"
        )
    return owners.astype(np.int64), clients


def draw_clients(
    partition: Partition, *, train: Keyed, test: Keyed, generator: np.random.Generator, field: str
) -> Clients:
    """Split the training examples over clients, and say which held-out examples stand for which client.

    Held-out examples follow the natural key; without one, those of a class are dealt out in proportion to the
    training examples of that class that each client holds.

    Parameters
    ----------
    partition : Partition
    train, test : Keyed
    generator : Generator
    field : str
        Path of the partition in the scenario, for errors.

    Raises
    ------
    ScenarioError
        If some client would be left without its fewest examples, or the key gives fewer than two clients.
    """
    if isinstance(partition, NaturalKey):
        return clients_by_key(
            partition.columns, minimum=partition.minimum, train=train, test=test, field=f"{field}.columns"
        )
    count, examples = partition.clients, len(train.labels)
    least = count * (partition.minimum if isinstance(partition, Dirichlet | Quantity) else 1)
    if least > examples:
        raise ScenarioError(
            f"{field}.clients",
            f"{count} clients of {least // count} examples or more need {least} of the {examples} training examples",
            fix=f"use {examples * count // least} clients or fewer",
        )
    match partition:
        case IID():
            owners = np.empty(examples, np.int64)
            for client, part in enumerate(np.array_split(generator.permutation(examples), count)):
                owners[part] = client
        case Dirichlet():
            owners = _label_skew(partition, train.labels, generator, field)
        case Quantity():
            owners = _quantity_skew(partition, examples, generator)
        case Shards():
            owners = _shards(partition, train.labels, generator, field)
    held_out = _dealt_alike(train.labels, owners, test.labels, clients=count, generator=generator)
    return Clients(owners=owners, held_out=held_out, names=tuple(f"client {i}" for i in range(count)))


def label_counts(clients: Clients, labels: Ints, *, classes: int) -> Ints:
    """Training examples of each class that each client holds; shape (clients, classes)."""
    held = clients.owners >= 0
    flat = clients.owners[held] * classes + labels[held]
    return np.bincount(flat, minlength=len(clients.names) * classes).reshape(len(clients.names), classes)


def _label_skew(partition: Dirichlet, labels: Ints, generator: np.random.Generator, field: str) -> Ints:
    owners = np.empty(len(labels), np.int64)
    for _ in range(_MOST_DRAWS):
        for label in np.unique(labels):
            members = generator.permutation(np.flatnonzero(labels == label))
            shares = generator.dirichlet(np.full(partition.clients, partition.alpha))
            cuts = np.round(np.cumsum(shares)[:-1] * len(members)).astype(np.int64)
            for client, part in enumerate(np.split(members, cuts)):
                owners[part] = client
        if np.bincount(owners, minlength=partition.clients).min() >= partition.minimum:
            return owners
    raise ScenarioError(
        f"{field}.alpha",
        f"{partition.alpha:g} left some client with fewer than {partition.minimum} examples in {_MOST_DRAWS} draws",
        fix="use a larger alpha, fewer clients or a smaller minimum",
    )


def _quantity_skew(partition: Quantity, examples: int, generator: np.random.Generator) -> Ints:
    spare = examples - partition.clients * partition.minimum
    shares = generator.dirichlet(np.full(partition.clients, partition.alpha))
    cuts = np.round(np.cumsum(shares) * spare).astype(np.int64)
    sizes = np.diff(cuts, prepend=0) + partition.minimum
    return generator.permutation(np.repeat(np.arange(partition.clients), sizes))


def _shards(partition: Shards, labels: Ints, generator: np.random.Generator, field: str) -> Ints:
    count = partition.clients * partition.per_client
    if count > len(labels):
        raise ScenarioError(
            f"{field}.per_client",
            f"{count} shards are more than the {len(labels)} training examples",
            fix=f"use {len(labels) // partition.clients} or fewer",
        )
    by_label = generator.permutation(len(labels))
    by_label = by_label[np.argsort(labels[by_label], kind="stable")]
    owners = np.empty(len(labels), np.int64)
    of_shard = np.repeat(np.arange(partition.clients), partition.per_client)
    for client, part in zip(generator.permutation(of_shard), np.array_split(by_label, count), strict=True):
        owners[part] = client
    return owners


def clients_by_key(
    columns: Sequence[str], *, minimum: int = 1, train: Keyed, test: Keyed, field: str, of: str = "federation"
) -> Clients:
    """Make one client, or user, of each value of a column, or of several together.

    Parameters
    ----------
    columns : sequence of str
    minimum : int
        Smaller clients are left out.
    train, test : Keyed
    field, of : str
        Path of the columns in the scenario, and what they are to make, for errors.

    Raises
    ------
    ScenarioError
        If the data keeps no such column, or it gives fewer than two clients.
    """
    for column in columns:
        if column not in train.keys:
            known = ", ".join(train.keys)
            raise ScenarioError(
                field,
                f"{column!r} is no key of the data",
                fix=f"choose among {known}" if known else f"name it in data.keys, as keys=({column!r},)",
            )
    values = _joined(columns, train)
    names, owners, sizes = np.unique(values, return_inverse=True, return_counts=True)
    kept = np.flatnonzero(sizes >= minimum)
    if len(kept) < 2:
        what = f"one value, {str(names[0])!r}" if len(names) == 1 else f"{len(kept)} clients of {minimum} examples"
        raise ScenarioError(
            field,
            f"{' and '.join(columns)} has {what}: no {of}",
            fix="choose another column" if len(names) == 1 else "use a smaller minimum, or another column",
        )
    number = np.full(len(names), -1, np.int64)
    number[kept] = np.arange(len(kept))
    of_test = {str(name): client for name, client in zip(names[kept], range(len(kept)), strict=True)}
    held_out = np.array([of_test.get(str(value), -1) for value in _joined(columns, test)], np.int64)
    return Clients(owners=number[owners], held_out=held_out, names=tuple(map(str, names[kept])))


def _joined(columns: Sequence[str], examples: Keyed) -> npt.NDArray[np.str_]:
    parts = [examples.keys[column] for column in columns]
    if len(parts) == 1:
        return parts[0]
    # A slash of a value is doubled, so that different rows never read the same.
    rows = zip(*(np.char.replace(part, "/", "//") for part in parts), strict=True)
    return np.array([" / ".join(row) for row in rows], dtype=np.str_)


def _dealt_alike(
    labels: Ints, owners: Ints, test_labels: Ints, *, clients: int, generator: np.random.Generator
) -> Ints:
    """Deal the held-out examples of each class out by the clients' shares of it."""
    held_out = np.full(len(test_labels), -1, np.int64)
    for label in np.unique(test_labels):
        members = generator.permutation(np.flatnonzero(test_labels == label))
        of_class = np.bincount(owners[labels == label], minlength=clients)
        if not of_class.sum():
            continue
        # Where each client's share ends, shifted by one random offset: unbiased, and no client favoured by order.
        order = generator.permutation(clients)
        ends = np.cumsum(of_class[order]) / of_class.sum() * len(members)
        place = (np.arange(len(members)) + generator.random()) % len(members)
        held_out[members] = order[np.searchsorted(ends, place, side="right").clip(max=clients - 1)]
    return held_out
