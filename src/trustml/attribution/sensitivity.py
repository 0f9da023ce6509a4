"""Robustness: how far an explanation moves when its input hardly does.

The same explanations of the same neighbours serve two measures: maximum sensitivity (Yeh et al., arXiv 1901.09392)
and the local Lipschitz estimate (Alvarez-Melis and Jaakkola, arXiv 1806.08049). Both are maxima over a sample, so
they rise with its size and can only be compared at the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trustml.attribution.asking import Doubles, Explain
from trustml.data.dataset import Floats


@dataclass(frozen=True, kw_only=True)
class Distances:
    """How far neighbours and their explanations lie from an example and its own; all in the Euclidean norm.

    Attributes
    ----------
    norms : float64 array of shape (n,)
        Of the example's own explanation.
    explanations : float64 array of shape (n, k)
        Between the neighbours' explanations and the example's, in the unit of the attributions.
    inputs : float64 array of shape (n, k)
        Between the neighbours and the example, in the unit of the input.
    """

    norms: Doubles
    explanations: Doubles
    inputs: Doubles


def neighbours(inputs: Floats, *, radius: float, samples: int, generator: np.random.Generator) -> Floats:
    """Draw points evenly from the box of half-width `radius` around each input (a ball of the maximum norm).

    Parameters
    ----------
    inputs : float32 array of shape (n, *x)
    radius : float
        In units of the input.
    samples : int
    generator : numpy.random.Generator

    Returns
    -------
    float32 array of shape (n, samples, *x)
        Values may leave the range of the data, as in Captum and Quantus.
    """
    moves = generator.uniform(-radius, radius, (len(inputs), samples, *inputs.shape[1:]))
    return (inputs[:, None] + moves).astype(np.float32)


def distances(explain: Explain, *, inputs: Floats, around: Floats, original: Floats | None = None) -> Distances:
    """Explain the neighbours and measure how far they and their explanations are.

    Parameters
    ----------
    explain : callable
        Called with n rows at a time, once for each neighbour. A method that draws random numbers must draw the
        same ones every time, or its own noise is measured too.
    inputs : float32 array of shape (n, *x)
    around : float32 array of shape (n, k, *x)
        From :func:`neighbours`.
    original : float32 array of shape (n, *x), optional
        Explanations of the inputs themselves, if they are there already.

    Returns
    -------
    Distances
    """
    own = explain(inputs) if original is None else original
    columns = [_norms(explain(np.ascontiguousarray(around[:, sample])), own) for sample in range(around.shape[1])]
    steps = [_norms(around[:, sample], inputs) for sample in range(around.shape[1])]
    return Distances(
        norms=_norms(own, np.zeros_like(own)), explanations=np.stack(columns, axis=1), inputs=np.stack(steps, axis=1)
    )


def max_sensitivity(found: Distances) -> Doubles:
    """Largest move of the explanation, relative to its own norm; (n,), the lower, the better.

    NaN where the example's own explanation is zero (Captum divides by 1 there, Quantus by 0).
    """
    largest = found.explanations.max(axis=1)
    return np.divide(largest, found.norms, out=np.full_like(largest, np.nan), where=found.norms > 0)


def local_lipschitz(found: Distances) -> Doubles:
    """Largest move of the explanation for each unit that the input moved; (n,), the lower, the better.

    A lower bound of the Lipschitz constant in the neighbourhood. It grows with the scale of the attributions, so
    only methods in the same unit compare. NaN where no neighbour differs from the example.
    """
    there = found.inputs > 0
    slopes = np.divide(found.explanations, found.inputs, out=np.full_like(found.inputs, -np.inf), where=there)
    return np.where(there.any(axis=1), slopes.max(axis=1), np.nan)


def _norms(first: Floats, second: Floats) -> Doubles:
    difference = (first.astype(np.float64) - second.astype(np.float64)).reshape(len(first), -1)
    return np.linalg.norm(difference, axis=1)
