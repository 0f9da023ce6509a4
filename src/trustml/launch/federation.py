"""Drawing the clients of a federated regime and who takes part in its rounds; users that a column names."""

from __future__ import annotations

import hashlib
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.data.clients import FederatedPlan, federated_plan, poisson_rounds
from trustml.data.dataset import Dataset, Ints
from trustml.data.labels import KindsOfExamples, kinds_of
from trustml.data.partition import Clients, Keyed, clients_by_key, draw_clients, label_counts
from trustml.data.streams import Stream, public_generator, secret_generator
from trustml.plan.client_mechanism import client_sample_rate
from trustml.scenario.federated import DPFedAvg, FederatedRegime, FedSGD, PrivateClients, SiloDPFedAvg
from trustml.scenario.regimes import DPSGD

AnyFederated: TypeAlias = FederatedRegime | PrivateClients


def draw_partition(regime: AnyFederated, dataset: Dataset, *, seed: int, field: str) -> Clients:
    """Split the data over clients; the same partition and seed always come to the same clients.

    Raises
    ------
    ScenarioError
        If the partition cannot be had from this data.
    """
    kinds = _kinds(dataset)
    return draw_clients(
        regime.partition,
        train=Keyed(labels=kinds.train, keys=dataset.train_keys),
        test=Keyed(labels=kinds.test, keys=dataset.test_keys),
        generator=public_generator(seed, Stream.CLIENTS),
        field=f"{field}.partition",
    )


def draw_users(regime: DPSGD, dataset: Dataset, *, field: str) -> Clients:
    """Tell users apart by the columns that a regime names.

    Raises
    ------
    ScenarioError
        If the data keeps no such column, or there are fewer than two users.
    """
    kinds = _kinds(dataset)
    return clients_by_key(
        regime.key_columns,
        train=Keyed(labels=kinds.train, keys=dataset.train_keys),
        test=Keyed(labels=kinds.test, keys=dataset.test_keys),
        field=f"{field}.key",
        of="users",
    )


def partition_arrays(clients: Clients, dataset: Dataset) -> dict[str, npt.NDArray[Any]]:
    """Give a partition as arrays, for a file, with the labels that each client holds."""
    kinds = _kinds(dataset)
    found: dict[str, npt.NDArray[Any]] = {
        "owners": clients.owners,
        "held_out": clients.held_out,
        "names": np.array(clients.names, dtype=np.str_),
        "label_counts": label_counts(clients, kinds.train, classes=len(kinds.names)),
    }
    if kinds.names != dataset.class_names:
        found["label_names"] = np.array(kinds.names, dtype=np.str_)
    return found


def _kinds(dataset: Dataset) -> KindsOfExamples:
    return kinds_of(dataset.task, dataset.train.labels, dataset.test.labels, names=dataset.class_names)


def draw_rounds(regime: AnyFederated, owners: Ints, *, clients: int, seed: int, attempt: int = 1) -> FederatedPlan:
    """Draw who takes part in each round, and the clients' batches.

    Cohorts of `DPFedAvg` come from operating-system entropy, unless it fixes a seed; those of another attempt are
    never those of an earlier one. Where clients are private themselves, cohorts are public and stay, and the batches of
    private steps come from operating-system entropy.
    """
    order = np.argsort(owners, kind="stable")
    members = np.split(order, np.searchsorted(owners[order], np.arange(clients)))[1:]
    cohorts = public_generator(seed, Stream.COHORTS)
    if isinstance(regime, SiloDPFedAvg):
        return poisson_rounds(
            members,
            cohort=regime.cohort,
            rounds=regime.rounds,
            local_steps=regime.local_steps,
            sample_rate=client_sample_rate(regime, examples=int((owners >= 0).sum()), clients=clients),
            cohorts=cohorts,
            batches=secret_generator(),
        )
    if isinstance(regime, DPFedAvg):
        fixed = regime.sampling_seed
        public = public_generator((fixed or 0) + seed + 1_000_003 * (attempt - 1), Stream.COHORTS)
        cohorts = secret_generator() if fixed is None else public
    sgd = isinstance(regime, FedSGD)
    return federated_plan(
        members,
        cohort=regime.cohort,
        rounds=regime.rounds,
        local_epochs=1 if isinstance(regime, FedSGD) else regime.local_epochs,
        batch_size=None if isinstance(regime, FedSGD) else regime.batch_size,
        cohorts=cohorts,
        # One gradient of all examples has no order to draw, so FedSGD is the same for all seeds.
        batches=lambda number, client: np.random.default_rng(
            [0 if sgd else seed, int(Stream.BATCHES), attempt, number, client]
        ),
    )


def salt(regime: AnyFederated, *, seed: int, attempt: int) -> Ints:
    """Mark a plan as this regime's and this attempt's, so that equal plans of others have other fingerprints."""
    digest = hashlib.sha256(f"{regime.title}\0{seed}\0{attempt}".encode()).digest()
    return np.frombuffer(digest[:8], np.int64)
