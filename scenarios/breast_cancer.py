"""A table instead of images: the Wisconsin diagnostic data and a multi-layer perceptron."""

from trustml import DPSGD, IID, SGD, BreastCancer, Explanations, FedAvg, Plain, Scenario
from trustml.models.zoo import mlp

scenario = Scenario(
    name="breast_cancer",
    description="scikit-learn's breast cancer table, an MLP; plain, private and federated",
    data=BreastCancer(),
    model=mlp([32, 16], classes=2),
    training=(
        Plain(epochs=30, batch_size=32, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        DPSGD(
            epsilon=8.0,
            delta=1e-5,
            clipping_norm=1.0,
            epochs=30,
            batch_size=64,
            optimizer=SGD(learning_rate=0.5),
        ),
        FedAvg(
            partition=IID(clients=10), rounds=20, local_epochs=2, batch_size=16, client_optimizer=SGD(learning_rate=0.1)
        ),
    ),
    explanations=Explanations(examples=64, scope="all"),
)
