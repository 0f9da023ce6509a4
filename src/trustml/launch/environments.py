"""Where each backend's environment is, and how the tensorflow one is made from its lock."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from trustml.errors import EnvironmentMissingError, UsageError
from trustml.frameworks.entry import BackendEntry
from trustml.frameworks.table import entry_of, search_path
from trustml.launch.added import LOCKS, STAMP, added_variables, checkout_root, data_folder
from trustml.scenario.spec import BackendName

_PROBE = """
import importlib.metadata as m, sys
for name in sys.argv[1:]:
    try: print("version", name, m.version(name), sep="\\t")
    except m.PackageNotFoundError: pass
"""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One backend's environment.

    Attributes
    ----------
    backend : str
    python : Path, optional
        The interpreter; None where the environment cannot be used.
    problem, fix : str
        Why not, and the command that fixes it; empty when all is well.
    variables : dict
        What a process needs in its environment to see the backend, where a package from elsewhere adds it, and what
        is installed for some targets of deployment alone.
    named : bool
        Whether it is missing where a variable names it, so that making another one helps nobody.
    """

    backend: BackendName
    python: Path | None
    problem: str = ""
    fix: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    named: bool = False

    def require(self) -> Path:
        """Give the interpreter.

        Raises
        ------
        EnvironmentMissingError
        """
        if self.python is None:
            raise EnvironmentMissingError(f"{self.problem}; run `{self.fix}`" if self.fix else self.problem)
        return self.python


def find_environment(backend: BackendName) -> Environment:
    """Find the environment a backend would run in, without starting anything.

    ``TRUSTML_ENV_TORCH``, ``TRUSTML_ENV_JAX``, ``TRUSTML_ENV_TENSORFLOW`` and so on point to another one.
    """
    entry = entry_of(backend)
    variable = f"TRUSTML_ENV_{backend.upper()}"
    named = os.environ.get(variable)
    if named:
        python = _python_of(Path(named))
        if python.exists():
            return _found(entry, python)
        missing = _missing(entry, f"the {backend} environment is missing: {variable}={named} holds no {python.name}")
        return replace(missing, named=True)
    if entry.lock:
        return _find_locked(entry)
    absent = [name for name in entry.packages if importlib.util.find_spec(name) is None]
    if absent:
        listed = ", ".join(absent)
        return _missing(entry, f"the {backend} environment is missing: {listed} not installed beside trustml")
    return _found(entry, Path(sys.executable))


def _found(entry: BackendEntry, python: Path) -> Environment:
    folder = search_path(entry.name)
    variables = added_variables() | ({"PYTHONPATH": folder} if folder else {})
    return Environment(backend=entry.name, python=python, variables=variables)


def _missing(entry: BackendEntry, problem: str) -> Environment:
    return Environment(backend=entry.name, python=None, problem=problem, fix=entry.fix)


def tensorflow_folder() -> Path:
    """Where :func:`create_tensorflow` puts the environment: the checkout, else the user's data folder."""
    checkout = checkout_root()
    if checkout is not None:
        return checkout / ".venv-tensorflow"
    return data_folder() / "environments" / f"tensorflow-{lock_hash()[:12]}"


def lock_hash() -> str:
    """SHA-256 of the tensorflow lock."""
    return hashlib.sha256((LOCKS / "tensorflow.lock").read_bytes()).hexdigest()


def tensorflow_obstacle() -> str:
    """Why the tensorflow environment cannot be made on this machine; empty if it can."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        return (
            f"TensorFlow Federated has wheels for Linux on x86-64 alone, not for {platform.system()} on "
            f"{platform.machine()}; torch and jax work without it"
        )
    if _python311() is None:
        return "TensorFlow Federated needs Python 3.11 and no python3.11 was found; torch and jax work without it"
    return ""


def create_tensorflow(folder: Path, *, tell: Callable[[str], None]) -> bool:
    """Build the environment from the lock shipped with trustml; False if it was there already.

    Raises
    ------
    EnvironmentMissingError
        If the machine cannot have it, or the installation fails.
    UsageError
        If `folder` holds something that is no environment.
    """
    if _stamp(folder) == lock_hash():
        return False
    obstacle = tensorflow_obstacle()
    if obstacle:
        raise EnvironmentMissingError(obstacle)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("ab") as lock:
        _take(lock, folder)
        return _create(folder, tell=tell, lock=lock.fileno())


def _take(lock: IO[bytes], folder: Path) -> None:
    """Keep others out; what installs holds the lock too, so also while one installs whose starter was killed."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"{folder}: is being made by another process; wait for it, or end it") from None


