"""Handwritten digits over 20 clients: rules of averaging, skewed labels, and why so few cannot have privacy as users.

The private regime is there as a warning. With 20 clients the noise that protects any one of them drowns them all.
"""

from trustml import (
    IID,
    SGD,
    Digits,
    Dirichlet,
    DPFedAvg,
    Explanations,
    FedAdam,
    FedAvg,
    FedProx,
    FedSGD,
    Plain,
    Scenario,
)
from trustml.models.zoo import small_cnn

client = SGD(learning_rate=0.1)
skewed = Dirichlet(clients=20, alpha=0.3, minimum=10)

scenario = Scenario(
    name="federated_digits",
    description="scikit-learn's digits over 20 clients; equal and skewed, plain and private for users",
    data=Digits(),
    model=small_cnn(),
    training=(
        Plain(epochs=20, batch_size=32, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        FedAvg(partition=IID(clients=20), rounds=30, local_epochs=2, client_optimizer=client),
        FedAvg(name="FedAvg-skewed", partition=skewed, rounds=30, local_epochs=2, client_optimizer=client),
        FedProx(
            name="FedProx-skewed", partition=skewed, proximal=0.1, rounds=30, local_epochs=2, client_optimizer=client
        ),
        FedAdam(name="FedAdam-skewed", partition=skewed, rounds=30, local_epochs=2, client_optimizer=client),
        FedSGD(partition=IID(clients=20), rounds=30, server_learning_rate=0.2, server_momentum=0.9),
        DPFedAvg(partition=IID(clients=20), epsilon=8.0, rounds=10, local_epochs=2, client_optimizer=client),
    ),
    explanations=Explanations(methods=()),
)
