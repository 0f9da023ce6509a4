"""``.keras`` files as programs of calls, read from their configuration and weights without Keras.

Nothing of the configuration is imported or called: a layer is known by its name, or refused. Weights are HDF5, for
which ``h5py`` is needed; links out of the file are not followed. Where Keras 3 is installed, it computes what the
original gives.
"""

from __future__ import annotations

import importlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import EnvironmentMissingError, UsageError
from trustml.importing.calls import Writer
from trustml.importing.program import Array, Constant, Ref, Source
from trustml.importing.refusals import CannotCarryError
from trustml.models.keras_files import CONFIG, WEIGHTS, read_keras_file

Config: TypeAlias = Mapping[str, Any]
Shape: TypeAlias = tuple[int, ...]
_ACTIVATIONS = {
    "relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh", "softplus": "softplus", "silu": "silu", "swish": "silu",
    "gelu": "gelu", "relu6": "relu6", "mish": "mish", "softmax": "softmax", "log_softmax": "log_softmax",
}  # fmt: skip


def keras_source(path: Path, example: Array | None) -> Source:
    """Read a ``.keras`` file as a program.

    Raises
    ------
    EnvironmentMissingError
        If ``h5py`` is not installed.
    UsageError
        If it is none, or holds a layer that is not carried.
    """
    content = read_keras_file(path, any_version=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        config, weights = json.loads(archive.read(CONFIG)), archive.read(WEIGHTS)
    if config.get("class_name") not in ("Functional", "Sequential", "Model"):
        raise UsageError(CannotCarryError("operator", str(config.get("class_name"))[:60]).line("the model"))
    try:
        model = _Model(config["config"], _arrays(path, weights))
        output = model.read()
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        told = f"{type(error).__name__}: {error}"[:160]
        problem = f"its {CONFIG} or weights are not as Keras writes them ({told})"
        raise UsageError(f"{path}: {problem}; save it anew") from None
    original, why_not = _original(path)
    return Source(
        program=model.writer.program(output),
        kind=f"Keras ({path.name})",
        original=original,
        why_not=why_not,
        example=model.writer.example() if example is None else example,
    )


def _original(path: Path) -> tuple[Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]] | None, str]:
    """Give what Keras makes of a file that was looked through, as a function of inputs; or why it cannot be asked."""
    try:
        keras = importlib.import_module("keras")
        if not str(keras.__version__).startswith("3."):
            return None, "Keras 3 is not installed here"
        model = keras.saving.load_model(str(path), compile=False, safe_mode=True)
    except ImportError:
        return None, "Keras 3 with PyTorch, JAX or TensorFlow under it (KERAS_BACKEND) is not installed here"
    except Exception as error:  # of Keras, such as of a file of another version
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        return None, f"this Keras does not load the file ({first})"

    def outputs(inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        found = keras.ops.convert_to_numpy(model(keras.ops.convert_to_tensor(inputs), training=False))
        return np.asarray(found, np.float32)

    return outputs, ""


def _arrays(path: Path, content: bytes) -> dict[str, Array]:
    """Read every array of an HDF5 file, and nothing beyond it."""
    try:
        h5py = importlib.import_module("h5py")
    except ImportError:
        raise EnvironmentMissingError(f"{path}: its weights are HDF5, which needs h5py; pip install h5py") from None
    found: dict[str, Array] = {}
    with h5py.File(io.BytesIO(content), "r") as file:
        waiting = [("", file)]
        while waiting:
            name, group = waiting.pop()
            for key in group:
                if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                    raise UsageError(
                        f"{path}: its weights are links to elsewhere, which are not followed; save it anew"
                    )
                one = group[key]
                place = f"{name}/{key}".lstrip("/")
                if isinstance(one, h5py.Group):
                    waiting.append((place, one))
                elif one.external:
                    raise UsageError(f"{path}: its weights lie in other files, which are not read; save it anew")
                else:
                    found[place] = np.asarray(one[()])
    return found


class _Model:
    """A model's layers in turn."""

    def __init__(self, config: Config, arrays: Mapping[str, Array]) -> None:
        self._arrays, self._layers = arrays, config["layers"]
        self._sequential = "input_layers" not in config
        self._config = config
        self._counts: dict[str, int] = {}
        self._values: dict[tuple[str, int], tuple[Ref, Shape]] = {}
        first = next((one for one in self._layers if one["class_name"] == "InputLayer"), None)
        shape = first["config"] if first else self._layers[0]["config"]
        batch = shape.get("batch_shape") or shape.get("batch_input_shape")
        if batch is None or any(size is None for size in batch[1:]):
            raise UsageError(CannotCarryError("axes", "inputs of no fixed shape").line("the model"))
        self.writer = Writer(arrays, input_shape=tuple(batch[1:]))
        self._place = ""

    def read(self) -> str:
        """Write all calls, and give the name of the last."""
        before: tuple[Ref, Shape] = (self.writer.input, self.writer.input_shape)
        waiting: list[tuple[Config, list[Constant], int, Any]] = []
        for layer in self._layers:
            kind, name = layer["class_name"], _name(layer)
            if kind == "InputLayer":
                self._values[name, 0] = before
                continue
            weights = self._weights(kind)
            if self._sequential:
                before = self._layer(layer, weights, [before])
            else:
                waiting += [(layer, weights, number, node) for number, node in enumerate(layer["inbound_nodes"])]
        if self._sequential:
            return before[0].name
        while waiting:  # a layer that is used twice may wait for what comes later in the list
            ready = next(one for one in waiting if all(place in self._values for place in _places(one[3])))
            layer, weights, number, node = ready
            waiting.remove(ready)
            inputs = [self._values[place] for place in _places(node)]
            self._values[_name(layer), number] = self._layer(layer, weights, inputs)
        ends = self._config["output_layers"]
        ends = ends if isinstance(ends[0], list) else [ends]
        if len(ends) != 1:
            raise UsageError(CannotCarryError("outputs", f"{len(ends)} outputs").line("the model"))
        return self._values[ends[0][0], ends[0][1]][0].name

    def _weights(self, kind: str) -> list[Constant]:
        """Weights of the next layer of a class, in Keras's order."""
        snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", kind)).lower()
        number = self._counts.get(snake, 0)
        self._counts[snake] = number + 1
        name = f"{snake}_{number}" if number else snake
        for base in (f"layers/{name}/vars", f"_layer_checkpoint_dependencies/{name}/vars"):
            count = 0
            while f"{base}/{count}" in self._arrays:
                count += 1
            if count:
                return [Constant(self._arrays[f"{base}/{place}"], f"{name}.weight{place}") for place in range(count)]
        return []

    def _layer(
        self, layer: Config, weights: list[Constant], inputs: Sequence[tuple[Ref, Shape]]
    ) -> tuple[Ref, Shape]:  # fmt: skip
        kind, name, config = layer["class_name"], _name(layer), layer["config"]
        self._place = name
        if kind not in _LAYERS:
            raise UsageError(CannotCarryError("operator", kind[:60]).line(f"{name[:60]!r}"))
        if config.get("data_format") == "channels_first":
            raise UsageError(CannotCarryError("axes", "channels first").line(f"{name[:60]!r}"))
        named = [Constant(one.array, f"{name}.{one.origin.rpartition('.')[2]}") for one in weights]
        try:
            found = _LAYERS[kind](self, config, named, inputs)
            activation = config.get("activation")
            if activation not in (None, "linear") and kind in _ACTIVATED:
                found = self.activated(found, activation), found[1]
        except CannotCarryError as error:
            raise UsageError(error.line(f"{name[:60]!r} ({kind})")) from None
        return found

    def call(self, operator: str, arguments: Mapping[str, Any]) -> Ref:
        """Write a call of the present layer."""
        return self.writer.call(operator, arguments, self._place)

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


_Layer: TypeAlias = Callable[[_Model, Config, list[Constant], Sequence[tuple[Ref, Shape]]], tuple[Ref, Shape]]


def _name(layer: Config) -> str:
    return str(layer["config"].get("name", layer["class_name"]))


def _places(node: Any) -> list[tuple[str, int]]:
    """Values that a layer takes, by name and call: Keras 3 writes tensors, Keras 2 lists of names."""
    if not isinstance(node, Mapping):
        return [(place[0], place[1]) for place in node]
    found = node["args"][0] if len(node["args"]) == 1 else node["args"]
    tensors = found if isinstance(found, list) else [found]
    places = [one["config"]["keras_history"] for one in tensors]
    return [(place[0], place[1]) for place in places]


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


def _convolution(places: int, *, depthwise: bool = False) -> _Layer:
    def carried(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
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


def _pool(operator: str, places: int) -> _Layer:
    def carried(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
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


def _gathered(operator: str) -> _Layer:
    def carried(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
        ((value, shape),) = inputs
        keep, axes = bool(config.get("keepdims")), list(range(1, len(shape)))
        found = model.call(operator, {"self": value, "dim": axes, "keepdim": keep})
        return found, (*((1,) * (len(shape) - 1) if keep else ()), shape[-1])

    return carried


def _dense(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    kernel = Constant(weights[0].array.T, weights[0].origin)
    bias = weights[1] if config["use_bias"] else None
    found = model.call("linear", {"input": value, "weight": kernel, "bias": bias})
    return found, (*shape[:-1], len(kernel.array))


def _batch_norm(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    axis = config["axis"]
    if (axis if isinstance(axis, int) else axis[0]) not in (-1, len(shape)):
        raise CannotCarryError("norm", f"axis {axis}")
    names = [name for name, has in (("weight", config["scale"]), ("bias", config["center"])) if has]
    given = dict(zip([*names, "running_mean", "running_var"], weights, strict=True))
    places = len(shape) - 1
    arguments = {"input": model.channels_first(value, places), **given, "training": False, "eps": config["epsilon"]}
    return model.channels_last(model.call("batch_norm", arguments), places), shape


def _layer_norm(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    axis = config["axis"]
    if (axis if isinstance(axis, int) else axis[0]) not in (-1, len(shape)):
        raise CannotCarryError("norm", f"axis {axis}")
    names = [name for name, has in (("weight", config["scale"]), ("bias", config["center"])) if has]
    given = dict(zip(names, weights, strict=True))
    arguments = {"input": value, "normalized_shape": [shape[-1]], **given, "eps": config["epsilon"]}
    return model.call("layer_norm", arguments), shape


def _normalised(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
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


def _rescaled(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    scale, offset = (Constant(np.asarray(config[name], np.float32)) for name in ("scale", "offset"))
    found = model.call("mul", {"self": value, "other": scale})
    return model.call("add", {"self": found, "other": offset, "alpha": 1}), shape


def _relu(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    slope, limit = float(config.get("negative_slope") or 0), config.get("max_value")
    if config.get("threshold") or (slope and limit is not None):
        raise CannotCarryError("operator", "a ReLU with a threshold, or with a slope and a limit")
    if slope:
        return model.call("leaky_relu", {"self": value, "negative_slope": slope}), shape
    if limit is None:
        return model.call("relu", {"self": value}), shape
    return model.call("clamp", {"self": value, "min": 0.0, "max": float(limit)}), shape


def _leaky(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    slope = float(config.get("negative_slope", config.get("alpha", 0.3)))
    return model.call("leaky_relu", {"self": value, "negative_slope": slope}), shape


def _activation(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    (value,) = inputs
    name = config["activation"]
    return (value[0] if name == "linear" else model.activated(value, name)), value[1]


def _softmax(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    return model.call("softmax", {"self": value, "dim": config["axis"]}), shape


def _padded(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    (top, bottom), (left, right) = config["padding"]
    arguments = {"self": model.channels_first(value, 2), "pad": [left, right, top, bottom], "mode": "constant"}
    found = model.channels_last(model.call("pad", arguments), 2)
    return found, (shape[0] + top + bottom, shape[1] + left + right, shape[2])


def _flattened(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    return model.call("flatten", {"self": value, "start_dim": 1, "end_dim": -1}), (int(np.prod(shape)),)


def _reshaped(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    sizes, whole = [int(one) for one in config["target_shape"]], int(np.prod(shape))
    known = int(np.prod([one for one in sizes if one != -1]))
    sizes = [whole // known if one == -1 else one for one in sizes]
    return model.call("unflatten", {"self": _whole(model, value), "dim": 1, "sizes": sizes}), tuple(sizes)


def _whole(model: _Model, value: Ref) -> Ref:
    return model.call("flatten", {"self": value, "start_dim": 1, "end_dim": -1})


def _permuted(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    order = [int(one) for one in config["dims"]]
    return model.call("permute", {"self": value, "dims": [0, *order]}), tuple(shape[one - 1] for one in order)


def _joined(operator: str) -> _Layer:
    def carried(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
        found, shape = inputs[0]
        for other, theirs in inputs[1:]:
            found = model.call(operator, {"self": found, "other": other, "alpha": 1})
            shape = tuple(max(one, two) for one, two in zip(shape, theirs, strict=True))
        return found, shape

    return carried


def _concatenated(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    shapes = [shape for _, shape in inputs]
    axis = config["axis"] % (len(shapes[0]) + 1)
    found = model.call("cat", {"tensors": [value for value, _ in inputs], "dim": axis})
    total = sum(shape[axis - 1] for shape in shapes)
    return found, (*shapes[0][: axis - 1], total, *shapes[0][axis:])


def _embedded(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    if config.get("mask_zero"):
        raise CannotCarryError("attention_mask", "mask_zero")
    model.writer.vocabulary = len(weights[0].array)
    return model.call("embedding", {"weight": weights[0], "indices": value}), (*shape, weights[0].array.shape[1])


def _nothing(model: _Model, config: Config, weights: list[Constant], inputs: Any) -> tuple[Ref, Shape]:
    ((value, shape),) = inputs
    return model.call("identity", {"self": value}), shape


_ACTIVATED = ("Conv1D", "Conv2D", "DepthwiseConv2D", "Dense")
_LAYERS: Mapping[str, _Layer] = {
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
