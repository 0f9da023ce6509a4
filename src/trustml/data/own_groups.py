"""Features that a user joins: which values of an input are switched and ranked together."""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path

import numpy as np

from trustml.data.baselines import features_of
from trustml.data.dataset import Dataset, Floats, Ints
from trustml.data.files import read_npz
from trustml.data.superpixels import superpixels
from trustml.errors import ScenarioError
from trustml.scenario.groups import GroupMap, Groups, Superpixels

_FIELD = "explanations.groups"


def explained_features(dataset: Dataset, *, patch: int = 1, groups: Groups = (), inputs: Floats | None = None) -> Ints:
    """Number the feature of each value of an input, from 0 without gaps: by a user's groups, else as the data has them.

    Parameters
    ----------
    dataset : Dataset
    patch : int
        See :func:`trustml.data.baselines.features_of`.
    groups : Groups
    inputs : float32 array of shape (n, *x), optional
        Those that are explained, which superpixels are made of.

    Returns
    -------
    int64 array of shape (*x)

    Raises
    ------
    ScenarioError
        If the groups are no partition of the features, or the map does not fit.
    """
    if isinstance(groups, Superpixels):
        return superpixels(dataset.test.inputs if inputs is None else inputs, groups)
    if isinstance(groups, GroupMap):
        return _mapped(groups, dataset.input_shape)
    if groups:
        return _named(groups, dataset)
    return features_of(dataset.input_shape, patch=patch, groups=dataset.feature_groups)


def _named(groups: tuple[tuple[str, ...], ...], dataset: Dataset) -> Ints:
    names = dataset.feature_names
    if not names:
        raise ScenarioError(
            _FIELD,
            f"names features, and inputs of shape {dataset.input_shape} have none",
            fix="use GroupMap(path=...), an array of whole numbers in the shape of an input",
        )
    of: dict[str, int] = {}
    listed = Counter(name for group in groups for name in group)
    for number, group in enumerate(groups):
        for place, name in enumerate(group):
            field = f"{_FIELD}.{number}.{place}"
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                fix = f"did you mean {near[0]!r}?" if near else f"choose among {', '.join(names)}"
                raise ScenarioError(field, f"{name!r} names no feature", fix=fix)
            if listed[name] > 1:
                raise ScenarioError(field, f"{name!r} is named {listed[name]} times", fix="name it in one group")
            of[name] = number
    missing = [name for name in names if name not in of]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        problem = f"leaves out {', '.join(missing[:3])}{more}"
        raise ScenarioError(_FIELD, problem, fix="name every feature in one group, if need be alone")
    return np.array([of[names[feature]] for feature in dataset.feature_groups], np.int64)


def _mapped(groups: GroupMap, shape: tuple[int, ...]) -> Ints:
    field = f"{_FIELD}.path"
    (found,) = read_npz(Path(groups.path), names=(groups.array,))
    if found.dtype.kind not in "iu" or found.shape not in (shape, shape[:-1]):
        raise ScenarioError(
            field,
            f"{groups.array!r} of {groups.path} is {found.dtype} of shape {found.shape}",
            fix=f"give whole numbers of shape {shape}" + (f" or {shape[:-1]}" if len(shape) > 1 else ""),
        )
    if found.shape != shape:
        found = np.repeat(found[..., None], shape[-1], axis=-1)
    _, numbered = np.unique(found, return_inverse=True)  # any numbers may be used; ours have no gaps
    return numbered.reshape(shape).astype(np.int64)
