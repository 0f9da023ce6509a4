"""Gradients averaged on the straight way from a baseline to an input.

Layers that are affine keep a straight way straight. So those in front of the first other layer are walked through
at the two ends alone, and the mean gradient is carried back through them once: of the layers that all points would
go through, the first and often the largest is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from trustml.backends.jax.network import Params, Values
from trustml.backends.jax.rules import logits_from, walk_over
from trustml.data.dataset import Floats
from trustml.models.graph import straight_until, value_name
from trustml.models.layers import Architecture

Gradient: TypeAlias = Callable[[Array, Array, Values], Array]
"""Values of rows, their targets and what else lies beside them, to gradients of the rows."""

_ROOM = 64
"""Points that a path has room for at least."""


class Path(NamedTuple):
    """Where to look on a way from 0 to 1, and how much each look counts.

    Attributes
    ----------
    points, shares : float32 arrays of shape (room,)
        Filled up with zeros, so that other numbers of points compile nothing anew.
    used : int
        Points that count.
    """

    points: Floats
    shares: Floats
    used: np.int32


def target_gradient(
    architecture: Architecture, params: Params, first: int, values: Array, targets: Array, beside: Values
) -> Array:
    """Gradient of each row's target logit with respect to what goes into node `first` of a chain.

    `beside` are the values of :func:`trustml.backends.jax.rules.values_beside`, which stay.
    """

    def chosen(values: Array) -> Array:
        logits = logits_from(architecture, params, first - 1, values, beside)
        return jnp.take_along_axis(logits, targets[:, None], axis=1).sum()

    return jax.grad(chosen)(values)


def path_points(n_steps: int) -> Path:
    """Gauss-Legendre points in (0, 1) and weights that sum to one."""
    points, shares = gauss_legendre(n_steps)
    room = (0, max(_ROOM, 1 << (n_steps - 1).bit_length()) - n_steps)
    return Path(np.pad(points, room), np.pad(shares, room), np.int32(n_steps))


def mean_gradient(
    architecture: Architecture,
    params: Params,
    begin: Array,
    end: Array,
    targets: Array,
    *,
    path: Path,
    rows: int,
    first: int = 0,
    beside: Values | None = None,
) -> Array:
    """Mean gradient of the target logit on the straight way from `begin` to `end`, both outputs of node `first` - 1.

    Parameters
    ----------
    architecture : Architecture
    params : dict
    begin, end : arrays of shape (n, *values)
    targets : int array of shape (n,)
    path : Path
    rows : int
        That go through the network at once.
    first : int
    beside : dict, optional
        What logits follow from beside that output; it stays as it is.

    Returns
    -------
    array of shape (n, *values)
    """
    bend = straight_until(architecture, first)

    def front(values: Array) -> Array:
        known = {value_name(architecture, first - 1): values}
        return walk_over(architecture.nodes[first:bend], params, known)[value_name(architecture, bend - 1)]

    def behind(values: Array, targets: Array, beside: Values) -> Array:
        return target_gradient(architecture, params, bend, values, targets, beside)

    goal, pull = jax.vjp(front, end)
    (found,) = pull(integrate(behind, front(begin), goal, targets, beside or {}, path=path, rows=rows))
    return found


def integrate(
    gradient: Gradient, begin: Array, end: Array, targets: Array, beside: Values, *, path: Path, rows: int
) -> Array:
    """Mean of a gradient on the straight way between rows of values."""
    most = len(path.points)
    together = max(1, min(most, rows // max(1, len(begin))))
    points, shares = (jnp.pad(part, (0, -most % together)).reshape(-1, together) for part in path[:2])
    several, change = jnp.tile(targets, together), end - begin
    several_beside = {name: jnp.tile(one, (together, *[1] * (one.ndim - 1))) for name, one in beside.items()}
    shape = jax.eval_shape(gradient, end, targets, beside)

    def add(group: Array, total: Array) -> Array:
        at = points[group].reshape(-1, *[1] * begin.ndim)
        places = (begin + at * change).reshape(-1, *begin.shape[1:])
        gradients = gradient(places, several, several_beside)
        share = shares[group].reshape(-1, *[1] * len(shape.shape))
        return total + (share * gradients.reshape(together, *shape.shape)).sum(axis=0)

    groups = (path.used + together - 1) // together
    return lax.fori_loop(0, groups, add, jnp.zeros(shape.shape, shape.dtype))


def gauss_legendre(n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in (0, 1) and weights that sum to one, float32."""
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    return ((1 + points) / 2).astype(np.float32), (weights / 2).astype(np.float32)
