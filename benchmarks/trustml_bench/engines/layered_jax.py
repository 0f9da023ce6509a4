"""Networks of :mod:`trustml_bench.layered` in JAX."""

from __future__ import annotations

import math

import jax
from jax import Array

from trustml_bench.layered import Layers


def layered_apply(layers: Layers, params: dict[str, Array], x: Array, prefix: str = "") -> Array:
    """Logits, or what layers inside give."""
    for index, (kind, *settings) in enumerate(layers):
        name = f"{prefix}{index}"
        match kind:
            case "dense":
                x = x @ params[f"{name}.weight"].T + params[f"{name}.bias"]
            case "conv":
                _, _, stride, padding, bias = settings
                shape = ("NCHW", "OIHW", "NCHW")
                x = jax.lax.conv_general_dilated(
                    x, params[f"{name}.weight"], (stride,) * 2, ((padding,) * 2,) * 2, dimension_numbers=shape
                )
                x = x + params[f"{name}.bias"][:, None, None] if bias else x
            case "maxpool":
                side, stride, padding = settings
                around = ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2)
                x = jax.lax.reduce_window(x, -math.inf, jax.lax.max, (1, 1, side, side), (1, 1, stride, stride), around)
            case "norm":
                grouped = x.reshape(len(x), settings[0], -1)
                x = _normalised(grouped).reshape(x.shape)
                x = x * params[f"{name}.weight"][:, None, None] + params[f"{name}.bias"][:, None, None]
            case "layernorm":
                x = _normalised(x) * params[f"{name}.weight"] + params[f"{name}.bias"]
            case "relu":
                x = jax.nn.relu(x)
            case "gelu":
                x = jax.nn.gelu(x, approximate=False)
            case "mean":
                x = x.mean((2, 3)) if x.ndim == 4 else x.mean(1)
            case "embed":
                x = params[f"{name}.tokens.weight"][x] + params[f"{name}.positions.weight"]
            case "attention":
                x = _attention(params, x, name, settings[0])
            case "residual":
                body, shortcut = (
                    layered_apply(inner, params, x, f"{name}.{part}.")
                    for part, inner in zip(("body", "shortcut"), settings, strict=True)
                )
                x = body + shortcut
    return x


def _normalised(x: Array) -> Array:
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5)


def _attention(params: dict[str, Array], x: Array, name: str, heads: int) -> Array:
    n, length, width = x.shape
    parts = x @ params[f"{name}.qkv.weight"].T + params[f"{name}.qkv.bias"]
    parts = parts.reshape(n, length, 3, heads, -1).transpose(2, 0, 3, 1, 4)
    scores = jax.nn.softmax(parts[0] @ parts[1].swapaxes(-1, -2) / math.sqrt(width // heads), axis=-1)
    together = (scores @ parts[2]).swapaxes(1, 2).reshape(n, length, width)
    return together @ params[f"{name}.out.weight"].T + params[f"{name}.out.bias"]
