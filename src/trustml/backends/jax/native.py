"""A JAX network of somebody's own code: a module of Flax NNX, of Equinox, of Linen, of Haiku, or a pair (init, apply).

Whatever it is, what follows sees a function of arrays by name, of inputs and of a key. Nothing of those libraries is
imported here that the code did not import itself.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from trustml.errors import UsageError
from trustml.models.layers import NativeModule
from trustml.models.native import OwnNetwork, load_callable

Params: TypeAlias = dict[str, Array]
_Apply: TypeAlias = Callable[[Any, Array, "Array | None"], Any]
"""From a tree of parameters, inputs (n, *x) and a key, which is None outside of training, to outputs."""
_EXAMPLES, _PERTURBED = 6, 2
_MOVED = 1e-5
"""Of the largest output: float32 in another order of adding moves less, and another example's part more."""


@dataclass(frozen=True, kw_only=True)
class _Own:
    """A network as a function.

    Attributes
    ----------
    params : tree of arrays
        As the code drew them.
    apply : callable
    moves : tuple of str
        What else it keeps that is no parameter, and may change.
    """

    params: Any
    apply: _Apply
    moves: tuple[str, ...] = ()


def look_at(layer: NativeModule, input_shape: tuple[int, ...], seeds: Sequence[int]) -> OwnNetwork:
    """Build it once for each seed, and try it on random numbers; see :class:`OwnNetwork`."""
    weights = []
    for seed in seeds:
        own = _built(layer, input_shape, seed)
        _require_real(own.params)
        weights.append({name: np.array(array, np.float32) for name, array in _named(own.params).items()})
    if not weights[0]:
        raise UsageError("model: it has no parameters of floating point; make them arrays of float32")
    generator = np.random.default_rng(0)
    inputs = generator.normal(0, 1, (_EXAMPLES, *input_shape)).astype(np.float32)
    other = inputs.copy()
    other[_PERTURBED] = 3.0 * other[_PERTURBED] + 1.0
    key = jax.random.key(0)
    mixes = draws = False
    for at in (key, None):
        before, after = (_outputs(own, jnp.asarray(rows), at) for rows in (inputs, other))
        same = [row for row in range(_EXAMPLES) if row != _PERTURBED]
        gap = np.abs(before[same] - after[same]).max()
        mixes |= not gap <= _MOVED * max(1e-3, float(np.abs(before).max()))
    draws = not np.array_equal(_outputs(own, jnp.asarray(inputs), key), _outputs(own, inputs, jax.random.key(1)))
    return OwnNetwork(
        weights=tuple(weights),
        outputs=tuple(before.shape[1:]),
        mixes=", ".join(own.moves) or f"the network of {layer.module}" if mixes else "",
        moves=own.moves,
        draws=draws,
    )


def _require_real(params: Any) -> None:
    """Refuse leaves that float32 cannot hold, or that share a name.

    Raises
    ------
    UsageError
    """
    named = _named(params)
    for name, leaf in named.items():
        kind = jnp.result_type(leaf)
        if not jnp.issubdtype(kind, jnp.floating):
            problem = "and every parameter is trained as float32"
            fix = "hold two real ones" if jnp.issubdtype(kind, jnp.complexfloating) else "close apply over it"
            raise UsageError(f"model: parameter {name} is {kind}, {problem}; {fix} instead")
    if len(named) < len(jax.tree.leaves(params)):
        raise UsageError("model: two parameters have one name; give keys without dots, and none that is 'value'")


def own_outputs(layer: NativeModule, params: Params, inputs: Array, key: Array | None) -> Array:
    """Outputs (n, ...) of the network with parameters by name; for use in a compiled function."""
    own = _shared(layer, tuple(inputs.shape[1:]))
    leaves = [params[name] for name in _named(own.params)]
    tree = jax.tree.unflatten(jax.tree.structure(own.params), leaves)
    return jnp.asarray(own.apply(tree, inputs, key))


@functools.lru_cache(maxsize=16)
def _shared(layer: NativeModule, input_shape: tuple[int, ...]) -> _Own:
    with jax.ensure_compile_time_eval():  # it may be asked for while another function is traced
        return _built(layer, input_shape, 0)


def _outputs(own: _Own, inputs: Any, key: Array | None) -> np.ndarray[Any, Any]:
    found = np.asarray(own.apply(own.params, jnp.asarray(inputs), key))
    if found.ndim < 2 or len(found) != len(inputs):
        raise UsageError(f"model: it gives shape {found.shape} for {len(inputs)} examples; return outputs (n, classes)")
    return found


def _named(params: Any) -> dict[str, Array]:
    """Arrays by the names of the keys that lead to them."""
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        keys = [str(getattr(one, "key", getattr(one, "name", getattr(one, "idx", one)))) for one in path]
        found[".".join(one for one in keys if one not in ("value", "raw_value"))] = leaf
    return found


