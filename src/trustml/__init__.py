"""trustml: what privacy, federation and the choice of framework cost, and whether the claims can be trusted.

>>> import trustml
>>> run = trustml.run("scenarios/digits.py")        # doctest: +SKIP
>>> run.measures()                                  # doctest: +SKIP

Names are imported when they are first used, so that ``import trustml`` costs nothing and works in every
backend's environment.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trustml.api import Run, load, resume, run
    from trustml.errors import (
        DataError,
        EnvironmentMissingError,
        PrivacyError,
        RecordError,
        RunNotFoundError,
        ScenarioError,
        TrustmlError,
        UsageError,
    )
    from trustml.models.layers import (
        GELU,
        Architecture,
        AvgPool,
        Conv2D,
        Dense,
        Dropout,
        Flatten,
        GroupNorm,
        LayerNorm,
        MaxPool,
        ReLU,
        Tanh,
    )
    from trustml.scenario.regimes import DPSGD, SGD, FedAvg, Plain
    from trustml.scenario.sources import BreastCancer, Csv, Digits, Idx, Npz, Parquet
    from trustml.scenario.spec import Execution, Explanations, IntegratedGradients, Scenario

_HOMES = {
    "trustml.api": ("Run", "load", "resume", "run"),
    "trustml.errors": (
        "DataError",
        "EnvironmentMissingError",
        "PrivacyError",
        "RecordError",
        "RunNotFoundError",
        "ScenarioError",
        "TrustmlError",
        "UsageError",
    ),
    "trustml.models.layers": (
        "GELU",
        "Architecture",
        "AvgPool",
        "Conv2D",
        "Dense",
        "Dropout",
        "Flatten",
        "GroupNorm",
        "LayerNorm",
        "MaxPool",
        "ReLU",
        "Tanh",
    ),
    "trustml.scenario.regimes": ("DPSGD", "SGD", "FedAvg", "Plain"),
    "trustml.scenario.sources": ("BreastCancer", "Csv", "Digits", "Idx", "Npz", "Parquet"),
    "trustml.scenario.spec": ("Execution", "Explanations", "IntegratedGradients", "Scenario"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DPSGD",
    "GELU",
    "SGD",
    "Architecture",
    "AvgPool",
    "BreastCancer",
    "Conv2D",
    "Csv",
    "DataError",
    "Dense",
    "Digits",
    "Dropout",
    "EnvironmentMissingError",
    "Execution",
    "Explanations",
    "FedAvg",
    "Flatten",
    "GroupNorm",
    "Idx",
    "IntegratedGradients",
    "LayerNorm",
    "MaxPool",
    "Npz",
    "Parquet",
    "Plain",
    "PrivacyError",
    "ReLU",
    "RecordError",
    "Run",
    "RunNotFoundError",
    "Scenario",
    "ScenarioError",
    "Tanh",
    "TrustmlError",
    "UsageError",
    "load",
    "resume",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'trustml' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
