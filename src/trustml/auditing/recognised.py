"""Models that are known by the names of their classes: those with a call of their own, and those that need a word more.

Nothing is imported that the model's owner has not imported already.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.errors import UsageError

_WITH_STATE = "trustml.JaxModel(transformed.apply, (params, state))"
_NEEDS = (
    ("haiku", "Transformed", "a transform of Haiku without its parameters",
     "trustml.JaxModel(transformed.apply, params)"),
    ("haiku", "TransformedWithState", "a transform of Haiku without its parameters and its state", _WITH_STATE),
    ("flax.linen", "Module", "a Flax module, whose parameters lie elsewhere",
     "trustml.JaxModel(module.apply, variables)"),
    ("flax.training", "TrainState", "a state of training of Flax, and what its parameters go by is not in it",
     "trustml.JaxModel(lambda params, x: state.apply_fn({'params': params}, x), state.params)"),
    ("torch.export", "ExportedProgram", "a program of torch.export, which is not called itself", "program.module()"),
    ("tensorflow.python.saved_model", "_UserObject", "a SavedModel of TensorFlow",
     "lambda x: loaded.signatures['serving_default'](tf.constant(x))[output].numpy()"),
)  # fmt: skip
"""Package, class, what it is, and what to audit instead."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A model as a function of its arrays and of inputs.

    Attributes
    ----------
    kind : str
        In words.
    function : callable
        ``function(params, inputs)`` to outputs (n, ...).
    params : pytree of arrays
    """

    kind: str
    function: Callable[[Any, Any], Any]
    params: Any


@dataclass(frozen=True, kw_only=True)
class Booster:
    """Trees that are asked by a call of their own.

    Attributes
    ----------
    kind : str
        In words.
    ask : callable
        Tables (n, d), whose columns are in the order of training, to outputs.
    columns : tuple of str
        Names of the columns; empty where it was fitted on an array.
    """

    kind: str
    ask: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    columns: tuple[str, ...]


def descends(model: Any, package: str, name: str) -> bool:
    """Whether a class of that name from that package, or a part of it, is among those a model descends from."""
    return any(
        kind.__name__ == name and f"{kind.__module__}.".startswith(f"{package}.") for kind in type(model).__mro__
    )


def refuse_unfinished(model: Any) -> None:
    """Refuse what is known and is not yet a model that can be asked, with the line that makes it one.

    Raises
    ------
    UsageError
    """
    for package, name, what, line in _NEEDS:
        if descends(model, package, name):
            raise UsageError(f"model: is {what}; audit `{line}`")


def is_regressor(model: Any) -> bool:
    """Whether it is an estimator that says, as scikit-learn's do, that it predicts numbers."""
    if not callable(getattr(model, "predict", None)):
        return False
    try:
        found: Any = model.__sklearn_tags__().estimator_type
    except Exception:  # there are no tags, or what is wrapped has none
        found = getattr(model, "_estimator_type", None)
    return bool(found == "regressor")


def function_of(model: Any) -> Function | None:
    """Give what libraries of JAX make as a function of its arrays; None for anything else.

    Raises
    ------
    UsageError
        If a function of Haiku keeps a state and is given none, or a module of NNX cannot be taken apart.
    """
    if descends(model, "flax.linen", "Module") and getattr(model, "scope", None) is not None:
        return _given_params(*model.unbind())
    if descends(model, "flax.nnx", "Module"):
        return _nnx(model)
    if descends(model, "equinox", "Module"):
        return _equinox(model)
    if isinstance(model, tuple) and len(model) == 2 and not hasattr(model, "_fields"):
        return _given_params(*model)
    return None


def _given_params(function: Any, params: Any) -> Function | None:
    """Give a function, or what has one as ``apply``, with its parameters; None for a function that needs no more."""
    named = descends(function, "haiku", "Transformed") or descends(function, "haiku", "TransformedWithState")
    if named or descends(function, "flax.linen", "Module"):
        found = _given_params(function.apply, params)
        kind = "Haiku transform" if named else f"Flax module ({type(function).__name__})"
        return found or Function(kind=kind, function=function.apply, params=params)
    if not callable(function) or not str(getattr(function, "__module__", "")).startswith("haiku."):
        return None
    names = list(inspect.signature(function).parameters)[1:3]
    stateful = names[:1] == ["state"]
    without_generator: tuple[None, ...] = (None,) if names[stateful:][:1] == ["rng"] else ()
    if not stateful:
        return Function(
            kind="Haiku transform",
            function=lambda params, inputs: function(params, *without_generator, inputs),
            params=params,
        )
    if not isinstance(params, tuple) or len(params) != 2:
        raise UsageError(f"model: is a function of Haiku with a state, which is not given; audit `{_WITH_STATE}`")
    return Function(
        kind="Haiku transform",
        function=lambda both, inputs: function(*both, *without_generator, inputs)[0],
        params=params,
    )


