"""Whether an import computes what the original does, asked on the spot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import UsageError
from trustml.importing.carrying import Carried
from trustml.importing.program import Array, Source
from trustml.importing.refusals import CannotCarryError
from trustml.models.layers import INPUT
from trustml.models.token_layers import Embedding, Mask

Floats: TypeAlias = npt.NDArray[np.float32]
TOLERANCE = 1e-5
"""Of the largest logit of the same output, or of 1 where that is smaller."""
RANDOM_BATCHES = (1, 7, 33)
"""Numbers of random examples; none is that of the tracing, so that what depends on it shows."""
_SPREADS = (1.0, 10.0, 1.0)
_ALIKE = ((0, 1, 3), (2,))
"""Batches of one scale: the example and random ones like it; those of ten times the spread."""
_AT_ONCE = 8
_FAR = {"100 times as far out": (0, 1, 2), "10,000 times as far out": (3, 4), "of one large number": (5, 6)}
"""Rows of inputs that no data need reach; as many as one of the random batches has."""
_FAR_TOLERANCE, _STEP, _STEPS = 1e-4, 1e-6, 100
"""Of the largest logit; a step of the inputs that rounding could take, and how many of its effects are allowed."""
_SMALLEST, _LARGEST = 1e-37, 0.9
"""Probabilities between which float32 says what they were made from."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """How far an import is from its original.

    Attributes
    ----------
    inputs : int
        Given and random ones.
    largest_logit : float
        Largest absolute output of the original.
    largest_difference : float
    largest_share : float
        Largest difference, each as a share of what rounding may make of its output.
    """

    inputs: int
    largest_logit: float
    largest_difference: float
    largest_share: float

    @property
    def holds(self) -> bool:
        """Whether the logits are equal."""
        return self.largest_share <= 1  # never of what is not a number


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """A batch's logits: those of the original, how far the import's are from them, and which the original tells."""

    logits: npt.NDArray[np.float64]
    apart: npt.NDArray[np.float64]
    told: npt.NDArray[np.bool_]


def prove(carried: Carried, source: Source, logits: Callable[[Floats], Floats]) -> Proof:
    """Hold the import's logits against the original's, on given inputs and on random ones.

    Raises
    ------
    UsageError
        If they differ, or the original's cannot be told from its probabilities.
    """
    batches = [source.example, *random_inputs(carried, source.example)]
    found = [_compared(carried, source, logits, inputs) for inputs in batches]
    for one in found:
        if not np.isfinite(one.logits).all() or not np.isfinite(one.apart).all():
            raise UsageError(CannotCarryError("different", "some are not finite").line("the model"))
    if np.mean(np.concatenate([one.told.reshape(-1) for one in found])) < 0.5:
        raise UsageError(CannotCarryError("saturated").line("the model"))
    shares = [_largest_share([found[number] for number in alike]) for alike in _ALIKE]
    proof = Proof(
        inputs=sum(map(len, batches)),
        largest_logit=max(float(np.abs(one.logits).max()) for one in found),
        largest_difference=max(float(one.apart.max()) for one in found),
        largest_share=max(shares),
    )
    if not proof.holds:
        times = f"{proof.largest_share:.3g} times what rounding explains"
        told = f"by {proof.largest_difference:.3g} on {proof.inputs} inputs, {times}"
        raise UsageError(CannotCarryError("different", told).line("the model"))
    _hold_far_out(carried, source, logits)
    return proof


def _hold_far_out(carried: Carried, source: Source, logits: Callable[[Floats], Floats]) -> None:
    """Refuse what is another function where no data need be: such as a branch taken below -50.

    Rounding is large there: what a step of the inputs by as much does to the original is allowed for. Where the
    original overflows, nothing is compared.
    """
    inputs = _far_inputs(carried, source.example)
    if inputs is None:
        return
    steps = np.random.default_rng(2).choice([-_STEP, _STEP], inputs.shape)
    moved = (inputs * (1 + steps)).astype(np.float32)
    with np.errstate(all="ignore"):
        found, beside = (_compared(carried, source, logits, one) for one in (inputs, moved))
    for where, rows in _FAR.items():
        first, second, apart = found.logits[list(rows)], beside.logits[list(rows)], found.apart[list(rows)]
        if not np.isfinite(first).all() or not np.isfinite(second).all():
            continue
        allowed = _FAR_TOLERANCE * max(1.0, float(np.abs(first).max())) + _STEPS * float(np.abs(first - second).max())
        if not apart.max() <= allowed:
            told = f"by {apart.max():.3g} on inputs {where}, where rounding explains {allowed:.3g}"
            raise UsageError(CannotCarryError("different", told).line("the model"))


def _largest_share(batches: list[_Compared]) -> float:
    """Differences as shares of the tolerance: each output has a scale of its own, but none below that of most."""
    scale = np.max([np.abs(one.logits).max(axis=tuple(range(one.logits.ndim - 1))) for one in batches], axis=0)
    middle = np.sort(scale)[(len(scale) - 1) // 2]
    allowed = TOLERANCE * np.maximum(np.maximum(scale, middle), 1.0)
    return max(float((one.apart / allowed).max()) for one in batches)


def _compared(carried: Carried, source: Source, logits: Callable[[Floats], Floats], inputs: Array) -> _Compared:
    assert source.original is not None
    seen = source.logits(inputs) if carried.ending and source.logits is not None else None
    given = np.asarray(source.original(inputs) if seen is None else seen)
    ending = carried.ending if seen is None else ""
    rows = len(inputs)
    by_row = given.reshape(rows, -1) if given.size % rows == 0 and given.shape[:1] != (rows,) else given
    by_row = by_row[:, None] if by_row.ndim == 1 else by_row
    parts = []
    for begin in range(0, rows, _AT_ONCE):  # ours in parts: texts times a vocabulary are large
        ours = logits(to_ours(carried, inputs[begin : begin + _AT_ONCE])).astype(np.float64)
        expected = by_row[begin : begin + _AT_ONCE].astype(np.float64)
        if ours.size != expected.size:
            shapes = f"outputs {given.shape} of {rows} inputs, ours {ours.shape} of {min(rows, _AT_ONCE)}"
            raise UsageError(CannotCarryError("different", shapes).line("the model"))
        parts.append(_by_ending(expected, ours.reshape(expected.shape), ending))
    return _Compared(
        logits=np.concatenate([one.logits for one in parts]),
        apart=np.concatenate([one.apart for one in parts]),
        told=np.concatenate([one.told for one in parts]),
    )


def _by_ending(expected: npt.NDArray[np.float64], ours: npt.NDArray[np.float64], ending: str) -> _Compared:
    """Compare logits; of probabilities their logarithms, where float32 tells them."""
    if ending not in ("softmax", "sigmoid"):
        apart = np.abs((log_softmax(ours) if ending else ours) - expected)
        return _Compared(logits=expected, apart=apart, told=np.ones(expected.shape, np.bool_))
    known = expected >= _SMALLEST
    with np.errstate(all="ignore"):
        logs = np.where(known, np.log(expected), np.log(_SMALLEST))
        if ending == "softmax":
            ours, told = log_softmax(ours), np.broadcast_to(known.sum(-1, keepdims=True) > 1, known.shape)
            apart = np.abs(ours - logs)
        else:
            told = known & (expected < 1 - 1e-6)
            odds = np.where(expected < 1, logs - np.log1p(-expected), 0.0)
            apart = np.where(expected > _LARGEST, np.abs(1 / (1 + np.exp(-ours)) - expected), np.abs(ours - odds))
            logs = np.where(expected > _LARGEST, 1.0, odds)
        below = np.maximum(ours - np.log(_SMALLEST), 0.0)  # of what is 0 in float32
    logs = np.where(np.isfinite(expected), logs, expected)
    return _Compared(logits=logs, apart=np.where(known | ~np.isfinite(expected), apart, below), told=told)


def to_ours(carried: Carried, inputs: Array) -> npt.NDArray[np.float32]:
    """Inputs as the architecture takes them."""
    found: npt.NDArray[np.float32] = np.ascontiguousarray(inputs.transpose(carried.order), dtype=np.float32)
    return found


def random_inputs(carried: Carried, example: Array) -> list[Array]:
    """Token ids of the whole vocabulary, or normal numbers of the spread of the example and of ten times as much."""
    generator = np.random.default_rng(0)
    shape = example.shape[1:]
    sizes = _vocabularies(carried)
    if sizes:
        masks = {node.layer.padding for node in carried.architecture.nodes if isinstance(node.layer, Mask)}
        ids = [generator.integers(0, min(sizes), (rows, *shape)) for rows in RANDOM_BATCHES]
        return [padded(one, sorted(masks & set(range(min(sizes)))), min(sizes), generator) for one in ids]
    spread = float(example.std()) or 1.0
    centre = float(example.mean())
    return [
        generator.normal(centre, spread * times, (rows, *shape)).astype(np.float32)
        for rows, times in zip(RANDOM_BATCHES, _SPREADS, strict=True)
    ]


def _vocabularies(carried: Carried) -> list[int]:
    tables = [node.layer for node in carried.architecture.nodes if INPUT in node.inputs]
    return [layer.vocabulary for layer in tables if isinstance(layer, Embedding)]


def _far_inputs(carried: Carried, example: Array) -> Floats | None:
    """Rows far out and of one number each; None for token ids, of which all are asked."""
    if _vocabularies(carried):
        return None
    spread = float(example.std()) or 1.0
    found = np.random.default_rng(1).normal(0.0, spread, (RANDOM_BATCHES[1], *example.shape[1:]))
    for rows, times in zip(_FAR.values(), (1e2, 1e4, 0.0), strict=True):
        found[list(rows)] *= times
    found[list(_FAR["of one large number"])] += 1e3 * spread * np.reshape([1, -1], (2, *(1,) * (found.ndim - 1)))
    return found.astype(np.float32)


def padded(ids: Array, masks: list[int], vocabulary: int, generator: np.random.Generator) -> Array:
    """Put every id that is masked into texts, behind, in front and anywhere; no text is of such ids alone."""
    rows, steps = ids.shape[0], ids.shape[-1]
    others = np.setdiff1d(np.arange(vocabulary), masks)
    if not masks or not len(others):
        return ids
    for number, mask in enumerate(masks):
        for row in range(rows):
            places, cut = np.arange(steps), generator.integers(0, steps)
            ways = (places >= cut, places < cut, generator.random(steps) < 0.3, places < 0)
            ids[row, ..., ways[(row + number) % len(ways)]] = mask
    alone = np.isin(ids, masks).all(axis=-1)
    ends = np.arange(rows) % 2 * (steps - 1)
    for text in np.flatnonzero(alone):
        ids[text, ..., ends[text]] = generator.choice(others)
    return ids


def log_softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Logarithms of the probabilities of classes."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found
