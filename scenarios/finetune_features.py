"""Features for ``finetune_private``: a small network trained on five classes of CIFAR-10, without privacy.

The folders ``train`` and ``test`` are taken from the folder ``cifar10_small`` below ``TRUSTML_DATA``, or below ``data``
beside this file.
"""

import os

from trustml import Adam, Augmentation, Explanations, Images, Plain, Scenario
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

scenario = Scenario(
    name="finetune_features",
    description="five classes of small colour images, without privacy: features for others",
    data=Images(
        path=f"{folder}/train",
        test_path=f"{folder}/test",
        size=(16, 16),
        classes=("airplane", "bird", "deer", "frog", "ship"),
    ),
    model=NETWORK,
    training=(
        Plain(
            epochs=8,
            batch_size=64,
            optimizer=Adam(learning_rate=0.001),
            augmentation=Augmentation(multiplicity=1, shift=2, flip=True),
        ),
    ),
    explanations=Explanations(methods=()),
    backends=("torch",),
)
