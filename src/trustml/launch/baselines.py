"""Baselines, backgrounds and features of the methods of a scenario, decided once for all backends."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from trustml.catalogue.available import why_unfit
from trustml.data.baselines import background_for, baseline_for, features_of
from trustml.data.dataset import Dataset, Floats
from trustml.scenario.baselines import uses_training_data
from trustml.scenario.methods import background_of, baseline_of
from trustml.scenario.spec import Scenario


def explanation_inputs(scenario: Scenario, dataset: Dataset, *, inputs: Floats) -> dict[str, npt.NDArray[Any]]:
    """Arrays by ``<method>.baseline``, ``<method>.background`` and ``<method>.features``, as far as needed.

    The plain names ``features`` and ``baseline`` are those of the probes.

    Raises
    ------
    ScenarioError
    """
    shape, train, groups = dataset.input_shape, dataset.train.inputs, dataset.feature_groups
    probes = scenario.explanations.probes
    arrays: dict[str, npt.NDArray[Any]] = {
        "features": features_of(shape, patch=probes.patch, groups=groups),
        "baseline": baseline_for(probes.baseline, inputs=inputs, train=train),
    }
    for method in scenario.explanations.methods:
        if why_unfit(method, scenario.model, shape):
            continue
        baseline, background = baseline_of(method), background_of(method)
        if baseline is not None:
            arrays[f"{method.title}.baseline"] = baseline_for(baseline, inputs=inputs, train=train)
        if background is not None:
            arrays[f"{method.title}.background"] = background_for(background, train=train)
        if hasattr(method, "patch"):
            arrays[f"{method.title}.features"] = features_of(shape, patch=method.patch, groups=groups)
    return arrays


def explanation_notes(scenario: Scenario) -> tuple[str, ...]:
    """Say which explanations rest on training data that no epsilon covers."""
    titles = [
        method.title
        for method in scenario.explanations.methods
        if uses_training_data(baseline_of(method)) or uses_training_data(background_of(method))
    ]
    if uses_training_data(scenario.explanations.probes.baseline):
        titles.append("probes")
    if not titles:
        return ()
    return (f"baselines of {', '.join(titles)} are taken from training examples, which no epsilon covers",)
