"""The table of all operators that are carried."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from trustml.importing import attention, layers, shapes
from trustml.importing.draft import Draft
from trustml.importing.elementwise import ACTIVATIONS
from trustml.importing.refusals import CannotCarryError
from trustml.importing.table import Arguments, Carry
from trustml.models.layers import GRU, LSTM


def _item(draft: Draft, given: Arguments) -> Any:
    found, number = given["list"], given["index"]
    if isinstance(found, list):
        if number >= len(found):  # of recurrent layers: states of all steps, the last ones, and those of cells
            told = "the last states of several layers" if len(found) == 1 else "the state of its cells"
            raise CannotCarryError("recurrent", told)
        return found[number]
    if number:
        raise CannotCarryError("operator", "places of the largest values")
    return found


def _of_the_batch(draft: Draft, given: Arguments) -> Any:
    raise CannotCarryError("running")


OPERATORS: Mapping[str, Carry] = {
    **ACTIVATIONS,
    "linear": layers.linear,
    "addmm": layers.addmm,
    "conv1d": partial(layers.convolution, places=1),
    "conv2d": partial(layers.convolution, places=2),
    "conv_transpose1d": partial(layers.transposed_convolution, places=1),
    "conv_transpose2d": partial(layers.transposed_convolution, places=2),
    "embedding": layers.embedding,
    "batch_norm": layers.batch_norm,
    "_native_batch_norm_legit_no_training": layers.batch_norm,
    "_native_batch_norm_legit": _of_the_batch,
    "group_norm": layers.group_norm,
    "instance_norm": layers.instance_norm,
    "layer_norm": layers.layer_norm,
    "rms_norm": layers.rms_norm,
    "max_pool1d": partial(layers.pool, places=1, mean=False),
    "max_pool2d": partial(layers.pool, places=2, mean=False),
    "avg_pool1d": partial(layers.pool, places=1, mean=True),
    "avg_pool2d": partial(layers.pool, places=2, mean=True),
    "adaptive_avg_pool1d": partial(layers.adaptive_pool, places=1),
    "adaptive_avg_pool2d": partial(layers.adaptive_pool, places=2),
    "adaptive_max_pool1d": partial(layers.adaptive_max_pool, places=1),
    "adaptive_max_pool2d": partial(layers.adaptive_max_pool, places=2),
    "mean": layers.mean,
    "sum": layers.total,
    "amax": layers.largest,
    "max": layers.largest,
    "gru": partial(layers.recurrent, kind=GRU),
    "lstm": partial(layers.recurrent, kind=LSTM),
    "scaled_dot_product_attention": attention.attended,
    "matmul": attention.product,
    "bmm": attention.product,
    "mm": attention.product,
    "baddbmm": attention.product_and_sum,
    "softmax": attention.softmax,
    "log_softmax": attention.log_softmax,
    "eq": partial(attention.compared, equal=True),
    "ne": partial(attention.compared, equal=False),
    "logical_not": attention.turned,
    "bitwise_not": attention.turned,
    "masked_fill": attention.filled,
    "where": attention.chosen,
    "view": shapes.view,
    "reshape": shapes.view,
    "_unsafe_view": shapes.view,
    "flatten": shapes.flatten,
    "unflatten": shapes.unflatten,
    "permute": shapes.permute,
    "transpose": shapes.transpose,
    "t": shapes.transpose,
    "unsqueeze": shapes.unsqueeze,
    "squeeze": shapes.squeeze,
    "expand": shapes.expand,
    "expand_as": shapes.expand_as,
    "select": shapes.select,
    "slice": shapes.slices,
    "split": shapes.split,
    "split_with_sizes": shapes.split,
    "chunk": shapes.chunk,
    "unbind": shapes.unbind,
    "cat": shapes.concatenate,
    "concat": shapes.concatenate,
    "pad": shapes.pad,
    "constant_pad_nd": shapes.pad,
    "upsample_nearest1d": shapes.upsample,
    "upsample_nearest2d": shapes.upsample,
    "getitem": _item,
    "repeat": shapes.repeat,
    "glu": shapes.glu,
    "zeros_like": partial(shapes.filled_like, number=0.0),
    "ones_like": partial(shapes.filled_like, number=1.0),
    "to": shapes.cast,
    "_to_copy": shapes.cast,
    **dict.fromkeys(("clone", "contiguous", "detach", "alias", "identity"), shapes.same),
}
