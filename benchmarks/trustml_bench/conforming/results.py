"""What was found of an engine, as it is kept."""

from __future__ import annotations

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
    findings : tuple of CheckResult
    problem : str
        Why there are none; empty where there are.
    """

    engine: str
    versions: dict[str, str] = {}
    findings: tuple[CheckResult, ...] = ()
    problem: str = ""


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
