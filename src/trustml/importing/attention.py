"""How attention is carried, called by its name or written out as products and a softmax."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trustml.importing.axes import Axes, Axis, Value, flat, new_axis, sizes_of
from trustml.importing.draft import Draft
from trustml.importing.layers import dense
from trustml.importing.program import Constant
from trustml.importing.refusals import CannotCarryError
from trustml.importing.table import Arguments, Carried
from trustml.models.layers import INPUT, Scale
from trustml.models.token_layers import Attention, Mask

_NEVER = -1e4
"""What is added to scores that are not to count is below this."""


@dataclass(frozen=True, kw_only=True)
class Padding:
    """Where tokens are padding, or where they are none, as a mask that only attention understands.

    Attributes
    ----------
    node : str
        A Mask.
    steps : Axis
        Factors of the steps of the token ids.
    axes : tuple of Axis
        Of the original's array: those of examples and of steps, and others along which it is repeated.
    counts : bool
        Whether it is true, or 1, where a token counts; else where it does not.
    added : bool
        Whether it is added to scores: 0 where a token counts, and far below where it does not.
    """

    node: str
    steps: Axis
    axes: Axes
    counts: bool
    added: bool = False

    refusal = "token_ids"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the original's array."""
        return sizes_of(self.axes)

    def viewed(self, shape: tuple[int, ...]) -> Padding:
        """Keep what it says in another shape of as many numbers."""
        if math.prod(shape) != math.prod(self.shape):
            raise CannotCarryError("view", f"a mask of shape {self.shape} seen as {shape}")
        axes = Value(node=self.node, held=(), axes=self.axes).viewed(shape).axes
        if not set(self.steps) <= set(flat(axes)):
            raise CannotCarryError("attention_mask", f"steps cut in parts, {self.shape} seen as {shape}")
        return replace(self, axes=axes)

    def permuted(self, order: tuple[int, ...]) -> Padding:
        """Keep what it says with axes in another order."""
        return replace(self, axes=tuple(self.axes[axis] for axis in order))

    def repeated(self, shape: tuple[int, ...]) -> Padding:
        """Keep what it says, repeated along axes of one place."""
        axes = ((),) * (len(shape) - len(self.axes)) + self.axes
        sizes = tuple(old if one == -1 else one for one, old in zip(shape, sizes_of(axes), strict=True))
        if any(old not in (1, new) for old, new in zip(sizes_of(axes), sizes, strict=True)):
            raise CannotCarryError("broadcast", f"a mask of shape {self.shape} to {shape}")
        return replace(self, axes=tuple(axis or new_axis(size) for axis, size in zip(axes, sizes, strict=True)))

    def refuse_unless_of_keys(self, shape: tuple[int, ...]) -> None:
        """Refuse to mask scores (examples, heads..., queries, keys) along anything else than their keys."""
        own = self.shape[-1:] == shape[-1:] and self.axes[-1] == self.steps
        first = self.axes[0][:1]
        by_example = len(self.axes) == len(shape) and bool(first) and first[0].examples
        elsewhere = set(self.steps) & set(flat(self.axes[:-1]))
        if not own or not by_example or elsewhere or any(factor.examples for factor in self.axes[-2]):
            told = f"a mask of shape {self.shape} is not one of the keys of scores of shape {shape}"
            raise CannotCarryError("attention_mask", told)

    def plus(self, other: Any) -> Padding:
        """``1 + -mask`` turns it round."""
        if isinstance(other, Constant) and other.array.size == 1:
            other = float(other.array.reshape(-1)[0])
        if isinstance(other, int | float) and other == 1:
            return self
        if isinstance(other, Constant) and not other.array.any():
            return self
        raise CannotCarryError("attention_mask")

    def times(self, other: Any) -> Padding:
        """Product with a number: -1 turns it round, one far below zero makes it something to add."""
        if isinstance(other, Padding) or not isinstance(other, Constant | int | float):
            raise CannotCarryError("token_ids", "a product of a mask with another value")
        number = _number(other)
        if number == -1:
            return replace(self, counts=not self.counts)
        if number < _NEVER and not self.counts:
            return replace(self, counts=True, added=True)
        if number == 1:
            return self
        raise CannotCarryError("attention_mask")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Products of queries and keys, on their way to a softmax.

    Attributes
    ----------
    queries, keys : Value
        (examples, heads..., steps, channels).
    scale : float
    causal : bool
    mask : str
        Mask node; empty for none.
    normal : bool
        Whether the softmax was taken.
    shape : tuple of int
    """

    queries: Value
    keys: Value
    scale: float = 1.0
    causal: bool = False
    mask: str = ""
    normal: bool = False
    shape: tuple[int, ...] = ()

    refusal = "attention"

    def viewed(self, shape: tuple[int, ...]) -> Scores:
        """Let leading axes be seen otherwise: they stay those of the queries."""
        if shape[-2:] != self.shape[-2:] or -1 in shape:
            raise CannotCarryError("attention", f"scores seen as {shape}")
        return replace(self, shape=shape)

    def times(self, other: Any) -> Scores:
        """Scale by a number."""
        if isinstance(other, Constant) and other.array.size == 1:
            other = float(other.array.reshape(-1)[0])
        if not isinstance(other, int | float) or self.normal:
            raise CannotCarryError("attention", "scores times something else than a number")
        return replace(self, scale=self.scale * float(other))

    def plus(self, other: Any) -> Scores:
        """Add a mask."""
        if self.normal:
            raise CannotCarryError("attention", "a sum after softmax")
        return self.masked(other)

    def masked(self, mask: Any) -> Scores:
        """Heed a mask."""
        shape = self.shape or (*self.queries.shape[:-1], self.keys.shape[-2])
        causal, node = understood(mask, shape)
        if node and self.mask and node != self.mask:
            raise CannotCarryError("attention_mask", "two masks, of different ids of padding")
        return replace(self, causal=self.causal or causal, mask=node or self.mask)


def compared(draft: Draft, given: Arguments, *, equal: bool) -> Padding:
    """Token ids held against the one of padding."""
    value, other = given.value("self"), given["other"]
    if isinstance(other, Constant) and other.array.size == 1 and other.array.dtype.kind in "iu":
        other = int(other.array.reshape(-1)[0])
    if value.node != INPUT or len(value.held) != 1 or not isinstance(other, int):
        raise CannotCarryError("token_ids", "a comparison")
    known = [name for name, piece in draft.pieces.items() if piece.layer == Mask(padding=other)]
    node = known[0] if known else draft.add(Mask(padding=other), (INPUT,), name="mask")
    return Padding(node=node, steps=value.held[0], axes=value.axes, counts=not equal)


def turned(draft: Draft, given: Arguments) -> Carried:
    """A mask the other way round."""
    found = given["self"]
    if not isinstance(found, Padding) or found.added:
        raise CannotCarryError("operator", "not")
    return replace(found, counts=not found.counts)


def filled(draft: Draft, given: Arguments) -> Carried:
    """Far below zero where a mask is true."""
    found, mask, number = given["self"], given["mask"], given["value"]
    number = _number(number)
    if isinstance(found, Constant) and not found.array.any() and isinstance(mask, Padding) and not mask.counts:
        if number < _NEVER:
            whole = np.broadcast_shapes(found.array.shape, mask.shape)
            return replace(mask.repeated(whole), counts=True, added=True)
    if isinstance(found, Scores) and number < _NEVER:
        if isinstance(mask, Padding) and not mask.counts:
            return found.masked(replace(mask, counts=True))
        if isinstance(mask, Constant):
            return found.masked(Constant(~mask.array.astype(bool)))
    raise CannotCarryError("attention_mask")


def chosen(draft: Draft, given: Arguments) -> Carried:
    """``where(mask, 0, far below)`` and ``where(mask, scores, far below)``, or the other way round."""
    mask, yes, no = given["condition"], given["self"], given["other"]
    if isinstance(no, Scores) or (isinstance(no, Constant) and not no.array.any()):
        return filled(draft, Arguments({"self": no, "mask": mask, "value": yes}))
    turned_mask = replace(mask, counts=not mask.counts) if isinstance(mask, Padding) else None
    if turned_mask is None and isinstance(mask, Constant):
        turned_mask = Constant(~mask.array.astype(bool))  # type: ignore[assignment]
    if isinstance(yes, int | float):
        yes = Constant(np.asarray(yes))
    return filled(draft, Arguments({"self": yes, "mask": turned_mask, "value": no}))


def product(draft: Draft, given: Arguments) -> Carried:
    """Queries times keys, probabilities times values, or a value times weights."""
    first, second = given["self"], given["mat2"] if "mat2" in given.found else given["other"]
    if isinstance(first, Scores) and isinstance(second, Value):
        return _attended(draft, first, second)
    if isinstance(first, Value) and isinstance(second, Constant) and second.array.ndim >= 2:
        if any(size != 1 for size in second.array.shape[:-2]):
            raise CannotCarryError("kernel", "a matrix for each of several axes")
        kernel = second.array.reshape(second.array.shape[-2:])
        return dense(draft, first, Constant(kernel.T, second.origin), None)
    if isinstance(first, Value) and isinstance(second, Value):
        keys = second.permuted((*range(len(second.axes) - 2), len(second.axes) - 1, len(second.axes) - 2))
        shape = (*first.shape[:-1], second.shape[-1])
        return Scores(queries=first, keys=keys, shape=shape)
    raise CannotCarryError("kernel", "a product of matrices")


def product_and_sum(draft: Draft, given: Arguments) -> Carried:
    """``beta * input + alpha * batch1 @ batch2``."""
    found = product(draft, Arguments({"self": given["batch1"], "mat2": given["batch2"]}))
    if not isinstance(found, Scores):
        raise CannotCarryError("attention", "baddbmm")
    found = found.times(given["alpha"])
    return found.plus(given["input"]) if given["beta"] else found


def softmax(draft: Draft, given: Arguments) -> Carried:
    """Probabilities of keys; or of classes, at the end."""
    found = given["self"]
    if isinstance(found, Scores):
        if given["dim"] not in (-1, len(found.shape) - 1):
            raise CannotCarryError("attention", "a softmax over queries")
        return replace(found, normal=True)
    if not isinstance(found, Value):
        raise CannotCarryError("softmax")
    return Ended(value=found, function="softmax", axis=given["dim"] % len(found.axes))


def log_softmax(draft: Draft, given: Arguments) -> Carried:
    """Logarithms of probabilities, at the end."""
    found = softmax(draft, given)
    if not isinstance(found, Ended):
        raise CannotCarryError("softmax")
    return replace(found, function="log_softmax")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Logits, of which the original gives the softmax or its logarithm.

    Attributes
    ----------
    value : Value
    function : str
    axis : int
    """

    value: Value
    function: str
    axis: int

    refusal = "softmax"


