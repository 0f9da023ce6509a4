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
"""Of the largest logit, or of 1 where that is smaller."""
RANDOM_BATCHES = (1, 7)
"""Numbers of random examples; none is that of the tracing, so that what depends on it shows."""


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
    """

    inputs: int
    largest_logit: float
    largest_difference: float

    @property
    def allowed(self) -> float:
        """Largest difference that rounding may make."""
        return TOLERANCE * max(1.0, self.largest_logit)

    @property
    def holds(self) -> bool:
        """Whether the logits are equal."""
        return self.largest_difference <= self.allowed  # never of what is not a number


def prove(carried: Carried, source: Source, logits: Callable[[Floats], Floats]) -> Proof:
    """Hold the import's logits against the original's outputs, on given inputs and on random ones.

    Raises
    ------
    UsageError
        If they differ.
    """
    assert source.original is not None
    batches = [source.example, *random_inputs(carried, source.example)]
    largest = difference = 0.0
    for inputs in batches:
        expected = source.original(inputs).astype(np.float64)
        found = ended(logits(to_ours(carried, inputs)).astype(np.float64), carried.ending)
        if found.size != expected.size:
            shapes = f"outputs {expected.shape}, ours {found.shape}"
            raise UsageError(CannotCarryError("different", shapes).line("the model"))
        apart = np.abs(found.reshape(expected.shape) - expected)
        if not np.isfinite(expected).all() or not np.isfinite(apart).all():
            raise UsageError(CannotCarryError("different", "some are not finite").line("the model"))
        largest, difference = max(largest, float(np.abs(expected).max())), max(difference, float(apart.max()))
    proof = Proof(inputs=sum(map(len, batches)), largest_logit=largest, largest_difference=difference)
    if not proof.holds:
        told = f"by {difference:.3g} on {proof.inputs} inputs, where rounding explains {proof.allowed:.3g}"
        raise UsageError(CannotCarryError("different", told).line("the model"))
    return proof


def to_ours(carried: Carried, inputs: Array) -> npt.NDArray[np.float32]:
    """Inputs as the architecture takes them."""
    found: npt.NDArray[np.float32] = np.ascontiguousarray(inputs.transpose(carried.order), dtype=np.float32)
    return found


def random_inputs(carried: Carried, example: Array) -> list[Array]:
    """Token ids of the whole vocabulary, or normal numbers of the spread of the example and of ten times as much."""
    generator = np.random.default_rng(0)
    shape = example.shape[1:]
    tables = [node.layer for node in carried.architecture.nodes if INPUT in node.inputs]
    sizes = [layer.vocabulary for layer in tables if isinstance(layer, Embedding)]
    if sizes:
        masks = [node.layer.padding for node in carried.architecture.nodes if isinstance(node.layer, Mask)]
        ids = [generator.integers(0, min(sizes), (rows, *shape)) for rows in RANDOM_BATCHES]
        return [padded(one, [mask for mask in masks if 0 <= mask < min(sizes)], generator) for one in ids]
    spread = float(example.std()) or 1.0
    centre = float(example.mean())
    return [
        generator.normal(centre, spread * times, (rows, *shape)).astype(np.float32)
        for rows, times in zip(RANDOM_BATCHES, (1.0, 10.0), strict=True)
    ]


def padded(ids: Array, masks: list[int], generator: np.random.Generator) -> Array:
    """Put every id that is masked into texts: behind the first of them, before the last of others, and anywhere."""
    rows, steps = ids.shape[0], ids.shape[-1]
    for mask in masks if steps > 1 else []:
        for row in range(rows):
            lengths = np.arange(steps)
            cut = generator.integers(1, steps)
            chosen = (lengths >= cut, lengths < cut, generator.random(steps) < 0.3, lengths < 0)[row % 4]
            chosen[0 if row % 4 != 1 else -1] = False  # no text is padding alone
            ids[row, ..., chosen] = mask
    return ids


def ended(logits: npt.NDArray[np.float64], ending: str) -> npt.NDArray[np.float64]:
    """Do to logits what the original does at its end."""
    if not ending:
        return logits
    shifted = logits - logits.max(axis=-1, keepdims=True)
    logs: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logs if ending == "log_softmax" else np.exp(logs)
