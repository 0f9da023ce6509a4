"""What a model's outputs mean: logits or probabilities, one column or several, or numbers of a regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from trustml.attacks.signals import SUM_TOLERANCE, logits_from_probabilities
from trustml.attribution.asking import Doubles
from trustml.auditing.models import Array
from trustml.errors import DataError

Outputs: TypeAlias = Literal["auto", "probabilities", "logits", "values"]


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """How to read outputs.

    Attributes
    ----------
    scale : {"probabilities", "logits", "values"}
        Values are numbers of a regression.
    single : bool
        One column that speaks for class 1 of two.
    note : str
        How that was found out.
    sum_tolerance : float
        By how much rows of probabilities may miss 1.
    """

    scale: Literal["probabilities", "logits", "values"]
    single: bool
    note: str
    sum_tolerance: float = SUM_TOLERANCE


_MOST_DECIMALS = 6
_MOST_ROUNDING = 0.05  # that rows may miss 1 by where nobody says that they are probabilities
_ONE_CLASS = "give probabilities of all classes of one label an example: these may be of several labels at once"
_LABELS = (
    "these are classes, and neither probabilities nor logits; ask for probabilities, such as predict_proba "
    "(of KServe: output_name='predict_proba'; of MLflow: a model saved with pyfunc_predict_fn='predict_proba')"
)


def meaning_of(raw: Array, wanted: Outputs) -> Meaning:
    """Decide how to read outputs.

    Parameters
    ----------
    raw : array of shape (n,), (n, 1) or (n, c)
    wanted : {"auto", "probabilities", "logits", "values"}
        Under ``auto`` rows that add up to 1, within what the digits they are rounded to allow, are probabilities, and
        what has negative values are logits. One column of whole numbers is taken for classes.

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
    if wanted == "values":
        if not single:
            raise DataError(
                f"model: gives {values.shape[1]} numbers an example, where labels are targets of a regression; give a "
                "model of one, or labels that are classes"
            )
        return Meaning(scale="values", single=False, note="the value itself, as labels are numbers")
    sums = values.sum(axis=1)
    between = bool(values.min() >= -1e-6 and values.max() <= 1 + 1e-6)
    if single and np.array_equal(values, values.round()) and not (wanted == "probabilities" and between):
        least, most = f"{values.min():.4g}", f"{values.max():.4g}"
        raise DataError(f"model: answers with one whole number an example, from {least} to {most}: {_LABELS}")
    decimals = None if single else _decimals(values)
    tolerance = SUM_TOLERANCE if decimals is None else max(SUM_TOLERANCE, values.shape[1] * 0.5 * 10.0**-decimals)
    chances = between and (single or bool(np.abs(sums - 1).max() <= tolerance + 1e-9))
    if wanted == "logits" or (wanted == "auto" and values.min() < -1e-6):
        note = "as stated" if wanted == "logits" else "read as logits: some are negative"
        return Meaning(scale="logits", single=single, note=note)
    if not chances:
        problem = (
            f"probabilities lie between {values.min():.4g} and {values.max():.4g}, not between 0 and 1"
            if single or values.min() < -1e-6
            else f"rows of probabilities add up to {sums.min():.4g} to {sums.max():.4g}, not to 1"
        )
        fix = "say outputs='logits' if they come from before a softmax" if values.max() > 1 + 1e-6 else _ONE_CLASS
        raise DataError(f"model: its {problem}; fix the model, or {fix}")
    if wanted == "auto" and not single and np.abs(sums - 1).max() > _MOST_ROUNDING:
        raise DataError(
            f"model: its rows add up to {sums.min():.4g} to {sums.max():.4g}; rounding to {decimals} decimals may do "
            f"that, and so may what is no probability; say outputs='probabilities' if they are, or {_ONE_CLASS}"
        )
    note = "as stated" if wanted == "probabilities" else "read as probabilities: every row adds up to 1"
    if tolerance > SUM_TOLERANCE:
        places = f"{decimals} decimal{'' if decimals == 1 else 's'}"
        rounded = np.abs(sums - 1).max() > SUM_TOLERANCE  # else they may as well be shares of a few votes
        note += (
            f", within their rounding to {places}, which hides from attacks" if rounded else f", of {places} at most"
        )
    if single and wanted == "auto":
        note = "read as the probability of class 1: one column between 0 and 1"
    return Meaning(scale="probabilities", single=single, note=note, sum_tolerance=tolerance)


def values_instead(raw: Array, labels: Array) -> str:
    """What to say where outputs are not those of classes, and labels may as well be numbers: more than two of them.

    Parameters
    ----------
    raw : array of shape (n, ...)
    labels : array of shape (m, ...)
    """
    if raw.size != len(raw) or labels.dtype.kind not in "iuf" or labels.size != len(labels):
        return ""
    many = len(np.unique(labels)) > 2
    return "; or say outputs='values', if labels are numbers that it predicts, and no classes" if many else ""


def _decimals(values: Doubles) -> int | None:
    """To how many decimals all values are rounded; None where they are not, or hold nothing but zeros and ones."""
    if np.array_equal(values, values.round()):
        return None
    # A float32 of a rounded number is not that number as a double.
    found = (n for n in range(1, _MOST_DECIMALS + 1) if np.abs(values - values.round(n)).max() <= 1e-7)
    return next(found, None)


def to_logits(raw: Array, meaning: Meaning) -> Doubles:
    """Logits (n, c), or logarithms of probabilities as they were given, which are logits too; values (n, 1) as is."""
    values = raw.reshape(len(raw), -1).astype(np.float64)
    if meaning.scale == "values":
        return values
    if meaning.scale == "logits":
        return np.concatenate([np.zeros_like(values), values], axis=1) if meaning.single else values
    if meaning.single:
        values = np.concatenate([1 - values, values], axis=1)
    return logits_from_probabilities(values.clip(0.0), rescale=False, sum_tolerance=meaning.sum_tolerance + 1e-9)


def accuracy(logits: Doubles, labels: Array) -> float:
    """Share of examples whose largest logit is that of their label."""
    return float((logits.argmax(axis=1) == labels).mean())