def attended(draft: Draft, given: Arguments) -> Value:
    """An Attention."""
    queries, keys = given.value("query"), given.value("key")
    scale = given["scale"] if given["scale"] is not None else 1 / math.sqrt(queries.shape[-1])
    causal = bool(given["is_causal"])
    scores = Scores(queries=queries, keys=keys, scale=float(scale), causal=causal, normal=True)
    if given["attn_mask"] is not None:
        scores = scores.masked(given["attn_mask"])
    if given["enable_gqa"] and queries.shape[1] != keys.shape[1]:
        raise CannotCarryError("attention", "fewer heads of keys than of queries")
    return _attended(draft, scores, given.value("value"))


def understood(mask: Any, shape: tuple[int, ...]) -> tuple[bool, str]:
    """Whether a mask of scores (..., queries, keys) is causal, and its Mask node if it is one of padding."""
    if isinstance(mask, Padding):
        if not mask.counts:
            raise CannotCarryError("attention_mask")
        mask.refuse_unless_of_keys(shape)
        return False, mask.node
    if not isinstance(mask, Constant):
        raise CannotCarryError("attention_mask", type(mask).__name__)
    array = mask.array
    kept = array if array.dtype == bool else array == 0
    if array.dtype != bool and not (kept | (array < _NEVER)).all():
        raise CannotCarryError("attention_mask", "a bias")
    if kept.all():
        return False, ""
    queries, keys = shape[-2:]
    plane = kept.reshape(-1, *kept.shape[-2:])
    if plane.shape[1:] == (queries, keys) and queries == keys and (plane == np.tril(np.ones((keys, keys), bool))).all():
        return True, ""
    raise CannotCarryError("attention_mask", f"constants of shape {array.shape}")


