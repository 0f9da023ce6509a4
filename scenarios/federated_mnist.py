"""MNIST over 3,400 clients, a hundred a round: plain, and private for users by three mechanisms.

The cost follows the hundred that take part, not the clients that are registered. Tree aggregation and banded matrix
factorisation are both called DP-FTRL and are different mechanisms; each runs where a library has it. The files are
taken from the folder ``mnist`` below ``TRUSTML_DATA``, or below ``data`` beside this file.
"""

import os

from trustml import (
    IID,
    SGD,
    BandedMatrix,
    DPFedAvg,
    Explanations,
    FedAvg,
    FixedCohort,
    Idx,
    InTurn,
    PoissonCohort,
    Scenario,
    TreeAggregation,
)
from trustml.models.zoo import mnist_cnn

folder = os.path.join(os.environ.get("TRUSTML_DATA", "data"), "mnist")
clients = IID(clients=3400)
client = SGD(learning_rate=0.1)
private = {
    "partition": clients,
    "epsilon": 8.0,
    "delta": 1e-5,
    "clipping_norm": 0.5,
    "rounds": 100,
    "local_epochs": 2,
    "batch_size": 10,
    "client_optimizer": client,
    "evaluate_every": 5,
}

scenario = Scenario(
    name="federated_mnist",
    description="MNIST over 3,400 clients, 100 a round; plain and private for users",
    data=Idx(
        images=f"{folder}/train-images-idx3-ubyte.gz",
        labels=f"{folder}/train-labels-idx1-ubyte.gz",
        test_images=f"{folder}/t10k-images-idx3-ubyte.gz",
        test_labels=f"{folder}/t10k-labels-idx1-ubyte.gz",
    ),
    model=mnist_cnn(),
    training=(
        FedAvg(
            partition=clients,
            cohort=FixedCohort(clients=100),
            rounds=100,
            local_epochs=2,
            batch_size=10,
            client_optimizer=client,
            evaluate_every=5,
        ),
        DPFedAvg(cohort=PoissonCohort(clients=100), **private),
        DPFedAvg(name="DPFTRL-tree", cohort=InTurn(clients=100), mechanism=TreeAggregation(), **private),
        DPFedAvg(name="DPFTRL-banded", cohort=InTurn(clients=100), mechanism=BandedMatrix(), **private),
    ),
    explanations=Explanations(methods=()),
)
