"""Which calls (:mod:`trustml.importing.program`) the layers of Flax NNX are whose primitives do not say it.

A layer is given as an object with its settings and weights by Flax's names; nothing of Flax is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from trustml.importing.jax_writer import Operand, PrimitiveWriter
from trustml.importing.program import Array, Constant, Ref
from trustml.importing.refusals import CannotCarryError


def _weight(layer: Any, name: str, place: str, *, called: str = "") -> Constant | None:
    """Give a weight under the name that PyTorch has for its kind, by which nodes are named."""
    found = getattr(layer, name, None)
    return None if found is None else Constant(np.asarray(found[...]), f"{place}.{called or name}".lstrip("."))


def _channels_first(model: PrimitiveWriter, value: Ref) -> Ref:
    count = len(model.shape(value))
    return model.permuted(value, (0, count - 1, *range(1, count - 1)))


def _channels_last(model: PrimitiveWriter, value: Ref) -> Ref:
    count = len(model.shape(value))
    return model.permuted(value, (0, *range(2, count), 1))


def _refuse_unless_last(layer: Any, *names: str) -> None:
    for name in names:
        found = getattr(layer, name, -1)
        if found not in (-1, (-1,), [-1], None):
            raise CannotCarryError("norm", f"{name} = {found}")
    if getattr(layer, "axis_name", None) is not None:
        raise CannotCarryError("batch", "statistics across devices")


def _of_channels(model: PrimitiveWriter, value: Ref, operator: str, arguments: Mapping[str, Any]) -> Ref:
    first = _channels_first(model, value)
    found = model.call(operator, {"input": first, **arguments}, model.shape(first))
    return _channels_last(model, found)


def _layer_norm(model: PrimitiveWriter, layer: Any, given: Sequence[Operand], place: str) -> Ref:
    _refuse_unless_last(layer, "reduction_axes", "feature_axes")
    weight, bias = _weight(layer, "scale", place, called="weight"), _weight(layer, "bias", place)
    size = int(layer.num_features)
    arguments = {"normalized_shape": [size], "weight": weight, "bias": bias, "eps": float(layer.epsilon)}
    return model.call("layer_norm", {"input": given[0], **arguments})


def _rms_norm(model: PrimitiveWriter, layer: Any, given: Sequence[Operand], place: str) -> Ref:
    _refuse_unless_last(layer, "reduction_axes", "feature_axes")
    weight = _weight(layer, "scale", place, called="weight")
    arguments = {"normalized_shape": [int(layer.num_features)], "weight": weight, "eps": float(layer.epsilon)}
    return model.call("rms_norm", {"input": given[0], **arguments})


def _group_norm(model: PrimitiveWriter, layer: Any, given: Sequence[Operand], place: str) -> Ref:
    _refuse_unless_last(layer, "feature_axis")
    if layer.reduction_axes is not None:
        raise CannotCarryError("norm", f"reduction_axes = {layer.reduction_axes}")
    weight, bias = _weight(layer, "scale", place, called="weight"), _weight(layer, "bias", place)
    arguments = {"num_groups": int(layer.num_groups), "weight": weight, "bias": bias, "eps": float(layer.epsilon)}
    return _of_channels(model, given[0], "group_norm", arguments)  # type: ignore[arg-type]


def _instance_norm(model: PrimitiveWriter, layer: Any, given: Sequence[Operand], place: str) -> Ref:
    _refuse_unless_last(layer, "feature_axes")
    weight, bias = _weight(layer, "scale", place, called="weight"), _weight(layer, "bias", place)
    arguments = {"use_input_stats": True, "weight": weight, "bias": bias, "eps": float(layer.epsilon)}
    return _of_channels(model, given[0], "instance_norm", arguments)  # type: ignore[arg-type]


def _batch_norm(model: PrimitiveWriter, layer: Any, given: Sequence[Operand], place: str) -> Ref:
    _refuse_unless_last(layer, "axis")
    if not layer.use_running_average:
        raise CannotCarryError("running")
    names = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    arguments = {called: _weight(layer, name, place, called=called) for called, name in names.items()}
    more = {"training": False, "eps": float(layer.epsilon)}
    return _of_channels(model, given[0], "batch_norm", arguments | more)  # type: ignore[arg-type]


def _embedding(model: PrimitiveWriter, layer: Any, given: Sequence[Operand], place: str) -> Ref:
    return model.call("embedding", {"weight": _weight(layer, "embedding", place), "indices": given[0]})


def _attention(model: PrimitiveWriter, layer: Any, given: Sequence[Operand], place: str) -> Ref:
    """Attention of several heads: queries, keys and values, and a mask where there is one."""
    if layer.normalize_qk or layer.decode or getattr(layer, "num_kv_heads", None) not in (None, layer.num_heads):
        raise CannotCarryError("attention", "norms of queries, steps one by one, or fewer heads of keys")
    queries, keys, values, *mask = given
    parts = []
    for name, value in (("query", queries), ("key", keys), ("value", values)):
        inner = getattr(layer, name)
        kernel, bias = np.asarray(inner.kernel[...]), _weight(inner, "bias", f"{place}.{name}")
        parts.append(_linear(model, value, kernel.reshape(len(kernel), -1), bias, f"{place}.{name}"))
    found = _attended(model, parts, int(layer.num_heads), mask[0] if mask else None)
    kernel = np.asarray(layer.out.kernel[...])
    bias = _weight(layer.out, "bias", f"{place}.out")
    return _linear(model, found, kernel.reshape(-1, kernel.shape[-1]), bias, f"{place}.out")


def _attended(model: PrimitiveWriter, parts: Sequence[Ref], heads: int, mask: Operand | None) -> Ref:
    split = [model.call("unflatten", {"self": part, "dim": 2, "sizes": [heads, -1]}) for part in parts]
    turned = [model.call("transpose", {"self": part, "dim0": 1, "dim1": 2}) for part in split]
    given: dict[str, Any] = dict(zip(("query", "key", "value"), turned, strict=True))
    if isinstance(mask, Constant):
        mask = Constant(mask.array.astype(bool))
    rest = {"attn_mask": mask, "is_causal": False, "scale": None, "enable_gqa": False}
    found = model.call("scaled_dot_product_attention", given | rest)
    back = model.call("transpose", {"self": found, "dim0": 1, "dim1": 2})
    return model.call("flatten", {"self": back, "start_dim": 2, "end_dim": 3})


def _linear(model: PrimitiveWriter, value: Operand, kernel: Array, bias: Constant | None, place: str) -> Ref:
    flat = None if bias is None else Constant(bias.array.reshape(-1), bias.origin)
    weight = Constant(kernel.T, f"{place}.weight".lstrip("."))
    return model.call("linear", {"input": value, "weight": weight, "bias": flat})


WriteLayer: TypeAlias = Callable[[PrimitiveWriter, Any, Sequence[Operand], str], Ref]
NNX_LAYERS: Mapping[str, WriteLayer] = {
    "BatchNorm": _batch_norm,
    "Embed": _embedding,
    "GroupNorm": _group_norm,
    "InstanceNorm": _instance_norm,
    "LayerNorm": _layer_norm,
    "MultiHeadAttention": _attention,
    "RMSNorm": _rms_norm,
}
"""By the names of Flax; all others are read from their primitives."""
