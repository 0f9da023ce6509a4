"""Opacus's published MNIST result, run again in three frameworks: 94.63 +- 0.34 % at noise multiplier 1.3.

The files of MNIST in IDX format are taken from the folder ``mnist`` below ``TRUSTML_DATA``, or below ``data``
beside this file.
"""

import os

from trustml import DPSGD, SGD, Explanations, Idx, Scenario
from trustml.models.zoo import mnist_cnn

mnist = os.path.join(os.environ.get("TRUSTML_DATA", "data"), "mnist")

data = Idx(
    images=f"{mnist}/train-images-idx3-ubyte.gz",
    labels=f"{mnist}/train-labels-idx1-ubyte.gz",
    test_images=f"{mnist}/t10k-images-idx3-ubyte.gz",
    test_labels=f"{mnist}/t10k-labels-idx1-ubyte.gz",
    mean=0.1307,
    deviation=0.3081,
)

scenario = Scenario(
    name="mnist_published",
    description="the 15-epoch row of Opacus's MNIST table (examples/mnist_README.md), three seeds a framework",
    data=data,
    model=mnist_cnn(),
    training=(
        DPSGD(
            name="sigma13",
            noise_multiplier=1.3,
            clipping_norm=1.5,
            delta=1e-5,
            epochs=15,
            batch_size=240,
            optimizer=SGD(learning_rate=0.25),
        ),
    ),
    explanations=Explanations(methods=()),
    seeds=(0, 1, 2),
)
