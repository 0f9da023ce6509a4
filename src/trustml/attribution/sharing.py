"""Features of several values, such as the columns of one category: what one is worth, and whose share is whose."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from trustml.attribution.asking import Doubles
from trustml.data.dataset import Floats, Ints

Combine: TypeAlias = Literal["sum", "mean"]
"""How the attributions of a feature's values make that of the feature; see :func:`feature_values`."""


def feature_values(attributions: Floats, *, features: Ints, combine: Combine) -> Doubles:
    """Attribution of every feature.

    Contributions of single values (integrated gradients, DeepLIFT) add up to that of their feature: ``sum``. Methods
    that switch the values of a feature together give each of them the attribution of the whole, and slopes and
    magnitudes do not add up to anything, so that a sum would grow with the number of values alone: ``mean``, which
    of equal values is the value itself.

    Parameters
    ----------
    attributions : float array of shape (n, *x)
    features : int64 array of shape (*x)
        Feature that each value belongs to, numbered from 0 without gaps.
    combine : {"sum", "mean"}
        See :func:`trustml.catalogue.available.combine_of`.

    Returns
    -------
    float64 array of shape (n, features)
    """
    order = np.argsort(features, axis=None, kind="stable")
    sizes = np.bincount(features.ravel())
    flat = attributions.reshape(len(attributions), -1).astype(np.float64)
    sums = np.add.reduceat(flat[:, order], np.cumsum(sizes) - sizes, axis=1)
    return sums if combine == "sum" else sums / sizes


def share_out(attributions: Floats, *, features: Ints, span: Floats) -> Floats:
    """Divide the attribution of a feature among those of its values that differ from the baseline.

    Perturbation methods switch the values of a feature together and give *each* of them the whole attribution of the
    feature. Completeness and infidelity add over values and would count a feature of m values m times; not so with
    what this function gives. Ranks of features (:mod:`trustml.attribution.removal`) need the attributions as they
    were. Not for methods that attribute to single values, such as gradients.

    Parameters
    ----------
    attributions : float32 array of shape (n, *x)
        Equal for all values of a feature.
    features : int64 array of shape (*x)
        Feature that each value belongs to, as the method had it, numbered from 0 without gaps.
    span : float32 array of shape (n, *x)
        ``input - baseline``.

    Returns
    -------
    float32 array of shape (n, *x)
        Zero where a value is that of the baseline. A feature of which no value differs has no effect, and its
        attribution, 0 for every method that this is for, is dropped.
    """
    flat = features.ravel()
    differ = span.reshape(len(span), -1) != 0
    order, sizes = np.argsort(flat), np.bincount(flat)
    members = np.add.reduceat(differ[:, order].astype(np.int64), np.cumsum(sizes) - sizes, axis=1)
    shared = np.where(differ, attributions.reshape(len(span), -1) / np.maximum(members[:, flat], 1), 0.0)
    return shared.reshape(attributions.shape).astype(np.float32)
