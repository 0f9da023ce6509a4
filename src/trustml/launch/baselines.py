"""Baselines, backgrounds and features of the methods of a scenario, decided once for all backends."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from trustml.catalogue.available import why_unfit
from trustml.data.baselines import background_for, baseline_for
from trustml.data.dataset import Dataset, Floats
from trustml.data.own_groups import explained_features
from trustml.models.outcome import with_outcome
from trustml.record.array_names import array_name
from trustml.scenario.methods import CoalitionMethod, background_of, baseline_of, samples_of
from trustml.scenario.spec import Scenario, rows_of_explanations


def explanation_inputs(scenario: Scenario, dataset: Dataset, *, inputs: Floats) -> dict[str, npt.NDArray[Any]]:
    """Arrays by ``<method>.baseline``, ``<method>.background`` and ``<method>.features``, as far as needed.

    The plain names ``features`` and ``baseline`` are those of the probes.

    Raises
    ------
    ScenarioError
    """
    shape, groups = dataset.input_shape, scenario.explanations.groups
    train, heldout = dataset.train.inputs, dataset.test.inputs
    probes = scenario.explanations.probes
    arrays: dict[str, npt.NDArray[Any]] = {
        "features": explained_features(dataset, patch=probes.patch, groups=groups, inputs=inputs),
        "baseline": baseline_for(probes.baseline, inputs=inputs, train=train, heldout=heldout),
    }
    explained = with_outcome(scenario.model, scenario.task, scenario.explanations.quantity)
    for method in scenario.explanations.methods:
        if why_unfit(method, explained, shape):
            continue
        baseline, background = baseline_of(method), background_of(method)
        if baseline is not None:
            arrays[array_name(method.title, "baseline")] = baseline_for(
                baseline, inputs=inputs, train=train, heldout=heldout
            )
        if background is not None:
            arrays[array_name(method.title, "background")] = background_for(background, train=train, heldout=heldout)
        if hasattr(method, "patch"):
            arrays[array_name(method.title, "features")] = explained_features(
                dataset, patch=method.patch, groups=groups, inputs=inputs
            )
    return arrays


def with_samples(scenario: Scenario, dataset: Dataset) -> Scenario:
    """Write down the number of coalitions of every surrogate that leaves it to the number of features."""
    methods = tuple(
        replace(method, n_samples=samples_of(method, features=count))
        if isinstance(method, CoalitionMethod) and (count := _count(scenario, dataset, method))
        else method
        for method in scenario.explanations.methods
    )
    return replace(scenario, explanations=replace(scenario.explanations, methods=methods))


def sample_warnings(scenario: Scenario, dataset: Dataset) -> list[str]:
    """Warn of surrogates with fewer coalitions than features: they add up, and still rank by chance."""
    found = []
    for index, method in enumerate(scenario.explanations.methods):
        if not isinstance(method, CoalitionMethod) or method.n_samples is None:
            continue
        count = _count(scenario, dataset, method)
        if method.n_samples < count:
            found.append(
                f"explanations.methods.{index}.n_samples: {method.n_samples} coalitions leave the attributions of "
                f"{count} features open, whatever their sum; leave it out, or use "
                f"{samples_of(replace(method, n_samples=None), features=count)} or more"
            )
    return found


def _count(scenario: Scenario, dataset: Dataset, method: CoalitionMethod) -> int:
    """Number of features that a surrogate switches; 0 where it does not fit the model."""
    if why_unfit(method, scenario.model, dataset.input_shape):
        return 0
    inputs = dataset.test.inputs[np.array(scenario.explanations.chosen(len(dataset.test)), np.int64)]
    features = explained_features(dataset, patch=method.patch, groups=scenario.explanations.groups, inputs=inputs)
    return int(features.max()) + 1


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
