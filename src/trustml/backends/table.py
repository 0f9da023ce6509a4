"""A backend by its name. Importing this imports no framework; :func:`load_backend` imports one."""

from __future__ import annotations

import importlib

from trustml.backends.contract import Backend
from trustml.frameworks.table import entry_of
from trustml.scenario.spec import BackendName


def load_backend(name: BackendName) -> Backend:
    """Import one framework.

    Raises
    ------
    ImportError
        If its libraries are not in this environment.
    UsageError
        If there is no such backend.
    """
    backend: Backend = importlib.import_module(entry_of(name).module).BACKEND
    return backend
