"""Private fine-tuning at epsilon 3 on classes that the features never saw, by which part of a network is trained.

``trustml run finetune_features`` comes first. Its model is what this one starts from::

    trustml run finetune_private --set start=/path/to/runs/finetune_features-...:train.torch.Plain.s0

Without a start frozen weights are random ones, as a warning says. The data are those of ``finetune_features``, the
other five classes.
"""

import os

from trustml import (
    DPSGD,
    SGD,
    Adam,
    Attacks,
    Explanations,
    Head,
    Images,
    IntegratedGradients,
    LoRA,
    MembershipInference,
    Plain,
    Saliency,
    Scenario,
)
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, GroupNorm, MaxPool, Node, ReLU

folder = os.path.join(os.environ.get("TRUSTML_DATA", "data"), "cifar10_small")
PADDED = ((1, 1), (1, 1))
NETWORK = Architecture(
    layers=(
        *(Node(name="conv1", layer=Conv2D(filters=32, padding=PADDED)), Node(name="norm1", layer=GroupNorm(groups=8))),
        *(Node(name="relu1", layer=ReLU()), Node(name="pool1", layer=MaxPool())),
        *(Node(name="conv2", layer=Conv2D(filters=64, padding=PADDED)), Node(name="norm2", layer=GroupNorm(groups=8))),
        *(Node(name="relu2", layer=ReLU()), Node(name="pool2", layer=MaxPool())),
        Node(name="flat", layer=Flatten()),
        *(Node(name="hidden1", layer=Dense(units=128)), Node(name="relu3", layer=ReLU())),
        *(Node(name="hidden2", layer=Dense(units=64)), Node(name="relu4", layer=ReLU())),
        Node(name="head", layer=Dense(units=5)),
    )
)


def private(name: str, rate: float, **changes: object) -> DPSGD:
    """Train a part of the network at epsilon 3."""
    optimizer = SGD(learning_rate=rate, momentum=0.5)
    return DPSGD(name=name, epsilon=3.0, delta=1e-5, steps=60, batch_size=500, optimizer=optimizer, **changes)


scenario = Scenario(
    name="finetune_private",
    description="five other classes at epsilon 3: a head on frozen features, LoRA, everything, and from scratch",
    data=Images(
        path=f"{folder}/train",
        test_path=f"{folder}/test",
        size=(16, 16),
        classes=("automobile", "cat", "dog", "horse", "truck"),
    ),
    model=NETWORK,
    training=(
        Plain(epochs=4, batch_size=64, optimizer=Adam(learning_rate=0.001)),
        private("frozen", 1.0, trainable=(Head(),)),
        private("lora", 0.5, trainable=(LoRA(rank=8, targets=("hidden*",)), Head())),
        private("everything", 0.5),
        private("scratch", 0.5, from_seed=True),
    ),
    explanations=Explanations(examples=16, methods=(IntegratedGradients(n_steps=20), Saliency())),
    attacks=Attacks(membership=MembershipInference(shadow_models=0)),
    backends=("torch",),
)
