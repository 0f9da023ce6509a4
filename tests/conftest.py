"""What all tests share: where real data is, and a tiny scenario that runs in seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trustml.models.zoo import small_cnn
from trustml.scenario.federated import FedAvg
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import IID
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Explanations, Scenario


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data, or a skip that says why."""
    folder = os.environ.get("TRUSTML_DATA")
    if not folder:
        pytest.skip("TRUSTML_DATA is not set: it names a folder with mnist/ and adult/")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny() -> Scenario:
    """Every regime, a few steps each."""
    return Scenario(
        name="tiny",
        data=Digits(test_fraction=0.8),
        model=small_cnn(),
        training=(
            Plain(epochs=1, batch_size=64, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
            DPSGD(noise_multiplier=2.0, epochs=2, batch_size=64),
            FedAvg(partition=IID(clients=4), rounds=2, batch_size=32),
        ),
        explanations=Explanations(examples=12),
    )
