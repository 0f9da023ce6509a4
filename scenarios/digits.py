"""Handwritten digits: three regimes in three frameworks, every model explained by every library."""

from trustml import DPSGD, IID, SGD, Digits, Explanations, FedAvg, Plain, Scenario
from trustml.models.zoo import small_cnn

scenario = Scenario(
    name="digits",
    description="scikit-learn's 8x8 digits, a small CNN; plain, private and federated",
    data=Digits(),
    model=small_cnn(),
    training=(
        Plain(epochs=20, batch_size=32, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        DPSGD(
            epsilon=8.0,
            delta=1e-5,
            clipping_norm=1.0,
            epochs=60,
            batch_size=256,
            optimizer=SGD(learning_rate=0.1, momentum=0.9),
        ),
        FedAvg(
            partition=IID(clients=20), rounds=30, local_epochs=2, batch_size=16, client_optimizer=SGD(learning_rate=0.2)
        ),
    ),
    explanations=Explanations(examples=64, scope="all"),
)
