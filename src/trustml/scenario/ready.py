"""The scenarios that come with trustml, by name."""

from __future__ import annotations

from pathlib import Path

from trustml.errors import UsageError


def shipped(part: str) -> Path:
    """Folder of what is shipped beside the code: ``scenarios`` or ``apps``; in a checkout, its own."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_shipped" / part
    return installed if installed.is_dir() else package.parents[1] / part


def ready_scenarios() -> list[str]:
    """Names of the ready scenarios."""
    return sorted(path.stem for path in shipped("scenarios").glob("*.py"))


def find_scenario(name: str) -> Path:
    """Path of a scenario: the file itself, or a ready one by its name.

    Raises
    ------
    UsageError
    """
    path = Path(name)
    if path.suffix in (".py", ".toml") or path.exists():
        return path
    ready = ready_scenarios()
    if name in ready:
        return shipped("scenarios") / f"{name}.py"
    raise UsageError(f"{name}: neither a file nor a ready scenario; ready are {', '.join(ready)}")