def _nnx(model: Any) -> Function:
    """Give a module of Flax NNX, in evaluation mode, without the generators that only training draws from."""
    nnx = sys.modules["flax.nnx"]
    try:
        graph, generators, state = nnx.split(model, nnx.RngState, ...)
    except Exception as error:  # whatever a stranger's model raises
        raise UsageError(
            f"model: a {type(model).__name__} could not be taken apart by nnx.split ({type(error).__name__}); give "
            "`lambda inputs: model(inputs)`"
        ) from None
    return Function(
        kind=f"Flax NNX module ({type(model).__name__})",
        function=lambda state, inputs: nnx.merge(graph, generators, state)(inputs),
        params=state,
    )


def _equinox(model: Any) -> Function:
    """Give a module of Equinox, which by convention takes one example, as a function of many; wrappers as they are."""
    equinox = sys.modules["equinox"]
    inner = getattr(model, "__wrapped__", model)
    if type(model).__name__ == "_JitWrapper" and descends(inner, "equinox", "Module"):
        return _equinox(inner)
    arrays, rest = equinox.partition(equinox.nn.inference_mode(model), equinox.is_array)
    of_many = inner is not model

    def function(arrays: Any, inputs: Any) -> Any:
        whole = equinox.combine(arrays, rest)
        return whole(inputs) if of_many else equinox.filter_vmap(whole)(inputs)

    return Function(kind=f"Equinox module ({type(inner).__name__})", function=function, params=arrays)


def keras_3_backend(model: Any) -> str:
    """Name of what a model of Keras 3 computes with; empty for any other model."""
    keras = sys.modules.get("keras")
    if keras is None or not descends(model, "keras", "Model") or not str(keras.__version__).startswith("3."):
        return ""
    return str(keras.config.backend())


def padding_of(model: Any) -> int | None:
    """Token that pads the inputs of a model of Hugging Face, where it takes a mask that says so; None for others."""
    forward, padding = getattr(model, "forward", None), getattr(getattr(model, "config", None), "pad_token_id", None)
    if not callable(forward) or not isinstance(padding, int):
        return None
    return padding if "attention_mask" in inspect.signature(forward).parameters else None


def keras_function(model: Any) -> Function:
    """Give a model of Keras 3 on JAX as a function of its arrays."""
    params = {
        "trained": [one.value for one in model.trainable_variables],
        "other": [one.value for one in model.non_trainable_variables],
    }

    def function(params: dict[str, list[Any]], inputs: Any) -> Any:
        return model.stateless_call(params["trained"], params["other"], inputs, training=False)[0]

    return Function(kind=keras_kind(model), function=function, params=params)


def keras_kind(model: Any) -> str:
    """Name a model of Keras 3 and what it computes with."""
    return f"Keras model on {keras_3_backend(model)} ({type(model).__name__})"


def booster_of(model: Any) -> Booster | None:
    """Give a booster of LightGBM or XGBoost, which are no estimators of scikit-learn; None for anything else."""
    if descends(model, "lightgbm", "Booster"):
        names = named_columns(model.feature_name())
        return Booster(kind="LightGBM Booster", ask=lambda table: np.asarray(model.predict(table)), columns=names)
    if not descends(model, "xgboost", "Booster"):
        return None
    xgboost, names = sys.modules["xgboost"], tuple(model.feature_names or ())

    def ask(table: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.asarray(model.predict(xgboost.DMatrix(table, feature_names=list(names) or None)))

    return Booster(kind="XGBoost Booster", ask=ask, columns=names)


def named_columns(names: Any) -> tuple[str, ...]:
    """Names that a model was fitted with; none where they are those that LightGBM numbers the columns of arrays by."""
    found = tuple(map(str, names))
    return () if found == tuple(f"Column_{number}" for number in range(len(found))) else found
