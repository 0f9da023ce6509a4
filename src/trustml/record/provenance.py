"""What the result depends on besides the scenario: machine, packages, revision of trustml."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from pathlib import Path

import msgspec

MAIN_PACKAGES = ("trustml", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "msgspec", "dp-accounting")


def package_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Installed versions, without importing; packages that are not there are left out."""
    from importlib import metadata

    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Machine of a cluster that a job ran on. Unknown fields are passed over, as in all of a record.

    Parameters
    ----------
    name : str
    cores : int
        That the job may use.
    memory : int
        Bytes, of the machine.
    processor : str
    load : float
        Of the last minute before the job.
    """

    name: str
    cores: int = 0
    memory: int = 0
    processor: str = ""
    load: float = 0.0


def this_node() -> NodeRecord:
    """Describe this machine, as far as it bears on times."""
    return NodeRecord(
        name=socket.gethostname(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        memory=_memory(),
        processor=_processor(),
        load=round(os.getloadavg()[0], 2),
    )


def trustml_version() -> str:
    """Version of trustml as it is installed; ``unknown`` where it is found by a path alone."""
    return package_versions(("trustml",)).get("trustml", "unknown")


def hardware() -> dict[str, str]:
    """Processor, cores, memory and system."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": str(os.cpu_count() or 0),
        "memory_gib": f"{_memory() / 2**30:.1f}",
        "system": f"{platform.system()} {platform.release()}",
    }


def source_revision(*, also: Path | None = None) -> dict[str, str]:
    """In a checkout, its commit and how many files of trustml were changed.

    Parameters
    ----------
    also : Path, optional
        Folder of the checkout whose changed files count too.
    """
    package = Path(__file__).resolve().parents[1]
    found: dict[str, str] = {}
    try:
        top = Path(_git(package, "rev-parse", "--show-toplevel"))
        if package == top / "src" / "trustml":  # an installed copy may lie inside somebody else's checkout
            more = [str(also)] if also is not None else []
            found["commit"] = _git(package, "rev-parse", "HEAD")
            found["changed_files"] = str(len(_git(package, "status", "--porcelain", "--", ".", *more).splitlines()))
    except (OSError, subprocess.SubprocessError):
        pass
    return found


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def _memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
