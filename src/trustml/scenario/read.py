"""A ``.py`` or ``.toml`` file, with overrides, to a :class:`Scenario`."""

from __future__ import annotations

import runpy
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from trustml.errors import ScenarioError, UsageError
from trustml.models.native import native_of
from trustml.models.network_files import read_network_header
from trustml.models.tasks import without_later_defaults
from trustml.scenario.baselines import Background, Median, PublicExample
from trustml.scenario.check import check_backends
from trustml.scenario.groups import GroupMap
from trustml.scenario.problems import PlainData, explain_problem, nearest
from trustml.scenario.ready import near_file
from trustml.scenario.sampling import NO_TOML, Domain, Sample, range_of, sample_of
from trustml.scenario.sources import Csv, Files, Idx, Json, Module, Npz, Parquet, Series, Text
from trustml.scenario.spec import Scenario
from trustml.scenario.sweep import expand_sweeps, several_values, tuning_candidates

_Holder = TypeVar("_Holder", bound=msgspec.Struct)


def read_scenario(path: Path, *, overrides: Sequence[str] = ()) -> Scenario:
    """Read a scenario file and apply ``field.path=value`` overrides.

    Relative data paths, and a model that is named by a file of ``trustml import``, are taken from the folder of the
    scenario file.

    Raises
    ------
    UsageError
        If the file is missing or is no scenario.
    ScenarioError
        If a field is unknown or has the wrong type.
    """
    if path.suffix == ".py":
        data = _read_module(path)
    elif path.suffix == ".toml":
        data = _read_toml(path)
    else:
        raise UsageError(f"{path}: {_why_no_scenario(path)}")
    _read_model(data, path.parent, starts="start" not in data)
    scenario = overridden(from_plain(data), overrides, folder=path.parent)
    check_backends(scenario)
    return resolve_paths(scenario, folder=path.parent)


def overridden(scenario: Scenario, overrides: Sequence[str], *, folder: Path = Path()) -> Scenario:
    """Set fields by ``field.path=value``, and sweep over those of regimes that are given several values.

    A model that is named by a file of ``trustml import`` is taken from `folder`.

    Raises
    ------
    UsageError, ScenarioError
    """
    if not overrides:
        return scenario
    data = every_field(scenario)  # with all defaults, so that every field can be named
    grids: list[tuple[str, Domain]] = []
    sample: Sample | None = None
    for override in overrides:
        grid = range_of(override) or several_values(override)
        if grid is not None:
            grids.append(grid)
        elif (said := sample_of(override)) is not None:
            sample = said
        else:
            set_field(data, override)
    if sample is not None and not grids:
        raise UsageError(f"--sample {sample.count}: nothing to draw from; name a range, such as {_EXAMPLE}")
    _read_model(data, folder, starts=not any(one.strip().startswith("start") for one in overrides))
    if grids:  # last: a field that is set once is the same in all
        expand_sweeps(data, grids, sample=sample)
    return from_plain(data)


_EXAMPLE = "--grid training.1.optimizer.learning_rate=0.01..1:log"


def tuning_scenarios(scenario: Scenario, grid: Sequence[str], *, mean_runs: float) -> list[Scenario]:
    """Give the scenarios of which a tuned run draws one again and again, from ``FIELD=a,b,c``.

    Each run compiles for itself: a cache of all runs of the user tells whether others came before, by the programs that
    were at hand and by the time of first steps.

    Raises
    ------
    UsageError, ScenarioError
    """
    data = every_field(scenario)
    if data["execution"]["compilation_cache"] == "user":  # what earlier runs left in it tells that there were some
        data["execution"]["compilation_cache"] = "run"
    grids = [one for text in grid if (one := several_values(text)) is not None]
    if len(grids) < len(grid) or not grids:
        raise UsageError("tuning needs several values to choose from, such as training.0.optimizer.learning_rate=1,2")
    regimes, tried = tuning_candidates(data, grids)
    tuning = {"mean_runs": mean_runs, "tried": tried}
    return [from_plain({**data, "training": [regime], "tuning": tuning}) for regime in regimes]


def _read_model(data: PlainData, folder: Path, *, starts: bool) -> None:
    """Put the architecture in place of the name of a file of ``trustml import``, and start from it."""
    named = data.get("model")
    if isinstance(named, str):
        path = (folder / Path(named).expanduser()).resolve()
        data["model"] = msgspec.to_builtins(read_network_header(path).architecture)
        if starts:
            data["start"] = str(path)


