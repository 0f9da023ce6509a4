"""A Keras model of somebody's own code: built, and looked at before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trustml.errors import UsageError
from trustml.models.layers import NativeModule
from trustml.models.native import OwnNetwork, load_callable

_EXAMPLES, _PERTURBED = 6, 2
_MOVED = 1e-5
"""Of the largest output: float32 in another order of adding moves less, and another example's part more."""


def own_model(layer: NativeModule, name: str = "network") -> tf.keras.Model:
    """Call the code; layers that name themselves are numbered from the beginning, so that names are always the same.

    `name` is that by which the model is found where it is a layer.

    Raises
    ------
    UsageError
        If it gives no model of Keras.
    """
    make = load_callable(layer)
    tf.keras.backend.reset_uids()
    found = make()
    if not isinstance(found, tf.keras.Model):
        raise UsageError(f"model: {layer.module} gives {type(found).__name__}; return a tf.keras.Model")
    found._name = name  # Keras has no other way to name a model that is there
    return found


def own_variables(model: tf.keras.Model) -> dict[str, tf.Variable]:
    """Give what trains, by its own name; of several with one name each later one has its number behind it."""
    found: dict[str, tf.Variable] = {}
    for variable in model.trainable_variables:
        name = _own_name(variable, model)
        found[name if name not in found else f"{name}#{len(found)}"] = variable
    return found


def _own_name(variable: tf.Variable, model: tf.keras.Model) -> str:
    """Name of a variable without that of the model, which one that is written as a class puts in front."""
    return variable.name.removesuffix(":0").removeprefix(f"{model.name}/")


def look_at(layer: NativeModule, input_shape: tuple[int, ...], seeds: Sequence[int]) -> OwnNetwork:
    """Build it once for each seed, and try it on random numbers; see :class:`OwnNetwork`."""
    weights, kept = [], []
    inputs = np.random.default_rng(0).normal(0, 1, (_EXAMPLES, *input_shape)).astype(np.float32)
    for seed in (*seeds, max(seeds) + 1):
        tf.keras.utils.set_random_seed(seed % 2**32)
        model = own_model(layer)
        outputs = model(tf.constant(inputs), training=False)  # a subclassed model makes its weights now
        weights.append({name: variable.numpy().copy() for name, variable in own_variables(model).items()})
        kept.append([variable.numpy() for variable in model.non_trainable_variables])
    if not weights[0]:
        raise UsageError("model: it has no weights that train; set trainable to True")
    names = [_own_name(variable, model) for variable in model.non_trainable_variables]
    for name, first, last in zip(names, kept[0], kept[-1], strict=True):
        if not np.array_equal(first, last):
            raise UsageError(f"model: {name} is drawn anew each time and does not train; let it train, or seed it")
    if len(outputs.shape) < 2 or len(outputs) != _EXAMPLES:
        shape = tuple(outputs.shape)
        raise UsageError(f"model: it gives shape {shape} for {_EXAMPLES} examples; return outputs (n, classes)")
    draws = not np.array_equal(*(model(tf.constant(inputs), training=True).numpy() for _ in range(2)))
    moves = [
        name
        for name, variable, before in zip(names, model.non_trainable_variables, kept[-1], strict=True)
        if not np.array_equal(variable.numpy(), before) and "seed_generator" not in name
    ]
    return OwnNetwork(
        weights=tuple(weights[:-1]),
        outputs=tuple(outputs.shape[1:]),
        mixes=_mixing_layer(model, inputs),
        moves=tuple(moves),
        draws=draws,
    )


def _mixing_layer(model: tf.keras.Model, inputs: np.ndarray) -> str:
    """Name the first layer by which one example changes what comes of another, in either mode; empty if none does."""
    other = inputs.copy()
    other[_PERTURBED] = 3.0 * other[_PERTURBED] + 1.0
    for training in (True, False):
        if not _moved(model, inputs, other, training=training):
            continue
        for layer in model.layers if getattr(model, "inputs", None) else ():
            part = tf.keras.Model(model.inputs, layer.output)
            if _moved(part, inputs, other, training=training):
                return f"{layer.name} ({type(layer).__name__})"
        return f"{model.name} ({type(model).__name__})"
    return ""


def _moved(model: tf.keras.Model, inputs: np.ndarray, other: np.ndarray, *, training: bool) -> bool:
    """Whether outputs of examples that were left alone are others, under the same masks of dropout."""
    found = []
    for rows in (inputs, other):
        tf.keras.utils.set_random_seed(0)
        found.append(model(tf.constant(rows), training=training).numpy())
    same = [row for row in range(_EXAMPLES) if row != _PERTURBED]
    gap = np.abs(found[0][same] - found[1][same]).max()
    return bool(not gap <= _MOVED * max(1e-3, float(np.abs(found[0]).max())))
