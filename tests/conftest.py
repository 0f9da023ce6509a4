"""What all tests share: where real data is, a tiny scenario that runs in seconds, and a stored run."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest
from filelock import FileLock
from xdist.scheduler import LoadFileScheduling

import trustml
from tests import WHOLE
from tests.compiled import CompiledPrograms
from tests.records import measured_anew
from tests.warm import AVAILABLE, Starter, forked
from trustml.models.zoo import small_cnn
from trustml.scenario.federated import FedAvg
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import IID
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Execution, Explanations, Scenario

QUESTIONS = (
    "conformance/test_backends.py",
    "conformance/test_sensitivity.py",
    "backends/tensorflow/test_attribution.py",
    "backends/test_tasks.py",
    "backends/test_private_clients.py",
    "backends/tensorflow/test_federated.py",
    "deployment/test_exporting.py",
    "backends/tensorflow/test_differences.py",
    "backends/tensorflow/test_clipping.py",
    "backends/tensorflow/test_noise.py",
    "backends/test_outcomes.py",
    "backends/test_attention_methods.py",
)
"""Files that ask each framework: what they start is forked from a few processes (`tests.warm.CASES`)."""
JOBS = (
    "launch/test_run.py",
    "launch/test_federated_jobs.py",
    "launch/test_private_options.py",
    "test_audits.py",
    "cli/test_audit.py",
    "auditing/test_framework_worker.py",
)
"""Files with jobs of TensorFlow, which are forked from another."""
LONGEST = (
    *QUESTIONS,
    *JOBS,
    "apps/test_browser.py",
    "apps/test_dashboard.py",
    "record/test_released.py",
    "deployment/test_export.py",
    "conformance/test_federated.py",
    "backends/jax/test_attribution.py",
    "launch/test_explanations.py",
    "backends/jax/test_shadows.py",
    "launch/test_left_behind.py",
    "worker/test_kill.py",
    "records/test_stored.py",
    "cli/test_cli.py",
    "recipes/test_recipes.py",
    "package/test_wheel.py",
    "conformance/test_games.py",
    "backends/test_fourth.py",
    "worker/test_reconstruction.py",
    "worker/test_shadows.py",
    "worker/test_canaries.py",
    "worker/test_private.py",
)
"""Files that take longest, and others of seconds that would be the last. Side by side they go first, or one process
ends long after the other."""
hypothesis.settings.register_profile("short", max_examples=25, deadline=None)  # others may use the cores, too
hypothesis.settings.register_profile("whole", deadline=None)
hypothesis.settings.load_profile("whole" if WHOLE else "short")
SCOPES = {f"tests/{name}": names[0] for names in (QUESTIONS, JOBS) for name in names}
PROGRAMS = pytest.StashKey[CompiledPrograms]()
STARTER = pytest.StashKey[Starter]()
MEMORY, ROOM = Path("/dev/shm"), 4 * 2**30
"""A disk of memory, and the bytes that must be free there. What is written is synced, which a real disk waits for."""


def pytest_configure(config: pytest.Config) -> None:
    """Write to memory where there is enough of it, and let every JAX process reuse what the others compiled."""
    _forget_width()
    if not WHOLE and _has_room(MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    if "PYTEST_XDIST_WORKER" in os.environ and not WHOLE:
        programs = CompiledPrograms(config.rootpath / ".pytest_cache" / "compiled")
        config.stash[PROGRAMS] = programs
        config.add_cleanup(programs.close)
    if AVAILABLE and not WHOLE:
        config.stash[STARTER] = Starter()
        config.add_cleanup(config.stash[STARTER].close)


def _forget_width() -> None:
    """Leave out of the environment of what is started how broad readline takes the terminal to be: 80 of none."""
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")  # pytest or a library may import it later, and would set them anew
    for name in ("COLUMNS", "LINES"):
        if name not in os.environ:
            os.unsetenv(name)


def _has_room(disk: Path) -> bool:
    if sys.platform != "linux" or not os.access(disk, os.W_OK):
        return False
    about = os.statvfs(disk)
    executes = not about.f_flag & os.ST_NOEXEC  # tests write programs and start them
    return executes and about.f_bavail * about.f_frsize > ROOM and psutil.virtual_memory().available > 2 * ROOM


class ByServer(LoadFileScheduling):
    """Files one by one, but those together that fork from the same processes."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return SCOPES.get(file, file)


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByServer | None:
    """Share the files of tests out; in the long form nothing is forked."""
    return ByServer(config, log) if config.getvalue("dist") == "loadfile" and not WHOLE else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Look for nothing to free while all files are imported, nor later among what was: it takes seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Fork the workers of a test from a process that has their framework, unless it asks how they are started."""
    starter = item.config.stash.get(STARTER, None)
    if starter is None or item.get_closest_marker("cold"):
        return (yield)
    with forked(starter):
        return (yield)


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last test of a file, share what was compiled for it."""
    programs = item.config.stash.get(PROGRAMS, None)
    if programs is not None and (nextitem is None or nextitem.path != item.path):
        programs.exchange()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the long tests unless all are wanted; take the longest files first where processes share the tests."""
    if not WHOLE:
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


def filled_once(tmp_path_factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """A folder that all processes of the tests share; the first that asks fills it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            shared.mkdir()
            try:
                fill(shared)
            except BaseException:
                shutil.rmtree(shared)
                raise
    return shared


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> trustml.Run:
    """The only run in such a folder."""
    shared = filled_once(tmp_path_factory, name, lambda folder: make(folder / "runs"))
    (path,) = (shared / "runs").iterdir()
    return trustml.load(path)


def measured_once(tmp_path_factory: pytest.TempPathFactory, name: str, *, second_opinion: bool = False) -> trustml.Run:
    """A stored run as the present code measures it, once for all processes of the tests. Only to be read."""
    return made_once(
        tmp_path_factory,
        f"{name}-asked" if second_opinion else name,
        lambda folder: measured_anew(name, folder, second_opinion=second_opinion),
    )


def measured_copy(tmp_path_factory: pytest.TempPathFactory, name: str, folder: Path) -> trustml.Run:
    """A copy of such a run, in a folder of runs. To be changed."""
    run = measured_once(tmp_path_factory, name)
    return trustml.load(shutil.copytree(run.path, folder / run.path.name))


@pytest.fixture(scope="session")
def attacked_run(tmp_path_factory) -> trustml.Run:
    """A stored run under every kind of attack; one of its games has a mistake planted. Only to be read."""
    return measured_once(tmp_path_factory, "attacked")
