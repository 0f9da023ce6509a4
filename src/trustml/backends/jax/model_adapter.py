"""Somebody's JAX function of parameters and inputs."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from trustml.backends.contract import LiveModel
from trustml.data.dataset import Floats, Ints
from trustml.models.native import Lent
from trustml.record.files import arrays_digest


class JaxLiveModel:
    """See :class:`trustml.backends.contract.LiveModel`.

    Parameters
    ----------
    function : callable
        ``function(params, inputs)`` to outputs (n, ...).
    params : pytree of arrays
    """

    def __init__(self, function: Callable[[Any, Any], Any], params: Any) -> None:
        self._function, self._params = function, params
        self._gradient = jax.jit(jax.grad(self._chosen, argnums=1))

    def outputs(self, inputs: npt.NDArray[Any]) -> Floats:
        """Return what the function returns; it is not compiled here, as its owner may have done so."""
        return np.asarray(self._function(self._params, _single(inputs)), np.float32)

    def input_gradients(self, inputs: Floats, columns: Ints) -> Floats:
        """Gradient of each example's column, (n, *x)."""
        if not np.issubdtype(np.asarray(inputs).dtype, np.floating):
            raise TypeError("its inputs are integers, which have no gradient")
        return np.asarray(self._gradient(self._params, _single(inputs), np.asarray(columns, np.int32)), np.float32)

    @contextmanager
    def randomised(self, seed: int) -> Iterator[LiveModel]:
        """Give the function with shuffled parameters."""
        generator = np.random.default_rng(seed)

        def shuffled(leaf: Any) -> Any:
            values = _array_of(leaf)
            if not np.issubdtype(values.dtype, np.floating):
                return leaf
            return jnp.asarray(values.ravel()[generator.permutation(values.size)].reshape(values.shape))

        yield JaxLiveModel(self._function, jax.tree_util.tree_map(shuffled, self._params))

    def digest(self) -> str:
        """Identify the function by its parameters; its code is not looked at."""
        leaves = jax.tree_util.tree_flatten_with_path(self._params)[0]
        return arrays_digest((jax.tree_util.keystr(path), _array_of(leaf)) for path, leaf in leaves)

    def library_attributions(
        self, inputs: Floats, columns: Ints, *, baseline: Floats, n_steps: int, rows: int = 256
    ) -> dict[str, Floats]:
        """No library of attributions for JAX is called."""
        return {}

    def _chosen(self, params: Any, inputs: Array, columns: Array) -> Array:
        outputs = self._function(params, inputs)
        return jnp.take_along_axis(outputs.reshape(len(outputs), -1), columns[:, None], axis=1).sum()


def live_model(model: Any) -> LiveModel:
    """Wrap an object with ``function`` and ``params``."""
    return JaxLiveModel(model.function, model.params)


_numbers = itertools.count()
_known: dict[tuple[int, Any], tuple[weakref.ref[Any], str]] = {}


def lent_model(model: Any, *, channels_first: bool) -> Lent:
    """Lend an object with ``function`` and ``params``; its arrays are arguments of what is compiled.

    As with ``jax.jit``, what the function reads beside its arguments is what it was at the first call.
    """
    leaves, tree = jax.tree.flatten(model.params)
    keys = {number: jax.random.key_impl(leaf) for number, leaf in enumerate(leaves) if _is_key(leaf)}
    function, count = model.function, len(leaves)

    def apply(arrays: dict[str, Array], inputs: Array) -> Array:
        given = [
            jax.random.wrap_key_data(arrays[str(number)], impl=keys[number]) if number in keys else arrays[str(number)]
            for number in range(count)
        ]
        laid_out = jnp.moveaxis(inputs, -1, 1) if channels_first else inputs
        outputs = function(jax.tree.unflatten(tree, given), laid_out)
        return outputs.reshape(len(outputs), -1)

    weights = {str(number): _array_of(leaf) for number, leaf in enumerate(leaves)}
    arrays = {name: jnp.asarray(array) for name, array in weights.items()}
    name = _name_of(function, (tree, channels_first, tuple(map(str, keys.items()))))
    return Lent(make=lambda: (lambda key, example: arrays, apply), weights=weights, name=name)


def _name_of(function: Any, rest: Any) -> str:
    """Name a function, the same each time for as long as it lives."""
    place, new = (id(function), rest), f"lent:jax:{next(_numbers)}"
    try:
        if place in _known and _known[place][0]() is function:
            return _known[place][1]
        _known[place] = weakref.ref(function, lambda _: _known.pop(place, None)), new
    except TypeError:  # nothing tells when it is gone, or its parameters hold what cannot be compared
        pass
    return new


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _array_of(leaf: Any) -> npt.NDArray[Any]:
    """A leaf of parameters; of a key of a generator its words."""
    if _is_key(leaf):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def _single(inputs: npt.NDArray[Any]) -> Array:
    """Doubles as singles: JAX would do so too, and warn."""
    values = np.asarray(inputs)
    return jnp.asarray(values.astype(np.float32) if values.dtype == np.float64 else values)
