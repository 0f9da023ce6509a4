"""The run that is killed: every kind of job, seconds in all, by the backend of plain numpy."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from trustml.models.layers import Architecture, Dense, Flatten
from trustml.scenario import methods
from trustml.scenario.federated import DPFedAvg
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import IID
from trustml.scenario.read import to_plain
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Execution, Explanations, Probes, Scenario


def scenario(*, steps: int = 60, regimes: tuple[str, ...] = ("Plain", "DPSGD", "DPFedAvg")) -> Scenario:
    """Plain, private and federated training, and an explanation of the models."""
    few = {"noise_multiplier": 2.0, "batch_size": 16}
    found = Scenario(
        name="small",
        data=Digits(test_fraction=0.9),
        model=Architecture(layers=(Flatten(), Dense(units=10))),
        training=(
            Plain(epochs=20, batch_size=32, optimizer=SGD(learning_rate=0.1, momentum=0.9)),
            DPSGD(epochs=None, steps=steps, optimizer=SGD(learning_rate=0.5), **few),
            DPFedAvg(partition=IID(clients=20), rounds=4, **few),
        ),
        explanations=Explanations(
            methods=(methods.Saliency(),), examples=4, probes=Probes(faithfulness=False), timing=False
        ),
        backends=("numpy",),
        execution=Execution(threads=1, checkpoint_seconds=0.05),
    )
    return replace(found, training=tuple(one for one in found.training if type(one).__name__ in regimes))


def written(folder: Path, found: Scenario) -> Path:
    """Write a scenario as a file that ``trustml run`` reads."""
    path = folder / "small.py"
    plain = to_plain(found)
    path.write_text(f"from trustml.scenario.read import from_plain\nscenario = from_plain({plain!r})\n")
    return path