def _why_no_scenario(path: Path) -> str:
    """Say what was named instead of a scenario, and what to do with it."""
    if path.is_dir():
        return "is a folder; name a .py or .toml file in it, or to see a run `trustml show` it"
    for kind, endings in _DATA_ENDINGS.items():
        if path.name.lower().endswith(endings):
            return (
                f"is a table or arrays, not a scenario; `trustml init {path.name}` writes one, or write a .toml file "
                f'that names it under [data] (kind = "{kind}", path = "{path.name}"), a [model] and [[training]]'
            )
    return "is no scenario, which is a .py or a .toml file; name one, or a ready one such as digits"


_DATA_ENDINGS = {
    "Csv": (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".data"),
    "Parquet": (".parquet", ".pq"),
    "Npz": (".npz", ".npy"),
    "Series": (".ts", ".ts.gz"),
    "Idx": ("-ubyte", "-ubyte.gz", ".idx", ".idx.gz"),
}


def from_plain(data: PlainData) -> Scenario:
    """Convert nested dicts and lists to a :class:`Scenario`.

    Raises
    ------
    ScenarioError
    """
    _default_optimizers(data)
    try:
        return msgspec.convert(data, Scenario)
    except msgspec.ValidationError as error:
        raise explain_problem(error, data, Scenario) from None


def _default_optimizers(data: PlainData) -> None:
    """Say in place that an optimizer without a kind is SGD."""
    regimes = data.get("training")
    for regime in regimes if isinstance(regimes, list | tuple) else ():
        optimizer = regime.get("optimizer") if isinstance(regime, dict) else None
        if isinstance(optimizer, dict):
            optimizer.setdefault("kind", "SGD")


def to_plain(scenario: Scenario) -> PlainData:
    """Return nested dicts and lists that :func:`from_plain` turns into the same scenario.

    A task is named where it is not the one that scenarios had before they named any: their records stay what they were.
    """
    return without_later_defaults(every_field(scenario))


def every_field(scenario: Scenario) -> PlainData:
    """Nested dicts and lists with every field, so that an override can name any."""
    found: PlainData = msgspec.json.decode(msgspec.json.encode(scenario))
    return found