def _built(layer: NativeModule, input_shape: tuple[int, ...], seed: int) -> _Own:
    found = _called(load_callable(layer), layer, seed)
    key, example = jax.random.key(seed), jnp.zeros((1, *input_shape), jnp.float32)
    kinds = {kind.__module__.split(".")[0]: kind.__module__ for kind in reversed(type(found).__mro__)}
    if "flax" in kinds and ".nnx." in f"{kinds['flax']}.":
        return _of_nnx(found, jnp.asarray(np.random.default_rng(0).normal(size=(2, *input_shape)), jnp.float32))
    if "flax" in kinds:
        variables = dict(found.init(key, example))
        params = variables.pop("params", {})
        moves = tuple(f"{name} (a collection)" for name in variables)
        return _Own(params=params, apply=_linen(found), moves=moves)
    if "haiku" in kinds:
        return _Own(params=found.init(key, example), apply=lambda params, x, key: found.apply(params, key, x))
    if "equinox" in kinds:
        return _of_equinox(found)
    if isinstance(found, tuple) and len(found) == 2 and all(callable(one) for one in found):
        return _Own(params=found[0](key, example), apply=_with_key(found[1]))
    raise UsageError(
        f"model: {layer.module} gives {type(found).__name__}; return a module of Flax NNX, Linen, Haiku or Equinox, "
        "or a pair (init, apply) of init(key, inputs) and apply(params, inputs)"
    )


def _called(make: Any, layer: NativeModule, seed: int) -> Any:
    """Call it, with a key where it asks for one: libraries that draw at once have no seed of their own."""
    wanted = [one for one in inspect.signature(make).parameters.values() if one.default is one.empty]
    if len(wanted) > 1:
        names = ", ".join(one.name for one in wanted)
        raise UsageError(f"model: {layer.module} wants {names}; let it take nothing, or a key alone")
    return make(jax.random.key(seed)) if wanted else make()


def _with_key(apply: Callable[..., Any]) -> _Apply:
    """Give apply(params, inputs), or apply(params, inputs, key), one form."""
    several = len(inspect.signature(apply).parameters) > 2
    return (lambda params, x, key: apply(params, x, key)) if several else (lambda params, x, key: apply(params, x))


def _linen(module: Any) -> _Apply:
    def apply(params: Any, inputs: Array, key: Array | None) -> Any:
        return module.apply({"params": params}, inputs, rngs=None if key is None else {"dropout": key})

    return apply


def _of_nnx(module: Any, example: Array) -> _Own:
    nnx = importlib.import_module("flax.nnx")
    kinds = (nnx.Param, nnx.RngState, ...)
    modes = {mode: nnx.split(_in_mode(module, mode), *kinds)[0] for mode in ("eval", "train")}
    _, params, randoms, rest = nnx.split(module, *kinds)
    before = {name: np.array(array) for name, array in _named(rest).items()}
    module(example)
    after = _named(nnx.split(module, *kinds)[3])
    moves = tuple(name for name in after if name not in before or not np.array_equal(after[name], before[name]))
    rest = jax.tree.unflatten(jax.tree.structure(rest), [jnp.asarray(array) for array in before.values()])
    leaves, shape = jax.tree.flatten(randoms)

    def apply(tree: Any, inputs: Array, key: Array | None) -> Any:
        numbered = enumerate(leaves)
        drawn = [jax.random.fold_in(key, i) if key is not None and _is_key(one) else one for i, one in numbered]
        fresh = (jax.tree.map(lambda one: one, part) for part in (tree, jax.tree.unflatten(shape, drawn), rest))
        return nnx.merge(modes["eval" if key is None else "train"], *fresh)(inputs)

    return _Own(params=params, apply=apply, moves=moves)


def _in_mode(module: Any, mode: str) -> Any:
    """Put a module into training or evaluation mode, as far as it has them."""
    if hasattr(module, mode):
        getattr(module, mode)()
    return module


def _is_key(leaf: Any) -> bool:
    return bool(jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def _of_equinox(module: Any) -> _Own:
    equinox = importlib.import_module("equinox")
    params, static = equinox.partition(module, equinox.is_inexact_array)
    resting = equinox.nn.inference_mode(static)
    takes_key = "key" in inspect.signature(type(module).__call__).parameters

    def apply(tree: Any, inputs: Array, key: Array | None) -> Any:
        network = equinox.combine(tree, resting if key is None else static)
        if not takes_key:
            return jax.vmap(network)(inputs)
        keys = jax.random.split(jax.random.key(0) if key is None else key, len(inputs))
        return jax.vmap(lambda one, own: network(one, key=own))(inputs, keys)

    return _Own(params=params, apply=apply)
