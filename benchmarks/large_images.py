"""ResNet-18 on images of 224 x 224 x 3, explained in three frameworks within a limit of memory.

``trustml run benchmarks/large_images.py``. Images are noise and weights those that a seed draws (one step at a
learning rate of nearly 0): only memory and time are looked at, and that libraries agree. Each job may hold 4 GiB;
how many rows go through the network at once follows from the bytes of its values, or from
``execution.explanation_rows``.
"""

import os

import numpy as np

from trustml import (
    SGD,
    Execution,
    Explanations,
    GradCam,
    IntegratedGradients,
    Module,
    Plain,
    Probes,
    Saliency,
    Scenario,
)
from trustml.models.residual import resnet18

CLASSES = 2


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise and labels, a class after the other."""
    drawn = np.random.default_rng(seed).random((count, 224, 224, 3), dtype=np.float32)
    return drawn, np.arange(count, dtype=np.int64) % CLASSES


scenario = Scenario(
    name="large_images",
    description="ResNet-18 on images of 224 x 224 x 3, explained with the weights that a seed draws",
    data=Module(
        function="large_images:images",
        folder=os.path.dirname(os.path.abspath(__file__)),
        arguments={"count": CLASSES, "seed": 0},
        test_arguments={"count": CLASSES, "seed": 1},
    ),
    model=resnet18(classes=CLASSES),
    training=(Plain(epochs=1, batch_size=CLASSES, optimizer=SGD(learning_rate=1e-12)),),
    explanations=Explanations(
        methods=(Saliency(), IntegratedGradients(n_steps=12), GradCam()),
        examples=2,
        scope="own",
        probes=Probes(faithfulness=False),
        timing=False,
    ),
    execution=Execution(threads=1, parallel_jobs=1, memory_limit=4.0),
)