def set_field(data: PlainData, override: str) -> None:
    """Set one field of plain data in place from ``training.1.epsilon=3``.

    The value is read as TOML (``3``, ``[1, 2]``, ``true``), else as text.

    Raises
    ------
    ScenarioError
        If there is no such field.
    """
    path, value = read_setting(override)
    keys = path.split(".")
    place: Any = data
    for depth, key in enumerate(keys[:-1]):
        place = _step(place, key, ".".join(keys[: depth + 1]))
    last = keys[-1]
    if isinstance(place, list):
        _step(place, last, path)
        place[int(last)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise ScenarioError(path, f"{'.'.join(keys[:-1])} is the value {place!r}", fix="name a field above it")


def read_setting(override: str) -> tuple[str, Any]:
    """Cut ``training.1.epsilon=3`` into the field and its value, read as TOML, else as text.

    Raises
    ------
    UsageError
        If it has no such form.
    """
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise UsageError(f"--set {override!r}: write it as FIELD=VALUE, such as training.1.epsilon=3")
    return path.strip(), _value(text)


def resolve_paths(scenario: Scenario, *, folder: Path) -> Scenario:
    """Make relative paths of data, starting weights and public rows absolute, from the folder of the scenario file."""
    scenario = resolve_own_code(_resolve_rows(scenario, folder), folder=folder)
    if scenario.start:
        start = str((folder / Path(scenario.start).expanduser()).resolve())
        scenario = msgspec.structs.replace(scenario, start=start)
    source = scenario.data
    match source:
        case Csv() | Parquet() | Json() | Series():
            fields: tuple[str, ...] = ("path", "test_path")
        case Text():
            fields = ("path", "test_path", "tokenizer")
        case Files():
            fields = ("path", "test_path", "table")
        case Npz():
            fields = ("path",)
        case Module():
            fields = ("folder",)
        case Idx():
            fields = ("images", "labels", "test_images", "test_labels")
        case _:
            return scenario
    found = {
        name: str((folder / Path(value).expanduser()).resolve())
        for name in fields
        if (value := getattr(source, name)) is not None
    }
    return msgspec.structs.replace(scenario, data=msgspec.structs.replace(source, **found))


def resolve_own_code(scenario: Scenario, *, folder: Path) -> Scenario:
    """Make the folder of own code absolute; its file of weights is where training starts.

    Raises
    ------
    ScenarioError
        If `start` names another file than the model does.
    """
    own = native_of(scenario.model)
    if own is None:
        return scenario
    found = {
        name: str((folder / Path(given).expanduser()).resolve()) if (given := getattr(own, name)) else ""
        for name in ("folder", "weights")
    }
    start = str((folder / Path(scenario.start).expanduser()).resolve()) if scenario.start else ""
    if start and found["weights"] and start != found["weights"]:
        problem = f"{scenario.start!r}, but the model's own code names its weights {own.weights!r}"
        raise ScenarioError("start", problem, fix="name one of them, and leave the other out")
    model = msgspec.structs.replace(scenario.model, layers=(msgspec.structs.replace(own, **found),))
    return msgspec.structs.replace(scenario, model=model, start=scenario.start or found["weights"])


def _resolve_rows(scenario: Scenario, folder: Path) -> Scenario:
    explanations = scenario.explanations
    methods = tuple(_with_absolute(method, folder) for method in explanations.methods)
    probes = _with_absolute(explanations.probes, folder)
    found = _with_absolute(msgspec.structs.replace(explanations, methods=methods, probes=probes), folder)
    return msgspec.structs.replace(scenario, explanations=found)


def _with_absolute(holder: _Holder, folder: Path) -> _Holder:
    """Make the paths of public rows and of maps absolute, whichever field holds them."""
    found: dict[str, Any] = {}
    for name in ("baseline", "background", "of", "groups"):
        value = getattr(holder, name, None)
        if isinstance(value, PublicExample | Median | Background | GroupMap) and value.path:
            path = str((folder / Path(value.path).expanduser()).resolve())
            found[name] = msgspec.structs.replace(value, path=path)
        elif name == "of" and isinstance(value, msgspec.Struct):
            found[name] = _with_absolute(value, folder)
    return msgspec.structs.replace(holder, **found) if found else holder


def _read_module(path: Path) -> PlainData:
    if not path.is_file():
        help_line = "`trustml run --help` tells what can be named"
        raise UsageError(f"{path}: no such scenario file; {near_file(path) or help_line}")
    try:
        names = runpy.run_path(str(path))
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{path}: the scenario module fails with {type(error).__name__}: {error}; fix it") from error
    scenario = names.get("scenario")
    if not isinstance(scenario, Scenario):
        raise UsageError(f"{path}: defines no `scenario = Scenario(...)`; add it at module level")
    return to_plain(scenario)


def _read_toml(path: Path) -> PlainData:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such scenario file; {near_file(path) or 'check the path'}") from None
    except (*NO_TOML, OSError) as error:
        raise UsageError(f"{path}: cannot be read as TOML ({error}); fix it") from None


def _step(place: Any, key: str, path: str) -> Any:
    if isinstance(place, list):
        if not (key.isascii() and key.isdigit() and len(key) < 10) or int(key) >= len(place):
            raise ScenarioError(path, f"there is no item {key} among {len(place)}", fix=f"use 0 to {len(place) - 1}")
        return place[int(key)]
    if isinstance(place, dict):
        if key not in place:
            raise ScenarioError(path, "is unknown", fix=nearest(key, list(place)))
        return place[key]
    raise ScenarioError(path, f"lies below the value {place!r}", fix="name a field above it")


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except NO_TOML:
        return None if text in {"none", "null"} else text


def read_study(path: Path, *, full: bool) -> tuple[Scenario, ...]:
    """Read ``study = (Scenario(...), ...)`` of a module, or its ``full``.

    Raises
    ------
    UsageError
        If the module is missing, fails, or has no such tuple.
    ScenarioError
    """
    name = "full" if full else "study"
    if path.suffix != ".py" or not path.is_file():
        raise UsageError(f"{path}: a study is a .py file with `{name} = (Scenario(...), ...)`; name another")
    try:
        found = runpy.run_path(str(path)).get(name)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{path}: the module fails with {type(error).__name__}: {error}; fix it") from error
    if not isinstance(found, tuple) or not found or not all(isinstance(one, Scenario) for one in found):
        raise UsageError(f"{path}: defines no `{name} = (Scenario(...), ...)`; add it at module level")
    return tuple(resolve_paths(from_plain(to_plain(one)), folder=path.parent) for one in found)
