"""Which calls (:mod:`trustml.importing.program`) the layers of Keras are; values have channels last, as there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from trustml.importing.calls import Writer
from trustml.importing.program import Constant, Ref
from trustml.importing.refusals import CannotCarryError

Config: TypeAlias = Mapping[str, Any]
Shape: TypeAlias = tuple[int, ...]
_ACTIVATIONS = {
    "relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh", "softplus": "softplus", "silu": "silu", "swish": "silu",
    "gelu": "gelu", "relu6": "relu6", "mish": "mish", "softmax": "softmax", "log_softmax": "log_softmax",
}  # fmt: skip


class LayerWriter:
    """Writes calls of one layer after the other.

    Parameters
    ----------
    writer : Writer
    """

    def __init__(self, writer: Writer) -> None:
        self.writer, self.place = writer, ""

    def call(self, operator: str, arguments: Mapping[str, Any]) -> Ref:
        """Write a call of the present layer."""
        return self.writer.call(operator, arguments, self.place)

    def activated(self, value: tuple[Ref, Shape], name: Any) -> Ref:
        """Write an activation by Keras's name."""
        known = name if isinstance(name, str) else (name or {}).get("config")
        if known not in _ACTIVATIONS:
            raise CannotCarryError("operator", f"activation {str(known)[:60]}")
        given = {"dim": -1} if known.endswith("softmax") else {"beta": 1.0} if known == "softplus" else {}
        return self.call(_ACTIVATIONS[known], {"self": value[0], **given})

    def channels_first(self, value: Ref, places: int) -> Ref:
        """Put channels before places."""
        return self.call("permute", {"self": value, "dims": [0, places + 1, *range(1, places + 1)]})

    def channels_last(self, value: Ref, places: int) -> Ref:
        """Put channels behind places."""
        return self.call("permute", {"self": value, "dims": [0, *range(2, places + 2), 1]})


Layer: TypeAlias = Callable[[LayerWriter, Config, list[Constant], Sequence[tuple[Ref, Shape]]], tuple[Ref, Shape]]


def _listed(found: Any, places: int) -> list[int]:
    return [int(found)] * places if isinstance(found, int) else [int(one) for one in found]


