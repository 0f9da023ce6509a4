"""CIFAR-10 in class folders of JPEG files: a ResNet-20 on shifted and mirrored images, plain and private.

The folders ``train`` and ``test`` are taken from the folder ``cifar10_small`` below ``TRUSTML_DATA``, or below ``data``
beside this file. Each holds a folder of images for each class. Images are made small and epochs few, so that a laptop
is done in minutes; ``--set data.size=none --set training.0.epochs=30`` takes them whole, and hours.
"""

import os

from trustml import (
    DPSGD,
    SGD,
    Adam,
    Attacks,
    Augmentation,
    Execution,
    Explanations,
    Game,
    GradCam,
    Images,
    IntegratedGradients,
    MembershipInference,
    Plain,
    Scenario,
)
from trustml.models.residual import resnet20

folder = os.path.join(os.environ.get("TRUSTML_DATA", "data"), "cifar10_small")
shifted = Augmentation(multiplicity=1, shift=2, flip=True)

scenario = Scenario(
    name="cifar_small",
    description="small colour images in class folders, ResNet-20 with GroupNorm; plain and private",
    data=Images(path=f"{folder}/train", test_path=f"{folder}/test", size=(12, 12)),
    model=resnet20(),
    training=(
        Plain(epochs=1, batch_size=32, optimizer=Adam(learning_rate=0.003), augmentation=shifted),
        DPSGD(
            epsilon=8.0,
            delta=1e-5,
            steps=20,
            batch_size=256,
            optimizer=SGD(learning_rate=1.0, momentum=0.5),
            augmentation=shifted,
        ),
    ),
    explanations=Explanations(examples=4, methods=(IntegratedGradients(n_steps=20), GradCam()), timing=False),
    attacks=Attacks(membership=MembershipInference(shadow_models=0), games=(Game(trials=2_000),)),
    execution=Execution(threads=1, parallel_jobs=2),
)
