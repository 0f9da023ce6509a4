"""What a model's outputs mean: logits or probabilities, one column or several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from trustml.attacks.signals import SUM_TOLERANCE, logits_from_probabilities
from trustml.attribution.asking import Doubles
from trustml.auditing.models import Array
from trustml.data.dataset import Ints
from trustml.errors import DataError

Outputs: TypeAlias = Literal["auto", "probabilities", "logits"]


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """How to read outputs.

    Attributes
    ----------
    scale : {"probabilities", "logits"}
    single : bool
        One column that speaks for class 1 of two.
    note : str
        How that was found out.
    """

    scale: Literal["probabilities", "logits"]
    single: bool
    note: str


def meaning_of(raw: Array, wanted: Outputs) -> Meaning:
    """Decide how to read outputs.

    Parameters
    ----------
    raw : array of shape (n,), (n, 1) or (n, c)
    wanted : {"auto", "probabilities", "logits"}
        Under ``auto`` rows that add up to 1 are probabilities, and what has negative values are logits.

    Raises
    ------
    DataError
        If they have another shape, are not finite, or may be either: no value is negative, and rows do not add up.
    """
    if raw.ndim > 2 or raw.size == 0:
        raise DataError(f"model: its outputs have shape {raw.shape}; an audit needs (n, classes)")
    if not np.issubdtype(raw.dtype, np.number) or np.iscomplexobj(raw):
        raise DataError(f"model: its outputs are of type {raw.dtype}; an audit needs logits or probabilities")
    values = raw.reshape(len(raw), -1).astype(np.float64)
    broken = int((~np.isfinite(values)).any(axis=1).sum())
    if broken:
        raise DataError(f"model: its outputs are not finite for {broken} of {len(values)} examples")
    single = values.shape[1] == 1
    sums = values.sum(axis=1)
    between = bool(values.min() >= -1e-6 and values.max() <= 1 + 1e-6)
    if single:
        chances = between
    else:
        chances = between and bool(np.abs(sums - 1).max() <= SUM_TOLERANCE)
    if wanted == "logits" or (wanted == "auto" and values.min() < -1e-6):
        note = "as stated" if wanted == "logits" else "read as logits: some are negative"
        return Meaning(scale="logits", single=single, note=note)
    if not chances:
        problem = (
            f"probabilities lie between {values.min():.4g} and {values.max():.4g}, not between 0 and 1"
            if single or values.min() < -1e-6
            else f"rows of probabilities add up to {sums.min():.4g} to {sums.max():.4g}, not to 1"
        )
        raise DataError(f"model: its {problem}; fix the model, or say outputs='logits' if that is what they are")
    note = "as stated" if wanted == "probabilities" else "read as probabilities: every row adds up to 1"
    if single and wanted == "auto":
        note = "read as the probability of class 1: one column between 0 and 1"
    return Meaning(scale="probabilities", single=single, note=note)


def to_logits(raw: Array, meaning: Meaning) -> Doubles:
    """Logits (n, c), or logarithms of probabilities as they were given, which are logits too."""
    values = raw.reshape(len(raw), -1).astype(np.float64)
    if meaning.scale == "logits":
        return np.concatenate([np.zeros_like(values), values], axis=1) if meaning.single else values
    if meaning.single:
        values = np.concatenate([1 - values, values], axis=1)
    return logits_from_probabilities(values.clip(0.0), rescale=False)


def accuracy(logits: Doubles, labels: Ints) -> float:
    """Share of examples whose largest logit is that of their label."""
    return float((logits.argmax(axis=1) == labels).mean())
