"""The backends by name. Importing this imports no framework; :func:`load_backend` imports one."""

from __future__ import annotations

import importlib

from trustml.backends.contract import Backend
from trustml.scenario.spec import BackendName

_MODULES: dict[BackendName, str] = {
    "torch": "trustml.backends.torch",
    "jax": "trustml.backends.jax",
    "tensorflow": "trustml.backends.tensorflow",
}


def load_backend(name: BackendName) -> Backend:
    """Import one framework.

    Raises
    ------
    ImportError
        If its libraries are not in this environment.
    """
    backend: Backend = importlib.import_module(_MODULES[name]).BACKEND
    return backend
