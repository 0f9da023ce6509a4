"""What was found of an engine, as it is kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from trustml.conformance.findings import CheckResult
from trustml.errors import UsageError

CHECKED = "checked.json"


class CheckedEngine(msgspec.Struct, frozen=True, kw_only=True):
    """One engine's findings.

    Attributes
    ----------
    engine : str
    versions : dict of str to str
        By distribution, the library's own first.
    suite : str
        Digest of the suite and of what drives the engines, by which a result is told to be of an older one.
    findings : tuple of CheckResult
    problem : str
        Why there are none; empty where there are.
    """

    engine: str
    versions: dict[str, str] = {}
    suite: str = ""
    findings: tuple[CheckResult, ...] = ()
    problem: str = ""


def suite_digest() -> str:
    """Digest of the sources that decide what is found."""
    import trustml.conformance

    folders = [Path(trustml.conformance.__file__).parent, Path(__file__).parent]
    names = {"page.py", "faults.py", "command.py", "run.py", "games.py"}  # these show it, or are asked by others
    files = sorted(path for folder in folders for path in folder.rglob("*.py") if path.name not in names)
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def read_checked(path: Path) -> list[CheckedEngine]:
    """Read what was kept of some engines.

    Raises
    ------
    UsageError
        If it cannot be read as that.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[CheckedEngine])
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path}: no result of `trustml conformance --engine` ({error})") from error
