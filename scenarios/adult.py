"""Adult census income: categories become columns, and are explained as one feature; plain and private.

The files are taken from the folder ``adult`` below ``TRUSTML_DATA``, or below ``data`` beside this file. Ranges of the
numbers are those of the public description; categories are taken from the data, and the record says so.
"""

import os

from trustml import DPSGD, SGD, Csv, Explanations, Plain, Scenario
from trustml.models.zoo import mlp

folder = os.path.join(os.environ.get("TRUSTML_DATA", "data"), "adult")

scenario = Scenario(
    name="adult",
    description="census income, an MLP; plain and private",
    data=Csv(
        path=f"{folder}/adult-train.csv.gz",
        test_path=f"{folder}/adult-test.csv.gz",
        label="income",
        drop=("fnlwgt", "education"),  # a weight of the survey, and education_num in words
        missing="category",
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
        DPSGD(epsilon=3.0, delta=1e-5, epochs=10, batch_size=512, optimizer=SGD(learning_rate=0.5)),
    ),
    explanations=Explanations(examples=64),
)
