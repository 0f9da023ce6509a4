"""Packages that some targets of deployment need beside a backend's environment, each in a folder of its own.

They are seen by the processes that write and ask files alone, which get the folder by a variable; so no version of
anything changes for whoever trains or explains.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trustml.errors import EnvironmentMissingError, UsageError
from trustml.models.exported import ADDED_VARIABLE

LOCKS = Path(__file__).resolve().parents[1] / "environments"
STAMP = "trustml-lock.sha256"


def checkout_root() -> Path | None:
    """Top folder of the checkout that this package is part of, if it is part of one."""
    package = Path(__file__).resolve().parents[1]
    top = package.parents[1]
    return top if package == top / "src" / "trustml" and (top / "pyproject.toml").is_file() else None


def data_folder() -> Path:
    """Folder of the user's data."""
    import platformdirs

    return Path(platformdirs.user_data_dir("trustml"))


@dataclass(frozen=True, kw_only=True)
class Addition:
    """Packages by their lock.

    Attributes
    ----------
    name : str
    locks : tuple of str
        Files in ``environments/``; the first is what is installed from.
    command : str
        What must be on this machine to install or run it.
    size : str
    linux_only : bool
        Whether its lock is of Linux on x86-64 and Python 3.11 alone.
    """

    name: str
    locks: tuple[str, ...]
    command: str = ""
    size: str
    linux_only: bool = False

    @property
    def variable(self) -> str:
        """Variable that names its folder, to us by whoever has another and to our processes by us."""
        return ADDED_VARIABLE.format(self.name.upper())

    @property
    def digest(self) -> str:
        """SHA-256 of its locks."""
        return hashlib.sha256(b"".join((LOCKS / name).read_bytes() for name in self.locks)).hexdigest()

    @property
    def folder(self) -> Path:
        """Where it is made: in the checkout, else in the user's data folder."""
        checkout = checkout_root()
        if checkout is not None:
            return checkout / f".venv-{self.name}"
        return data_folder() / "environments" / f"{self.name}-{self.digest[:12]}"


ADDITIONS: dict[str, Addition] = {
    one.name: one
    for one in (
        Addition(name="executorch", locks=("executorch.lock",), size="100 MB", linux_only=True),
        Addition(name="litert", locks=("litert.lock",), size="60 MB", linux_only=True),
        Addition(name="node", locks=("node/package-lock.json", "node/package.json"), command="node", size="440 MB"),
    )
}


def find_addition(name: str) -> Path | None:
    """Folder of an addition; None where it is not there, or of another lock."""
    one = ADDITIONS[name]
    named = os.environ.get(one.variable)
    if named:
        return Path(named).absolute() if Path(named).is_dir() else None
    return one.folder if _stamp(one.folder) == one.digest else None


def added_variables() -> dict[str, str]:
    """Variables that name the folders of all additions which are there."""
    found = {one: find_addition(name) for name, one in ADDITIONS.items()}
    return {one.variable: str(folder) for one, folder in found.items() if folder is not None}


def require_addition(name: str) -> None:
    """Raise where an addition is not there.

    Raises
    ------
    EnvironmentMissingError
        With the command that makes it.
    """
    one = ADDITIONS[name]
    if one.command and shutil.which(one.command) is None:
        raise EnvironmentMissingError(f"{one.command}: not installed on this machine; install it, such as from Debian")
    if find_addition(name) is None:
        obstacle = _obstacle(one)
        raise EnvironmentMissingError(obstacle or f"{name}: its packages are not there; run `trustml setup {name}`")


def create_addition(name: str, folder: Path, *, tell: Callable[[str], None]) -> bool:
    """Install an addition from its lock; False if it was there already.

    Raises
    ------
    EnvironmentMissingError
        If the machine cannot have it, or the installation fails.
    UsageError
        If `folder` holds something else.
    """
    one = ADDITIONS[name]
    obstacle = _obstacle(one)
    if obstacle:
        raise EnvironmentMissingError(obstacle)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{folder}: is being made by another process; wait for it, or end it") from None
        if _stamp(folder) == one.digest:
            return False
        _clear(folder)
        tell(f"creating {folder} (about half a minute, {one.size})")
        _install(one, folder)
        (folder / STAMP).write_text(one.digest + "\n", encoding="utf-8")
    return True


def _clear(folder: Path) -> None:
    """Remove an earlier one, or what is left of one that was not finished; never something else."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / STAMP).exists():
        raise UsageError(f"{folder}: is not empty and no folder of ours; name another folder")
    shutil.rmtree(folder)


def _install(one: Addition, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / STAMP).write_text("being made\n", encoding="utf-8")
    if one.command:
        for name in one.locks:
            shutil.copyfile(LOCKS / name, folder / Path(name).name)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    else:
        command = [sys.executable, "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--require-hashes", "--upgrade", "--target", str(folder), "-r", str(LOCKS / one.locks[0])]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        last = ((done.stderr or done.stdout).strip().splitlines() or ["no message"])[-1]
        raise EnvironmentMissingError(f"`{' '.join(command[:5])} ...` failed: {last}")


def _obstacle(one: Addition) -> str:
    """Why this machine cannot have it; empty if it can."""
    here = (platform.system(), platform.machine(), sys.version_info[:2])
    if one.linux_only and (here[0] != "Linux" or here[1] not in ("x86_64", "AMD64") or here[2] != (3, 11)):
        return f"{one.name}: its lock is of Python 3.11 on Linux on x86-64 alone; the other targets work without it"
    if one.command and (shutil.which(one.command) is None or shutil.which("npm") is None):
        return f"{one.name}: needs {one.command} and npm on this machine; install them, such as from Debian"
    return ""


def _stamp(folder: Path) -> str:
    try:
        return (folder / STAMP).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
