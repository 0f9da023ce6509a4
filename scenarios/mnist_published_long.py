"""The other two private rows of Opacus's MNIST table: 60 epochs at noise multiplier 1.1, 45 epochs at 0.7.

MNIST is looked for where ``mnist_published.py`` looks for it.
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
rate = SGD(learning_rate=0.25)

scenario = Scenario(
    name="mnist_published_long",
    description="the 60- and 45-epoch rows of Opacus's MNIST table (examples/mnist_README.md), one seed a framework",
    data=data,
    model=mnist_cnn(),
    training=(
        DPSGD(name="sigma11", noise_multiplier=1.1, clipping_norm=1.0, epochs=60, batch_size=240, optimizer=rate),
        DPSGD(name="sigma07", noise_multiplier=0.7, clipping_norm=1.5, epochs=45, batch_size=240, optimizer=rate),
    ),
    explanations=Explanations(methods=()),
)