def _create(folder: Path, *, tell: Callable[[str], None], lock: int) -> bool:
    if _stamp(folder) == lock_hash():
        return False
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "pyvenv.cfg").is_file():
            raise UsageError(f"{folder}: is not empty and no Python environment; name another folder")
        tell(f"replacing the outdated environment in {folder}")
        shutil.rmtree(folder)
    tell(f"creating {folder} (about a minute, 2.7 GB)")
    _call([str(_python311()), "-P", "-m", "venv", str(folder)], lock=lock)
    _install(_python_of(folder), tell=tell, lock=lock)
    (folder / STAMP).write_text(lock_hash() + "\n", encoding="utf-8")
    return True


def _install(python: Path, *, tell: Callable[[str], None], lock: int) -> None:
    """Install the lock by uv where it is there, else by pip, whose settings (an index, say) uv does not read."""
    what = ["--no-deps", "--require-hashes", "-r", str(LOCKS / "tensorflow.lock")]
    uv = shutil.which("uv")
    if uv is not None:
        try:
            _call([uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *what], lock=lock)
            return
        except EnvironmentMissingError as error:
            tell(f"{error}; going on with pip")
    _call([str(python), "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what], lock=lock)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What an environment says of itself.

    Attributes
    ----------
    versions : dict
        Package to version.
    devices : tuple of str
        What the framework would compute on.
    problem : str
        One line, if the framework does not start.
    """

    versions: dict[str, str]
    devices: tuple[str, ...]
    problem: str = ""


def probe(environment: Environment) -> Probe:
    """Start the environment's interpreter and ask for versions and devices; takes seconds."""
    if environment.python is None:
        return Probe(versions={}, devices=(), problem=environment.problem)
    entry = entry_of(environment.backend)
    names = [name.replace("_", "-") for name in entry.packages]
    try:
        done = subprocess.run(
            [str(environment.python), "-P", "-c", _PROBE + entry.devices, *names],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Probe(versions={}, devices=(), problem=str(error))
    lines = [line.split("\t", 2) for line in done.stdout.splitlines()]
    problem = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["does not start"])[-1]
    return Probe(
        versions={line[1]: line[2] for line in lines if line[0] == "version" and len(line) == 3},
        devices=tuple(line[1] for line in lines if line[0] == "device"),
        problem=problem,
    )


def _find_locked(entry: BackendEntry) -> Environment:
    folder = tensorflow_folder()
    if _python_of(folder).exists():
        stamp = _stamp(folder)
        if stamp == lock_hash():
            return _found(entry, _python_of(folder))
        state = "was made from another lock" if stamp else "is incomplete"
        return _missing(entry, f"the {entry.name} environment in {folder} {state}")
    obstacle = tensorflow_obstacle()
    if obstacle:
        return Environment(backend=entry.name, python=None, problem=obstacle)
    return _missing(entry, f"the {entry.name} environment is missing: no {folder}")


def _stamp(folder: Path) -> str:
    try:
        return (folder / STAMP).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _python311() -> str | None:
    if sys.version_info[:2] == (3, 11):
        return getattr(sys, "_base_executable", None) or sys.executable
    return shutil.which("python3.11")


def _call(command: list[str], *, lock: int) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, pass_fds=(lock,)
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EnvironmentMissingError(f"`{' '.join(command[:4])} ...` failed: {last}")


_DRIVER = Path("/proc/driver/nvidia/version")


def driver_loaded() -> bool:
    """Tell whether this machine runs NVIDIA's driver."""
    return _DRIVER.exists()


def unused_gpu(backend: BackendName, devices: Sequence[str], *, python: str) -> str:
    """Say why a backend computes on the processor of a machine with a GPU, and what to do; empty where it need not be.

    Parameters
    ----------
    backend : str
    devices : sequence of str
        What the framework sees, as :func:`trustml.launch.environments.probe` gives it.
    python : str
        Interpreter of the backend's environment.
    """
    if not driver_loaded() or not devices or any(device != "cpu" for device in devices):
        return ""
    known = entry_of(backend).unused_gpu
    if not known:
        return ""
    problem, fix = known
    return f"{problem}; run `{python} -m {fix}`"
