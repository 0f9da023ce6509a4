"""Starting runs from the dashboard: always by the command line, in a process of its own, never in the dashboard's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import streamlit as st
from chosen_run import runs_folder
from msgspec import inspect

from trustml.errors import TrustmlError, UsageError
from trustml.launch.detached import start_detached
from trustml.record.store import RunDirectory
from trustml.scenario.read import every_field, read_scenario
from trustml.scenario.spec import Scenario

_PLAN_SECONDS = 600.0  # large data take a while to be read and planned
_LISTED = ("epsilon", "noise_multiplier", "epochs", "steps", "rounds", "batch_size", "clipping_norm")
"""Fields of a regime that the form shows, those it has; all others are fields of `--set`."""

_MAY_SET = ("training.", "execution.", "explanations.examples", "seeds")
"""Fields that may be set from the page: none names a file or code."""


@st.cache_resource
def _started() -> set[str]:
    """Names of runs that this server started; kept while it serves, also where this file is read anew."""
    return set()


def scenarios_folder() -> Path | None:
    """Folder of the scenarios that may be started, where the operator named one."""
    named = os.environ.get("TRUSTML_SCENARIOS")
    return Path(named) if named and Path(named).is_dir() else None


def scenario_files(folder: Path) -> list[str]:
    """Names of the scenarios in the operator's folder: no others can be started."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name.endswith((".py", ".toml")) and entry.is_file())


@dataclass(frozen=True, kw_only=True)
class FormField:
    """One field of the form.

    Attributes
    ----------
    path : str
        Of the scenario.
    value : Any
        In the file.
    choices : tuple of str
        Where only some words are allowed.
    kind : {"choice", "flag", "number", "whole number"}
    """

    path: str
    value: Any
    choices: tuple[str, ...]
    kind: str


def form_fields(scenario: Scenario) -> list[FormField]:
    """Fields of a scenario that a form asks for, from their types."""
    data = every_field(scenario)
    found = [_field(Scenario, data, "execution.device")]
    for index, regime in enumerate(scenario.training):
        plain = data["training"][index]
        names = [name for name in _LISTED if plain.get(name) is not None]
        if "learning_rate" in (plain.get("optimizer") or {}):
            names.append("optimizer.learning_rate")
        found += [_field(type(regime), plain, name, before=f"training.{index}.") for name in names]
    return found


def _field(kind: type, data: Mapping[str, Any], path: str, *, before: str = "") -> FormField:
    place, value = _type_at(inspect.type_info(kind), data, path.split("."))
    kinds = [one for one in _alternatives(place) if not isinstance(one, inspect.NoneType)]
    words = tuple(str(value) for one in kinds if isinstance(one, inspect.LiteralType) for value in one.values)
    if words:
        return FormField(path=before + path, value=value, choices=words, kind="choice")
    if any(isinstance(one, inspect.BoolType) for one in kinds):
        return FormField(path=before + path, value=value, choices=(), kind="flag")
    whole = all(isinstance(one, inspect.IntType) for one in kinds)
    return FormField(path=before + path, value=value, choices=(), kind="whole number" if whole else "number")


def _type_at(place: inspect.Type, data: Mapping[str, Any], keys: Sequence[str]) -> tuple[inspect.Type, Any]:
    """Type and value of a field; of several structs that may stand on the way, the one that does."""
    key, *below = keys
    there = [one for one in _alternatives(place) if isinstance(one, inspect.StructType)]
    tagged = [one for one in there if one.tag is None or one.tag == data.get(one.tag_field or "")]
    field = next(one for struct in tagged or there for one in struct.fields if one.encode_name == key)
    return _type_at(field.type, data[key], below) if below else (field.type, data[key])


def _alternatives(kind: inspect.Type) -> list[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        return _alternatives(kind.type)
    if isinstance(kind, inspect.UnionType):
        return [one for each in kind.types for one in _alternatives(each)]
    return [kind]


def overrides_of(asked: Mapping[str, Any], fields: Sequence[FormField]) -> list[str]:
    """Settings for what the form says otherwise than the file."""
    known = {field.path: field.value for field in fields}
    return [f"{path}={msgspec.json.encode(value).decode()}" for path, value in asked.items() if value != known[path]]


def read_choice(folder: Path, name: str) -> Scenario:
    """Read a scenario of the operator's folder.

    Raises
    ------
    UsageError
        If there is none of that name, or it cannot be read.
    """
    if name not in scenario_files(folder):
        raise UsageError(f"{name}: is no scenario of {folder}; choose one that is listed")
    return read_scenario(folder / name)


def ask(folder: Path, name: str, *, settings: Sequence[str], options: Sequence[str]) -> dict[str, Any]:
    """Plan or start a run by the command line, and give what it says as JSON.

    Raises
    ------
    UsageError
        With the command's own line, where it refuses.
    """
    if name not in scenario_files(folder):
        raise UsageError(f"{name}: is no scenario of {folder}; choose one that is listed")
    for text in settings:
        if not text.startswith(_MAY_SET):
            fields = ", ".join(one.rstrip(".") for one in _MAY_SET)
            raise UsageError(f"{text}: cannot be set from here; set fields of {fields}, or change the file")
    given = [f"--set={text}" for text in settings]  # one word each: what a reader types is never an option
    command = ["run", str(folder / name), f"--runs={runs_folder().resolve()}", "--json", *options, *given]
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "trustml.cli", *command],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_PLAN_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"{name}: was not planned in {_PLAN_SECONDS:.0f} seconds; use the command line") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["trustml run ended without a word"]
        raise UsageError(said[-1].removeprefix("Error: "))
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    if "run" in found:
        _started().add(found["run"])
    return found


def unfinished() -> list[RunDirectory]:
    """Runs that this server started and that ended before they were done.

    No others: a record that came from elsewhere may name code, which only whoever calls the command line may start.
    """
    found = []
    for name in sorted(_started()):
        run = RunDirectory(runs_folder() / name)
        try:
            if not run.is_executed() and run.manifest().status != "success":
                found.append(run)
        except TrustmlError:  # removed, or damaged, since
            continue
    return found


def go_on(run: RunDirectory) -> None:
    """Do what is missing of a run of :func:`unfinished`, in a process of its own.

    Raises
    ------
    UsageError
    """
    if run.path.name not in _started():
        raise UsageError(f"{run.path.name}: was not started here; use `trustml run --resume`")
    start_detached(run)
