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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from trustml.errors import EnvironmentMissingError, UsageError
from trustml.scenario.spec import BackendName

LOCKS = Path(__file__).resolve().parents[1] / "environments"
STAMP = "trustml-lock.sha256"

_PACKAGES: dict[BackendName, tuple[str, ...]] = {
    "torch": ("torch", "opacus", "captum"),
    "jax": ("jax", "jaxlib"),
    "tensorflow": ("tensorflow", "tensorflow_federated", "tf_explain"),
}

_PROBE = """
import importlib.metadata as m, sys
for name in sys.argv[1:]:
    try: print("version", name, m.version(name), sep="\\t")
    except m.PackageNotFoundError: pass
"""
_DEVICES: dict[BackendName, str] = {
    "torch": """
import torch
print("device", "cpu", sep="\\t")
for i in range(torch.cuda.device_count()): print("device", torch.cuda.get_device_name(i), sep="\\t")
""",
    "jax": """
import jax
for d in jax.devices(): print("device", "cpu" if d.platform == "cpu" else d.device_kind, sep="\\t")
""",
    "tensorflow": """
import tensorflow as tf
for d in tf.config.list_physical_devices(): print("device", d.device_type.lower(), sep="\\t")
""",
}


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
    """

    backend: BackendName
    python: Path | None
    problem: str = ""
    fix: str = ""

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

    ``TRUSTML_ENV_TORCH``, ``TRUSTML_ENV_JAX`` and ``TRUSTML_ENV_TENSORFLOW`` point to another one.
    """
    variable = f"TRUSTML_ENV_{backend.upper()}"
    named = os.environ.get(variable)
    if named:
        python = _python_of(Path(named))
        if not python.exists():
            return Environment(
                backend=backend,
                python=None,
                problem=f"the {backend} environment is missing: {variable}={named} holds no {python.name}",
                fix=_fix(backend),
            )
        return Environment(backend=backend, python=python)
    if backend == "tensorflow":
        return _find_tensorflow()
    missing = [name for name in _PACKAGES[backend] if importlib.util.find_spec(name) is None]
    if missing:
        return Environment(
            backend=backend,
            python=None,
            problem=f"the {backend} environment is missing: {', '.join(missing)} not installed beside trustml",
            fix=_fix(backend),
        )
    return Environment(backend=backend, python=Path(sys.executable))


def tensorflow_folder() -> Path:
    """Where :func:`create_tensorflow` puts the environment: the checkout, else the user's data folder."""
    checkout = checkout_root()
    if checkout is not None:
        return checkout / ".venv-tensorflow"
    import platformdirs

    return Path(platformdirs.user_data_dir("trustml")) / "environments" / f"tensorflow-{lock_hash()[:12]}"


def checkout_root() -> Path | None:
    """Top folder of the checkout that this package is part of, if it is part of one."""
    package = Path(__file__).resolve().parents[1]
    top = package.parents[1]
    return top if package == top / "src" / "trustml" and (top / "pyproject.toml").is_file() else None


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
    _call(
        [str(_python_of(folder)), "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        + ["--no-deps", "--require-hashes", "-r", str(LOCKS / "tensorflow.lock")],
        lock=lock,
    )
    (folder / STAMP).write_text(lock_hash() + "\n", encoding="utf-8")
    return True


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
    names = [name.replace("_", "-") for name in _PACKAGES[environment.backend]]
    try:
        done = subprocess.run(
            [str(environment.python), "-P", "-c", _PROBE + _DEVICES[environment.backend], *names],
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


def _find_tensorflow() -> Environment:
    folder = tensorflow_folder()
    if _python_of(folder).exists():
        stamp = _stamp(folder)
        if stamp == lock_hash():
            return Environment(backend="tensorflow", python=_python_of(folder))
        state = "was made from another lock" if stamp else "is incomplete"
        return Environment(
            backend="tensorflow",
            python=None,
            problem=f"the tensorflow environment in {folder} {state}",
            fix=_fix("tensorflow"),
        )
    obstacle = tensorflow_obstacle()
    return Environment(
        backend="tensorflow",
        python=None,
        problem=obstacle or f"the tensorflow environment is missing: no {folder}",
        fix="" if obstacle else _fix("tensorflow"),
    )


def _fix(backend: BackendName) -> str:
    return "trustml setup tensorflow" if backend == "tensorflow" else f"pip install 'trustml[{backend}]'"


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
