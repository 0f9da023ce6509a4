"""Adult census income by FT-Transformer: a token for each feature, number or category; plain and private.

The files are taken from the folder ``adult`` below ``TRUSTML_DATA``, or below ``data`` beside this file. Ranges of the
numbers and categories are those of the public description. A feature with categories has a column for each, and one
for missing values; its columns make one token together. The country of birth, with 42 of them, is left out.
"""

import os

from trustml import DPSGD, Adam, Attacks, Csv, Execution, Explanations, Game, MembershipInference, Plain, Scenario
from trustml.models.transformers import ft_transformer

folder = os.path.join(os.environ.get("TRUSTML_DATA", "data"), "adult")
categories = {
    "workclass": (
        "Federal-gov",
        "Local-gov",
        "Never-worked",
        "Private",
        "Self-emp-inc",
        "Self-emp-not-inc",
        "State-gov",
        "Without-pay",
    ),
    "marital_status": (
        "Divorced",
        "Married-AF-spouse",
        "Married-civ-spouse",
        "Married-spouse-absent",
        "Never-married",
        "Separated",
        "Widowed",
    ),
    "occupation": (
        "Adm-clerical",
        "Armed-Forces",
        "Craft-repair",
        "Exec-managerial",
        "Farming-fishing",
        "Handlers-cleaners",
        "Machine-op-inspct",
        "Other-service",
        "Priv-house-serv",
        "Prof-specialty",
        "Protective-serv",
        "Sales",
        "Tech-support",
        "Transport-moving",
    ),
    "relationship": ("Husband", "Not-in-family", "Other-relative", "Own-child", "Unmarried", "Wife"),
    "race": ("Amer-Indian-Eskimo", "Asian-Pac-Islander", "Black", "Other", "White"),
    "sex": ("Female", "Male"),
}
ranges = {
    "age": (17.0, 90.0),
    "education_num": (1.0, 16.0),
    "capital_gain": (0.0, 99999.0),
    "capital_loss": (0.0, 4356.0),
    "hours_per_week": (1.0, 99.0),
}
features = (
    "age",
    "workclass",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
)  # in the order of the file
columns = tuple(len(categories[name]) + 1 if name in categories else 1 for name in features)

scenario = Scenario(
    name="adult_transformer",
    description="census income, an FT-Transformer with a token for each feature; plain and private",
    data=Csv(
        path=f"{folder}/adult-train.csv.gz",
        test_path=f"{folder}/adult-test.csv.gz",
        label="income",
        drop=("fnlwgt", "education", "native_country"),
        missing="category",
        ranges=ranges,
        categories=categories,
    ),
    model=ft_transformer(classes=2, columns=columns, width=16, heads=2, blocks=1),
    training=(
        Plain(epochs=2, batch_size=256, optimizer=Adam(learning_rate=0.003)),
        DPSGD(epsilon=3.0, delta=1e-5, epochs=3, batch_size=1024, optimizer=Adam(learning_rate=0.01)),
    ),
    explanations=Explanations(examples=16, timing=False),
    attacks=Attacks(membership=MembershipInference(shadow_models=0), games=(Game(trials=2_000),)),
    execution=Execution(threads=1, parallel_jobs=2),
)