def _around(padding: str, sizes: Shape, window: Sequence[int], stride: Sequence[int]) -> list[tuple[int, int]]:
    """Places before and after: of ``same`` the smaller half comes first."""
    if padding == "valid":
        return [(0, 0)] * len(window)
    if padding == "causal":
        return [(window[0] - 1, 0)]
    if padding != "same":
        raise CannotCarryError("pad", str(padding)[:40])
    whole = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, window, stride, strict=True)]
    return [(one // 2, one - one // 2) for one in whole]


def _windows(sizes: Shape, window: Sequence[int], stride: Sequence[int], pads: Sequence[tuple[int, int]]) -> Shape:
    return tuple((n + sum(p) - k) // s + 1 for n, k, s, p in zip(sizes, window, stride, pads, strict=True))


def _convolution(places: int, *, depthwise: bool = False) -> Layer:
    def carried(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
        ((value, shape),) = inputs
        kernel = weights[0].array
        dilation = _listed(config.get("dilation_rate", 1), places)
        stride = _listed(config["strides"], places)
        window = [(size - 1) * step + 1 for size, step in zip(kernel.shape[:places], dilation, strict=True)]
        pads = _around(config["padding"], shape[:places], window, stride)
        groups = shape[-1] if depthwise else config.get("groups", 1)
        turned = np.moveaxis(kernel, (-2, -1), (0, 1)) if depthwise else np.moveaxis(kernel, (-1, -2), (0, 1))
        turned = turned.reshape(-1, 1, *turned.shape[2:]) if depthwise else turned
        arguments = {
            "input": model.channels_first(value, places), "weight": Constant(turned, weights[0].origin),
            "bias": weights[1] if config["use_bias"] else None, "stride": stride, "padding": pads,
            "dilation": dilation, "groups": groups,
        }  # fmt: skip
        found = model.channels_last(model.call(f"conv{places}d", arguments), places)
        return found, (*_windows(shape[:places], window, stride, pads), len(turned))

    return carried


def _pool(operator: str, places: int) -> Layer:
    def carried(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
        ((value, shape),) = inputs
        size = _listed(config["pool_size"], places)
        stride = _listed(config.get("strides") or size, places)
        pads = _around(config["padding"], shape[:places], size, stride)
        arguments = {
            "self": model.channels_first(value, places), "kernel_size": size, "stride": stride, "padding": pads,
            "ceil_mode": False, "dilation": [1] * places, "count_include_pad": False,
        }  # fmt: skip
        found = model.channels_last(model.call(f"{operator}{places}d", arguments), places)
        return found, (*_windows(shape[:places], size, stride, pads), shape[-1])

    return carried


def _gathered(operator: str) -> Layer:
    def carried(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
        ((value, shape),) = inputs
        keep, axes = bool(config.get("keepdims")), list(range(1, len(shape)))
        found = model.call(operator, {"self": value, "dim": axes, "keepdim": keep})
        return found, (*((1,) * (len(shape) - 1) if keep else ()), shape[-1])

    return carried


def _dense(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    kernel = Constant(weights[0].array.T, weights[0].origin)
    bias = weights[1] if config["use_bias"] else None
    found = model.call("linear", {"input": value, "weight": kernel, "bias": bias})
    return found, (*shape[:-1], len(kernel.array))


def _batch_norm(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    axis = config["axis"]
    if (axis if isinstance(axis, int) else axis[0]) not in (-1, len(shape)):
        raise CannotCarryError("norm", f"axis {axis}")
    names = [name for name, has in (("weight", config["scale"]), ("bias", config["center"])) if has]
    given = dict(zip([*names, "running_mean", "running_var"], weights, strict=True))
    places = len(shape) - 1
    arguments = {"input": model.channels_first(value, places), **given, "training": False, "eps": config["epsilon"]}
    return model.channels_last(model.call("batch_norm", arguments), places), shape


def _layer_norm(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    axis = config["axis"]
    if (axis if isinstance(axis, int) else axis[0]) not in (-1, len(shape)):
        raise CannotCarryError("norm", f"axis {axis}")
    names = [name for name, has in (("weight", config["scale"]), ("bias", config["center"])) if has]
    given = dict(zip(names, weights, strict=True))
    arguments = {"input": value, "normalized_shape": [shape[-1]], **given, "eps": config["epsilon"]}
    return model.call("layer_norm", arguments), shape


def _normalised(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    if config.get("invert"):
        raise CannotCarryError("norm", "inverted")
    mean, variance = (
        np.asarray(config[name]) if config.get(name) is not None else weights[number].array
        for number, name in enumerate(("mean", "variance"))
    )
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    found = model.call("sub", {"self": value, "other": Constant(np.asarray(mean, np.float32)), "alpha": 1})
    return model.call("div", {"self": found, "other": Constant(np.asarray(deviation, np.float32))}), shape


def _rescaled(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    scale, offset = (Constant(np.asarray(config[name], np.float32)) for name in ("scale", "offset"))
    found = model.call("mul", {"self": value, "other": scale})
    return model.call("add", {"self": found, "other": offset, "alpha": 1}), shape


def _relu(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    slope, limit = float(config.get("negative_slope") or 0), config.get("max_value")
    if config.get("threshold") or (slope and limit is not None):
        raise CannotCarryError("operator", "a ReLU with a threshold, or with a slope and a limit")
    if slope:
        return model.call("leaky_relu", {"self": value, "negative_slope": slope}), shape
    if limit is None:
        return model.call("relu", {"self": value}), shape
    return model.call("clamp", {"self": value, "min": 0.0, "max": float(limit)}), shape


def _leaky(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    slope = float(config.get("negative_slope", config.get("alpha", 0.3)))
    return model.call("leaky_relu", {"self": value, "negative_slope": slope}), shape


def _activation(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    (value,) = inputs
    name = config["activation"]
    return (value[0] if name == "linear" else model.activated(value, name)), value[1]


def _softmax(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    return model.call("softmax", {"self": value, "dim": config["axis"]}), shape


def _padded(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    (top, bottom), (left, right) = config["padding"]
    arguments = {"self": model.channels_first(value, 2), "pad": [left, right, top, bottom], "mode": "constant"}
    found = model.channels_last(model.call("pad", arguments), 2)
    return found, (shape[0] + top + bottom, shape[1] + left + right, shape[2])


def _flattened(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    return model.call("flatten", {"self": value, "start_dim": 1, "end_dim": -1}), (int(np.prod(shape)),)


def _reshaped(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    sizes, whole = [int(one) for one in config["target_shape"]], int(np.prod(shape))
    known = int(np.prod([one for one in sizes if one != -1]))
    sizes = [whole // known if one == -1 else one for one in sizes]
    return model.call("unflatten", {"self": _whole(model, value), "dim": 1, "sizes": sizes}), tuple(sizes)


def _whole(model: LayerWriter, value: Ref) -> Ref:
    return model.call("flatten", {"self": value, "start_dim": 1, "end_dim": -1})


def _permuted(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    order = [int(one) for one in config["dims"]]
    return model.call("permute", {"self": value, "dims": [0, *order]}), tuple(shape[one - 1] for one in order)


def _joined(operator: str) -> Layer:
    def carried(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
        found, shape = inputs[0]
        for other, theirs in inputs[1:]:
            found = model.call(operator, {"self": found, "other": other, "alpha": 1})
            shape = tuple(max(one, two) for one, two in zip(shape, theirs, strict=True))
        return found, shape

    return carried


def _concatenated(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    shapes = [shape for _, shape in inputs]
    axis = config["axis"] % (len(shapes[0]) + 1)
    found = model.call("cat", {"tensors": [value for value, _ in inputs], "dim": axis})
    total = sum(shape[axis - 1] for shape in shapes)
    return found, (*shapes[0][: axis - 1], total, *shapes[0][axis:])


def _embedded(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    if config.get("mask_zero"):
        raise CannotCarryError("attention_mask", "mask_zero")
    model.writer.vocabulary = len(weights[0].array)
    return model.call("embedding", {"weight": weights[0], "indices": value}), (*shape, weights[0].array.shape[1])


def _nothing(model: LayerWriter, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    return model.call("identity", {"self": value}), shape


ACTIVATED = ("Conv1D", "Conv2D", "DepthwiseConv2D", "Dense")
LAYERS: Mapping[str, Layer] = {
    "Conv1D": _convolution(1), "Conv2D": _convolution(2), "DepthwiseConv2D": _convolution(2, depthwise=True),
    "Dense": _dense, "Embedding": _embedded, "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm,
    "Normalization": _normalised, "Rescaling": _rescaled, "MaxPooling1D": _pool("max_pool", 1),
    "MaxPooling2D": _pool("max_pool", 2), "AveragePooling1D": _pool("avg_pool", 1),
    "AveragePooling2D": _pool("avg_pool", 2), "GlobalAveragePooling1D": _gathered("mean"),
    "GlobalAveragePooling2D": _gathered("mean"), "GlobalMaxPooling1D": _gathered("amax"),
    "GlobalMaxPooling2D": _gathered("amax"), "Activation": _activation, "ReLU": _relu, "LeakyReLU": _leaky,
    "Softmax": _softmax, "ZeroPadding2D": _padded, "Flatten": _flattened, "Reshape": _reshaped, "Permute": _permuted,
    "Add": _joined("add"), "Multiply": _joined("mul"), "Subtract": _joined("sub"), "Concatenate": _concatenated,
    **dict.fromkeys(("Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "Identity"), _nothing),
    "ActivityRegularization": _nothing,
}  # fmt: skip
"""Carried layers of Keras."""
