"""Which place a scenario means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trustml.launch.places.command import CommandEngine
from trustml.launch.places.contract import Engine, Place
from trustml.launch.places.local import LocalPlace
from trustml.launch.places.placed import EnginePlace
from trustml.launch.places.ray import RayEngine
from trustml.launch.places.slurm import SlurmEngine
from trustml.scenario import places

ENGINES: dict[type, Callable[[Any], Engine]] = {
    places.Slurm: SlurmEngine,
    places.Ray: RayEngine,
    places.Command: CommandEngine,
}


def make_place(spec: places.Place) -> Place:
    """Give the place that a scenario names."""
    if isinstance(spec, places.Local):
        return LocalPlace()
    return EnginePlace(ENGINES[type(spec)](spec), python=spec.python)
