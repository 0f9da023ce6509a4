"""California housing: a regression with missing values and a column of text; plain, private and federated.

The file is taken from the folder ``housing`` below ``TRUSTML_DATA``, or below ``data`` beside this file. Ranges of the
numbers and of the target are those of the public description of the census; so are the categories.
"""

import os

from trustml import (
    DPSGD,
    SGD,
    Attacks,
    Csv,
    Dirichlet,
    Execution,
    Explanations,
    FedAvg,
    Game,
    MembershipInference,
    Plain,
    Regression,
    Scenario,
)
from trustml.models.zoo import mlp

folder = os.path.join(os.environ.get("TRUSTML_DATA", "data"), "housing")

scenario = Scenario(
    name="housing",
    description="house values of California's blocks, an MLP; plain, private and federated",
    data=Csv(
        path=f"{folder}/housing.csv.gz",
        label="median_house_value",
        missing="category",
        ranges={
            "longitude": (-125.0, -114.0),
            "latitude": (32.0, 42.0),
            "housing_median_age": (0.0, 52.0),
            "total_rooms": (0.0, 10_000.0),
            "total_bedrooms": (0.0, 2_000.0),
            "population": (0.0, 5_000.0),
            "households": (0.0, 2_000.0),
            "median_income": (0.0, 15.0),
        },
        categories={"ocean_proximity": ("<1H OCEAN", "INLAND", "ISLAND", "NEAR BAY", "NEAR OCEAN")},
    ),
    task=Regression(target_range=(0.0, 500_001.0)),  # values are capped there
    model=mlp([32, 16], classes=1),
    training=(
        Plain(epochs=5, batch_size=64, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        DPSGD(epsilon=3.0, delta=1e-5, epochs=5, batch_size=256, optimizer=SGD(learning_rate=0.5)),
        FedAvg(
            rounds=20,
            partition=Dirichlet(clients=20, alpha=0.5),
            batch_size=32,
            client_optimizer=SGD(learning_rate=0.05),
        ),
    ),
    explanations=Explanations(examples=16, timing=False),
    attacks=Attacks(membership=MembershipInference(shadow_models=0), games=(Game(trials=2_000),)),
    execution=Execution(threads=1, parallel_jobs=2),
)
