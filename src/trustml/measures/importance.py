"""Rows on what counts over all explained examples: the mean magnitude of the attributions of each named feature."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trustml.attribution.sharing import Combine, feature_values
from trustml.catalogue.available import combine_of
from trustml.measures.evidence import Evidence, Explanation
from trustml.measures.means import mean_with_interval
from trustml.measures.row import About, Facts, Row
from trustml.record.schema import Manifest
from trustml.record.store import BASELINES, RunDirectory
from trustml.scenario.groups import GroupMap, Superpixels
from trustml.scenario.read import from_plain
from trustml.scenario.sources import Text

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MOST = 10
"""Features of each explanation that have a row: those that count most."""


def importance_rows(evidence: Evidence) -> list[Row]:
    """Rows for the features that count most by each explanation, where features have names of their own."""
    manifest = evidence.manifest
    scenario = from_plain(manifest.scenario)
    if not manifest.data.feature_groups or isinstance(scenario.data, Text):  # pixels; places in a text
        return []
    mapped = mapped_groups(evidence.run, manifest)
    rows: list[Row] = []
    for explanation in evidence.explanations:
        values = explanation.attributions[explanation.by_definition]
        if explanation.is_control or values.shape[1:] != explanation.job.input_shape:  # a layer's
            continue
        rows += _rows(evidence, explanation, values, mapped=mapped)
    return rows


def _rows(
    evidence: Evidence, explanation: Explanation, values: npt.NDArray[np.float32], *, mapped: Ints | None
) -> list[Row]:
    combine = combine_of(explanation.method)
    magnitudes, names, _ = magnitudes_by_feature(evidence.manifest, values, combine, mapped=mapped)
    variant = explanation.by_definition
    rows = []
    for place in np.argsort(-magnitudes.mean(axis=0), kind="stable")[:MOST]:
        mean = mean_with_interval(magnitudes[:, place])
        if mean is None:
            continue
        facts: Facts = {"variant": variant, "feature": names[place]}
        if explanation.quantity != "logit":
            facts["quantity"] = explanation.quantity
        rows.append(
            evidence.row(
                "mean_absolute_attribution",
                mean.value,
                record=explanation.record,
                subject=f"{explanation.name(variant)}: {names[place]}",
                method=explanation.title,
                n=mean.n,
                interval=mean.interval,
                about=About(
                    confidence=0.95 if mean.interval else None,
                    interval="exact bootstrap over examples" if mean.interval else "",
                    facts=facts,
                ),
            )
        )
    return rows


def magnitudes_by_feature(
    manifest: Manifest, array: npt.NDArray[np.float32], combine: Combine, *, mapped: Ints | None
) -> tuple[Doubles, tuple[str, ...], tuple[int, ...]]:
    """Give magnitudes (n, features), names of the features, and the shape that these have."""
    if mapped is not None:
        names = _mapped_names(manifest, mapped)
        return np.abs(feature_values(array, features=mapped, combine=combine)), names, (len(names),)
    if manifest.data.feature_groups:
        groups, names = _own_groups(manifest)
        return np.abs(feature_values(array, features=groups, combine=combine)), names, (len(names),)
    values = array.astype(np.float64)
    if values.ndim > 2:  # channels of a pixel, or of a step, are one
        values = values.sum(axis=-1) if combine == "sum" else values.mean(axis=-1)
    places = tuple(",".join(map(str, place)) for place in np.ndindex(values.shape[1:]))
    return np.abs(values.reshape(len(values), -1)), places, values.shape[1:]


def _own_groups(manifest: Manifest) -> tuple[Ints, tuple[str, ...]]:
    """Feature of each column of a table, and the features' names: groups of the scenario, where it names some."""
    data, asked = manifest.data, from_plain(manifest.scenario).explanations.groups
    if not isinstance(asked, tuple) or not asked:
        return np.array(data.feature_groups, np.int64), data.feature_names
    of = {name: number for number, group in enumerate(asked) for name in group}
    columns = [of[data.feature_names[feature]] for feature in data.feature_groups]
    return np.array(columns, np.int64), tuple(" + ".join(group) for group in asked)


def mapped_groups(run: RunDirectory, manifest: Manifest) -> Ints | None:
    """Group of each value of an input by the map of the scenario, as the run used it; None of others, and of copies.

    The map lies beside the run's baselines: the path that a record names may be anybody's.
    """
    asked = from_plain(manifest.scenario).explanations.groups
    if not isinstance(asked, GroupMap | Superpixels) or not run.file(BASELINES).is_file():
        return None
    groups: Ints = run.arrays(BASELINES)["features"]
    return groups


def _mapped_names(manifest: Manifest, mapped: Ints) -> tuple[str, ...]:
    """Names of the features in each group of a table; of other inputs, which have none, numbers."""
    data, count = manifest.data, int(mapped.max()) + 1
    if not data.feature_groups:
        return tuple(f"group {number}" for number in range(count))
    names = np.array([data.feature_names[feature] for feature in data.feature_groups])
    return tuple(" + ".join(dict.fromkeys(names[mapped == number])) for number in range(count))