def _number(found: Any) -> float:
    if isinstance(found, Constant):
        if found.array.size != 1:
            raise CannotCarryError("attention_mask", "many numbers")
        return float(found.array.reshape(-1)[0])
    if not isinstance(found, int | float):
        raise CannotCarryError("attention_mask", type(found).__name__)
    return float(found)


def _attended(draft: Draft, scores: Scores, values: Value) -> Value:
    if not scores.normal:
        raise CannotCarryError("attention", "scores without softmax")
    queries, keys = scores.queries, scores.keys
    heads = [_heads(draft, one) for one in (queries, keys, values)]
    sizes = {sizes_of(tuple((factor,) for factor in one)) for one in heads}
    if len(sizes) > 1:
        raise CannotCarryError("attention", "queries, keys and values of other heads")
    laid = [
        draft.laid_out(one, (one.axes[-2], (*own, *one.axes[-1])))
        for one, own in zip((queries, keys, values), heads, strict=True)
    ]
    factor = scores.scale * math.sqrt(queries.shape[-1])
    query = laid[0]
    if not math.isclose(factor, 1.0, rel_tol=1e-6):
        query = draft.same(Scale(value=factor), query)
    count = math.prod(one.size for one in heads[0])
    inputs = (query.node, laid[1].node, laid[2].node, *((scores.mask,) if scores.mask else ()))
    node = draft.add(Attention(heads=count, causal=scores.causal), inputs)
    out = new_axis(values.shape[-1])
    found = Value(node=node, held=(queries.axes[-2], (*heads[0], *out)), axes=(*queries.axes[:-1], out))
    return found.viewed((*scores.shape[:-1], values.shape[-1])) if scores.shape else found


def _heads(draft: Draft, value: Value) -> Axis:
    leading = flat(value.axes[:-2])
    if not leading or leading[0] is not draft.examples:
        raise CannotCarryError("batch")
    return leading[1:]
