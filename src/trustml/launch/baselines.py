"""Baselines, backgrounds and features of the methods of a scenario, decided once for all backends."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from trustml.catalogue.available import why_unfit
from trustml.data.baselines import background_for, baseline_for, features_of
from trustml.data.dataset import Dataset, Floats
from trustml.record.array_names import array_name
from trustml.scenario.methods import background_of, baseline_of
from trustml.scenario.spec import Scenario, rows_of_explanations


def explanation_inputs(scenario: Scenario, dataset: Dataset, *, inputs: Floats) -> dict[str, npt.NDArray[Any]]:
    """Arrays by ``<method>.baseline``, ``<method>.background`` and ``<method>.features``, as far as needed.

    The plain names ``features`` and ``baseline`` are those of the probes.

    Raises
    ------
    ScenarioError
    """
    shape, groups = dataset.input_shape, dataset.feature_groups
    train, heldout = dataset.train.inputs, dataset.test.inputs
    probes = scenario.explanations.probes
    arrays: dict[str, npt.NDArray[Any]] = {
        "features": features_of(shape, patch=probes.patch, groups=groups),
        "baseline": baseline_for(probes.baseline, inputs=inputs, train=train, heldout=heldout),
    }
    for method in scenario.explanations.methods:
        if why_unfit(method, scenario.model, shape):
            continue
        baseline, background = baseline_of(method), background_of(method)
        if baseline is not None:
            arrays[array_name(method.title, "baseline")] = baseline_for(
                baseline, inputs=inputs, train=train, heldout=heldout
            )
        if background is not None:
            arrays[array_name(method.title, "background")] = background_for(background, train=train, heldout=heldout)
        if hasattr(method, "patch"):
            arrays[array_name(method.title, "features")] = features_of(shape, patch=method.patch, groups=groups)
    return arrays


def explanation_notes(scenario: Scenario) -> tuple[str, ...]:
    """Say which explanations rest on rows that no epsilon covers."""
    shown = rows_of_explanations(scenario.explanations.methods, scenario.explanations.probes)
    found = []
    if shown["training"]:
        names = ", ".join(shown["training"])
        found.append(f"baselines of {names} are taken from training examples, which no epsilon covers")
    if shown["held-out"]:
        found.append(f"baselines of {', '.join(shown['held-out'])} are held-out examples, which are disclosed by them")
    return tuple(found)
