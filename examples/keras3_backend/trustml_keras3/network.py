"""A network as a Keras model, and its derivatives by whichever engine Keras runs on.

``jax`` and ``torch.func`` have one way to write a derivative: a function goes in and a function comes out, and
``stateless_call`` makes such a function of a Keras model. So there is one text for both engines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from trustml.backends.contract import Model
from trustml.data.dataset import Floats, Ints
from trustml.models.layers import INPUT, Add, Conv2D, Dense, Flatten, GroupNorm, LayerNorm, MaxPool, ReLU, Tanh
from trustml.models.tasks import Classes
from trustml_keras3.tokens import TOKEN_LAYERS, TokenLayer

if keras.backend.backend() == "jax":
    from jax import grad as derivative
    from jax import jit as compiled
    from jax import vmap

    WAY = "vmap"

    def of_each(function: Callable[..., Any]) -> Callable[..., Any]:
        """Derivative of each example by itself, along a leading axis, with respect to the first argument."""
        return compiled(vmap(derivative(function), (None, 0, 0)))

else:
    import torch
    from torch.func import grad as derivative

    WAY = "one by one"

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        """Leave it as it is: PyTorch runs step by step."""
        return function

    def of_each(function: Callable[..., Any]) -> Callable[..., Any]:
        """Derivative of each example by itself, one after the other: Keras's convolutions know no vmap of PyTorch."""

        def looped(values: list[Any], inputs: Any, chosen: Any) -> list[Any]:
            found = [derivative(function)(values, *one) for one in zip(inputs, chosen, strict=True)]
            return [torch.stack(rows) for rows in zip(*found, strict=True)]

        return looped


_PARTS = {"scale": "gamma", "bias": "beta"}
"""Of norms: what Keras calls a part."""


def build(model: Model, shape: tuple[int, ...] | None = None) -> keras.Model:
    """Make a Keras model with these weights; `shape` is that of one input where tokens are looked up already.

    Raises
    ------
    NotImplementedError
        If Keras is not told here how to make a layer.
    """
    values = {INPUT: keras.Input(model.input_shape if shape is None else shape)}
    for node in model.architecture.nodes:
        taken = [values[name] for name in node.inputs]
        for layer in _layers(node.layer, node.name.replace(".", "__")):
            taken = [layer(taken if len(taken) > 1 else taken[0])]
        values[node.name] = taken[0]
    built = keras.Model(values[INPUT], values[model.architecture.nodes[-1].name])
    for name, array in model.weights.items():
        variable(built, name).assign(array)
    return built


def variable(built: keras.Model, name: str) -> Any:
    """Variable that holds the weight of a canonical name; Keras's layout is the canonical one."""
    node, _, part = name.rpartition(".")
    layer = built.get_layer(f"n_{node.replace('.', '__')}")
    return getattr(layer, _PARTS[part] if hasattr(layer, "gamma") else part)


def _layers(layer: Any, name: str) -> list[Any]:
    """Layers of Keras for one of ours; the last has its name."""
    title = f"n_{name}"
    match layer:
        case Dense():
            return [keras.layers.Dense(layer.units, use_bias=layer.bias, name=title)]
        case Conv2D(standardised=False):
            convolution = keras.layers.Conv2D(
                layer.filters,
                layer.kernel,
                strides=layer.stride,
                use_bias=layer.bias,
                groups=layer.groups,
                dilation_rate=layer.dilation,
                name=title,
            )
            return [*_padding(layer.padding), convolution]
        case MaxPool() if not any(np.ravel(layer.padding)):
            return [keras.layers.MaxPooling2D(layer.size, strides=layer.stride, name=title)]
        case GroupNorm():
            return [keras.layers.GroupNormalization(layer.groups, epsilon=layer.epsilon, name=title)]
        case LayerNorm():
            return [keras.layers.LayerNormalization(epsilon=layer.epsilon, name=title)]
        case ReLU() | Tanh():
            return [keras.layers.Activation(type(layer).__name__.lower(), name=title)]
        case Flatten():
            return [keras.layers.Flatten(name=title)]
        case Add():
            return [keras.layers.Add(name=title)]
        case _ if isinstance(layer, TOKEN_LAYERS):
            return [TokenLayer(layer, title)]
    raise NotImplementedError(f"trustml-keras3 has no {type(layer).__name__}; use another backend, or add it there")


def _padding(padding: Any) -> list[Any]:
    return [keras.layers.ZeroPadding2D(padding)] if any(np.ravel(padding)) else []


class KerasNetwork:
    """See :class:`trustml.backends.contract.Network`; its derivatives take trained arrays as they are now."""

    def __init__(self, model: Model) -> None:
        self.names, self._task, self._model = list(model.weights), model.task, model
        self.built = build(model)
        self.variables = [variable(self.built, name) for name in self.names]
        self._forms = {len(model.input_shape): (self.built, self._order(self.built))}
        self._slopes = compiled(derivative(self._chosen))
        self._outputs = compiled(self.outputs)

    @property
    def values(self) -> list[Any]:
        """Arrays of the engine, in the order of `names`."""
        return [one.value for one in self.variables]

    def outputs(self, values: list[Any], inputs: Any) -> Any:
        """Outputs of the network with other arrays in it: a function, of which there are derivatives."""
        built, order = self._form(tuple(inputs.shape[1:]))
        return built.stateless_call([values[place] for place in order], [], inputs, training=False)[0]

    def _form(self, shape: tuple[int, ...]) -> tuple[keras.Model, list[int]]:
        """Give the model for inputs of so many axes, and where its variables are: looked-up tokens have one more."""
        if len(shape) not in self._forms:
            built = build(self._model, shape)
            self._forms[len(shape)] = built, self._order(built)
        return self._forms[len(shape)]

    def _order(self, built: keras.Model) -> list[int]:
        places = {id(variable(built, name)): place for place, name in enumerate(self.names)}
        return [places[id(one)] for one in built.trainable_variables]

    def mean_loss(self, values: list[Any], inputs: Any, chosen: Any) -> Any:
        """Mean loss of inputs whose classes are given as rows of zeros and a one, or what the class weighs.

        Raises
        ------
        NotImplementedError
            If the task is not one of classes.
        """
        if not isinstance(self._task, Classes):
            raise NotImplementedError(f"trustml-keras3 has no loss for {type(self._task).__name__}; use Classes")
        return -ops.mean(ops.sum(chosen * ops.log_softmax(self.outputs(values, inputs), axis=-1), axis=-1))

    def rows_of(self, labels: Ints, classes: int) -> Floats:
        """Classes as rows of zeros, with a one, or what the class weighs."""
        rows = np.eye(classes, dtype=np.float32)
        weights = getattr(self._task, "class_weights", ())
        return (rows * np.array(weights, np.float32)[:, None] if weights else rows)[labels]

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        return to_numpy(self._outputs(self.values, ops.convert_to_tensor(inputs)))

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Gradient of the target logit, shape (n, *x)."""
        chosen = np.eye(self.built.output_shape[-1], dtype=np.float32)[targets]
        return to_numpy(self._slopes(ops.convert_to_tensor(inputs), self.values, ops.convert_to_tensor(chosen)))

    def _chosen(self, inputs: Any, values: list[Any], chosen: Any) -> Any:
        return ops.sum(chosen * self.outputs(values, inputs))


def to_numpy(array: Any) -> Floats:
    """Copy an array of the engine out."""
    return np.array(ops.convert_to_numpy(array), np.float32)
