"""What is given to ``trustml.explain``, as the arrays that backends take."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.catalogue.methods import METHODS
from trustml.data.baselines import baseline_for, features_of
from trustml.data.dataset import Floats, Ints
from trustml.errors import UsageError
from trustml.scenario import methods as m
from trustml.scenario.baselines import Blur, Constants

Array: TypeAlias = npt.NDArray[Any]
_BY_NAME: dict[str, type[Any]] = {kind.__name__.lower(): kind for kind in METHODS}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Inputs and what goes with them, channels last."""

    inputs: Floats
    baseline: Floats
    background: Floats
    features: Ints


def method_of(method: m.Method | str) -> m.Method:
    """Give a method by its name, or as it is.

    Raises
    ------
    UsageError
    """
    if not isinstance(method, str):
        if type(method) not in METHODS:
            raise UsageError(f"method: {method!r} is none; use trustml.IntegratedGradients(), or its name")
        if getattr(method, "max_completeness_error", 0.0):
            raise UsageError("method.max_completeness_error: is for runs; set n_steps, and look at the residual")
        return method
    plain = method.replace("_", "").replace("-", "").replace(" ", "").lower()
    if plain not in _BY_NAME:
        close = difflib.get_close_matches(plain, _BY_NAME, 1)
        every = ", ".join(sorted(kind.__name__ for kind in METHODS))
        meant = f"did you mean {_BY_NAME[close[0]].__name__}?" if close else f"use one of {every}"
        raise UsageError(f"method: {method!r} is not known; {meant}")
    kind = _BY_NAME[plain]
    if needed := [one.name for one in msgspec.structs.fields(kind) if one.required]:
        raise UsageError(f"method: {kind.__name__} needs {', '.join(needed)}; give trustml.{kind.__name__}(...)")
    found: m.Method = kind()
    return found


def inputs_of(inputs: Any) -> tuple[Array, tuple[str, ...]]:
    """Inputs as an array, and the names of their columns where they are a table with names.

    Raises
    ------
    UsageError
    """
    names = tuple(map(str, getattr(inputs, "columns", ())))
    array = _array_of(inputs)
    if array.dtype.kind not in "biuf":
        raise UsageError(f"inputs: hold {array.dtype}, and attributions are of numbers; encode them as the model does")
    if not 2 <= array.ndim <= 4 or not array.size:
        raise UsageError(f"inputs: have shape {array.shape}; give (n, features), (n, steps, channels) or images")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UsageError("inputs: hold NaN or infinity; fill them in as the model's data was")
    return array, names


def _array_of(inputs: Any) -> Array:
    if hasattr(inputs, "detach"):
        inputs = inputs.detach().cpu()
        if str(inputs.dtype) == "torch.bfloat16":  # which numpy has not
            inputs = inputs.float()
    try:
        return np.asarray(inputs)
    except ValueError:
        raise UsageError("inputs: are no array: their rows differ in length; give (n, features) or images") from None


def prepared(method: m.Method, inputs: Floats, given: dict[str, Any]) -> Prepared:
    """Baseline, background and features of a method, in the shapes that backends take.

    Raises
    ------
    UsageError
        If one does not fit, or the method has none.
    """
    shape = inputs.shape[1:]
    return Prepared(
        inputs=inputs,
        baseline=_baseline_of(method, inputs, given["baseline"]),
        background=_background_of(method, shape, given["background"]),
        features=_features_of(method, shape, given["features"]),
    )


def _baseline_of(method: m.Method, inputs: Floats, given: Any) -> Floats:
    own = m.baseline_of(method)
    if given is not None:
        if own is None:
            raise UsageError(f"baseline: {method.title} has none; leave it out")
        return np.ascontiguousarray(np.broadcast_to(np.asarray(given, np.float32), inputs.shape))
    if own is None:
        return np.zeros_like(inputs)
    if not isinstance(own, int | float | Blur | Constants):
        raise UsageError(f"method.baseline: {type(own).__name__} is of a scenario's data; give baseline=, an array")
    return baseline_for(own, inputs=inputs, train=inputs[:0], heldout=inputs[:0])


def _background_of(method: m.Method, shape: tuple[int, ...], given: Any) -> Floats:
    if m.background_of(method) is None:
        if given is not None:
            raise UsageError(f"background: {method.title} has none; leave it out")
        return np.zeros((0, *shape), np.float32)
    if given is None:
        raise UsageError(f"background: {method.title} needs several baselines; give background=, rows of public data")
    found = np.asarray(given, np.float32)
    if found.shape[1:] != shape or not len(found):
        raise UsageError(f"background: has shape {found.shape}; give (b, {', '.join(map(str, shape))})")
    return found


def broadcast_baseline(given: Any, shape: tuple[int, ...]) -> Array | None:
    """Give a baseline the shape of the inputs as their owner has them; None where none is given.

    Raises
    ------
    UsageError
    """
    if given is None:
        return None
    try:
        return np.broadcast_to(_array_of(given).astype(np.float32), shape)
    except ValueError:
        raise UsageError(f"baseline: shape {np.shape(given)} does not go with inputs of shape {shape}") from None


def require_held(baseline: Floats, dtype: np.dtype[Any]) -> None:
    """Refuse a baseline that inputs of whole numbers cannot hold: it would be another one without a word.

    Raises
    ------
    UsageError
    """
    if dtype.kind == "f":
        return
    least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if (baseline == np.floor(baseline)).all() and least <= baseline.min() and baseline.max() <= most:
        return
    raise UsageError(f"baseline: inputs are {dtype}, which cannot hold it; give inputs as floats, or another baseline")


def _features_of(method: m.Method, shape: tuple[int, ...], given: Any) -> Ints:
    if given is None:
        return features_of(shape, patch=getattr(method, "patch", 1))
    found = np.asarray(given)
    numbers = np.unique(found)
    if found.shape != shape or found.dtype.kind not in "iu" or not np.array_equal(numbers, np.arange(len(numbers))):
        raise UsageError(f"features: give whole numbers from 0 without gaps, in the shape {shape} of one input")
    return found.astype(np.int64)


def targets_of(target: Any, outputs: Floats) -> Ints:
    """Column of the outputs (n, c) for each example; the largest where none is given.

    Raises
    ------
    UsageError
    """
    if target is None:
        return outputs.argmax(axis=1).astype(np.int64)
    found = np.asarray(target)
    if found.dtype.kind not in "iu" or found.ndim > 1 or (found.ndim and len(found) != len(outputs)):
        raise UsageError(f"target: give a column, or one for each of the {len(outputs)} examples")
    if found.size and not (0 <= found.min() and found.max() < outputs.shape[1]):
        raise UsageError(f"target: the model has outputs 0 to {outputs.shape[1] - 1}")
    return np.broadcast_to(found, len(outputs)).astype(np.int64)
