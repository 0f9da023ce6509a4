"""A study: several scenarios in one module, whose runs are read together."""

from __future__ import annotations

import runpy
from pathlib import Path

from trustml.errors import UsageError
from trustml.scenario.read import from_plain, resolve_paths, to_plain
from trustml.scenario.spec import Scenario


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
