"""Models that are known by the names of their classes: those with a call of their own, and those that need a word more.

Nothing is imported that the model's owner has not imported already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.errors import UsageError

_NEEDS = (
    ("haiku", "Transformed", "a transform of Haiku, which is no function of parameters and inputs",
     "trustml.JaxModel(lambda params, x: transformed.apply(params, None, x), params)"),
    ("haiku", "TransformedWithState", "a transform of Haiku with state",
     "trustml.JaxModel(lambda params, x: transformed.apply(params, state, None, x)[0], params)"),
    ("flax.linen", "Module", "a Flax module, whose parameters lie elsewhere",
     "trustml.JaxModel(module.apply, variables)"),
    ("torch.export", "ExportedProgram", "a program of torch.export, which is not called itself", "program.module()"),
    ("xgboost", "Booster", "a booster of XGBoost, which takes matrices of its own",
     "lambda x: booster.predict(xgboost.DMatrix(x))"),
    ("tensorflow.python.saved_model", "_UserObject", "a SavedModel of TensorFlow",
     "lambda x: loaded.signatures['serving_default'](tf.constant(x))[output].numpy()"),
)  # fmt: skip
"""Package, class, what it is, and what to audit instead."""

NNX_GRADIENTS = (
    "an NNX module is asked as a callable; for gradients write graph, state = nnx.split(model) after model.eval(), and "
    "audit trustml.JaxModel(lambda state, x: nnx.merge(graph, state)(x), state)"
)


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
    if getattr(model, "scope", None) is not None:
        return  # a Flax module that is bound to its parameters
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


def is_nnx(model: Any) -> bool:
    """Whether it is a Flax NNX module."""
    return descends(model, "flax.nnx", "Module")


def keras_3_backend(model: Any) -> str:
    """Name of what a model of Keras 3 computes with; empty for any other model."""
    keras = sys.modules.get("keras")
    if keras is None or not descends(model, "keras", "Model") or not str(keras.__version__).startswith("3."):
        return ""
    return str(keras.config.backend())


def keras_on_jax(model: Any) -> tuple[Callable[[Any, Any], Any], dict[str, list[Any]]]:
    """Give a model of Keras 3 on JAX as a function of parameters and inputs, and the parameters."""
    params = {
        "trained": [one.value for one in model.trainable_variables],
        "other": [one.value for one in model.non_trainable_variables],
    }

    def function(params: dict[str, list[Any]], inputs: Any) -> Any:
        return model.stateless_call(params["trained"], params["other"], inputs, training=False)[0]

    return function, params


def booster_outputs(model: Any, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Probabilities of a booster of LightGBM, (n,) of class 1 or (n, classes)."""
    return np.asarray(model.predict(inputs.reshape(len(inputs), -1)))
