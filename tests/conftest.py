"""What all tests share: where real data is, and a tiny scenario that runs in seconds."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

import trustml
from trustml.models.layers import Architecture, Flatten
from trustml.models.zoo import mlp, small_cnn
from trustml.plan.switches import reuse_compiled
from trustml.scenario.attacks import Attacks, Canaries, Game, MembershipInference
from trustml.scenario.federated import FedAvg
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import IID
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Execution, Explanations, Scenario

LONGEST = (
    "launch/test_run.py",
    "conformance/test_backends.py",
    "measures/test_membership.py",
    "launch/test_explanations.py",
    "cli/test_privacy_commands.py",
    "launch/test_private_options.py",
    "worker/test_kill.py",
    "conformance/test_games.py",
    "package/test_wheel.py",
    "apps/test_dashboard.py",
    "test_audits.py",
)
"""Files that take a minute or more. Side by side they go first, or one process ends long after the other."""


def pytest_configure(config: pytest.Config) -> None:
    """Let every JAX process that one process of the tests starts reuse what the others compiled."""
    if "PYTEST_XDIST_WORKER" in os.environ and os.environ.get("TRUSTML_TESTS") != "all":
        folder = tempfile.mkdtemp(prefix="trustml-compiled-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ.update(reuse_compiled(Path(folder)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the long tests unless all are wanted; take the longest files first where processes share the tests."""
    if os.environ.get("TRUSTML_TESTS") != "all":
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = {name: number for number, name in enumerate(LONGEST)}
        here = Path(__file__).parent
        items.sort(key=lambda item: place.get(item.path.relative_to(here).as_posix(), len(place)))


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
        execution=Execution(threads=1),  # two processes of tests share two cores
    )


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> trustml.Run:
    """The only run in a folder that all processes of the tests share; the first that asks makes it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            make(shared / "runs")
    (path,) = (shared / "runs").iterdir()
    return trustml.load(path)


@pytest.fixture(scope="session")
def attacked_run(tmp_path_factory) -> trustml.Run:
    """A small run under every kind of attack, in JAX; one of its games has a mistake planted. Only to be read."""
    scenario = Scenario(
        name="attacked",
        data=Digits(test_fraction=0.5),
        model=Architecture(layers=(Flatten(), *mlp([32], classes=10).layers)),
        training=(
            Plain(name="Overfitted", epochs=60, batch_size=32, optimizer=SGD(learning_rate=0.1, momentum=0.9)),
            DPSGD(epsilon=3.0, epochs=4, batch_size=64),
        ),
        explanations=Explanations(methods=()),
        attacks=Attacks(
            membership=MembershipInference(shadow_models=16),
            canaries=(Canaries(kind="dirac gradient", count=200),),
            games=(Game(trials=400), Game(trials=400, fault="no clipping")),
        ),
        backends=("jax",),
        seeds=(0, 1),
        execution=Execution(threads=1),
    )

    def make(folder: Path) -> None:
        run = trustml.run(scenario, out=folder)
        assert run.status == "success", [(r.id, r.reason) for r in run.manifest.jobs if r.status != "ok"]

    return made_once(tmp_path_factory, "attacked", make)
