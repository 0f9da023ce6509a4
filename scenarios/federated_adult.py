"""Adult census income over clients by a natural key: plain with one client an occupation, private for users.

The private regimes take everybody of one age, occupation and sex as one user: about 1,080 users, 100 a round. The
files are taken from the folder ``adult`` below ``TRUSTML_DATA``, or below ``data`` beside this file.
"""

import os

from trustml import (
    SGD,
    Adaptive,
    Csv,
    DPFedAvg,
    Explanations,
    FedAvg,
    NaturalKey,
    Plain,
    PoissonCohort,
    Scenario,
)
from trustml.models.zoo import mlp

folder = os.path.join(os.environ.get("TRUSTML_DATA", "data"), "adult")
users = NaturalKey(columns=("age", "occupation", "sex"), minimum=5)
client = SGD(learning_rate=0.3)

scenario = Scenario(
    name="federated_adult",
    description="census income, an MLP; clients by occupation, and users by age, occupation and sex",
    data=Csv(
        path=f"{folder}/adult-train.csv.gz",
        test_path=f"{folder}/adult-test.csv.gz",
        label="income",
        drop=("fnlwgt", "education"),  # a weight of the survey, and education_num in words
        missing="category",
        keys=("age", "occupation", "sex"),
        ranges={
            "age": (17.0, 90.0),
            "education_num": (1.0, 16.0),
            "capital_gain": (0.0, 99999.0),
            "capital_loss": (0.0, 4356.0),
            "hours_per_week": (1.0, 99.0),
        },
    ),
    model=mlp([64, 32], classes=2),
    training=(
        Plain(epochs=5, batch_size=128, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        FedAvg(
            partition=NaturalKey(columns=("occupation",)),
            rounds=15,
            batch_size=64,
            client_optimizer=client,
            target_accuracy=0.83,
        ),
        FedAvg(
            name="FedAvg-users",
            partition=users,
            cohort=PoissonCohort(clients=100),
            rounds=60,
            local_epochs=2,
            client_optimizer=client,
            target_accuracy=0.83,
        ),
        DPFedAvg(
            partition=users,
            cohort=PoissonCohort(clients=100),
            epsilon=8.0,
            delta=1e-5,
            clipping_norm=0.5,
            server_learning_rate=2.0,
            rounds=60,
            local_epochs=2,
            client_optimizer=client,
            target_accuracy=0.83,
        ),
        DPFedAvg(
            name="DPFedAvg-adaptive",
            partition=users,
            cohort=PoissonCohort(clients=100),
            epsilon=8.0,
            delta=1e-5,
            clipping_norm=0.5,
            server_learning_rate=2.0,
            clipping=Adaptive(quantile=0.5),
            rounds=60,
            local_epochs=2,
            client_optimizer=client,
            target_accuracy=0.83,
        ),
    ),
    explanations=Explanations(methods=()),
)
