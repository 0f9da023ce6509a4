"""Membership inference on MNIST: 5,000 training images, 5,000 held out, 64 shadow models.

The files are taken from the folder ``mnist`` below ``TRUSTML_DATA``, or below ``data`` beside this file.
"""

import os

from trustml import (
    DPSGD,
    SGD,
    Architecture,
    Attacks,
    Execution,
    Explanations,
    Flatten,
    Idx,
    MembershipInference,
    Plain,
    Scenario,
)
from trustml.models.zoo import mlp

folder = os.path.join(os.environ.get("TRUSTML_DATA", "data"), "mnist")

scenario = Scenario(
    name="audit_mnist",
    description="Membership inference on MNIST: what 64 shadow models add to a threshold on the loss",
    data=Idx(
        images=f"{folder}/train-images-idx3-ubyte.gz",
        labels=f"{folder}/train-labels-idx1-ubyte.gz",
        first=10_000,
        test_fraction=0.5,
    ),
    model=Architecture(layers=(Flatten(), *mlp([128], classes=10).layers)),
    training=(
        Plain(epochs=30, batch_size=64, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        DPSGD(epsilon=3.0, epochs=10, batch_size=128, optimizer=SGD(learning_rate=0.5)),
    ),
    explanations=Explanations(methods=()),
    attacks=Attacks(membership=MembershipInference(shadow_models=64)),
    backends=("torch",),
    seeds=(0, 1, 2, 3, 4),
    execution=Execution(threads=1, parallel_jobs=2),
)
