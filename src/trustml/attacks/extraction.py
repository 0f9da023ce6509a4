"""Whether a model of texts goes on with the words of a training text, given how it begins.

Carlini et al., USENIX Security 2021 (arXiv 2012.07805) and ICLR 2023 (arXiv 2202.07646: greedy continuation of a
prefix, verbatim). Held-out texts are the control: what of them is continued rightly was guessed, not remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.attacks.estimates import AttackEstimate, check_confidence, share_of
from trustml.data.copies import digests
from trustml.errors import DataError

Ints: TypeAlias = npt.NDArray[np.int64]
FEWEST = 10
_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What was gone on with.

    Attributes
    ----------
    members, others : AttackEstimate
        Share of training and of held-out texts whose next tokens came out, all of them.
    p_value : float
        That as many of the training texts do as of the others (Fisher, exact, one-sided).
    """

    members: AttackEstimate
    others: AttackEstimate
    p_value: float


def long_enough(labels: npt.NDArray[Any], *, prefix: int, length: int) -> Ints:
    """Places of the texts that have a prefix and tokens that follow it."""
    return np.flatnonzero((labels[:, : prefix + length - 1] > 0).all(axis=1))


def distinct_texts(
    members: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    others: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    *,
    prefix: int,
    length: int,
) -> tuple[Ints, Ints]:
    """Places of the texts of both sets that are long enough and are questions of their own.

    Texts that are alike as far as they are shown and compared get the same answer: they count once. Those that both
    sets have are in neither, as what is trained on is no control of itself.

    Parameters
    ----------
    members, others : tuple of numpy.ndarray
        Tokens of shape (n, steps), and those that follow them.
    prefix, length : int
        As in :func:`continued`.
    """
    sets = []
    for inputs, labels in (members, others):
        rows = long_enough(labels, prefix=prefix, length=length)
        asked = np.concatenate([inputs[rows, :prefix], labels[rows, prefix - 1 : prefix - 1 + length]], axis=1)
        found, first = np.unique(digests(asked.astype(np.int64)), return_index=True)
        sets.append((rows, found, first))
    (own, of_own, first), (rest, of_rest, first_of_rest) = sets
    return own[np.sort(first[~np.isin(of_own, of_rest)])], rest[np.sort(first_of_rest[~np.isin(of_rest, of_own)])]


def continued(
    logits_of: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]],
    inputs: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    *,
    prefix: int,
    length: int,
) -> Ints:
    """Let a model go on with each text, always by its likeliest token, and count the tokens that are right at first.

    Parameters
    ----------
    logits_of : callable
        From tokens (n, steps) to logits (n, steps, tokens).
    inputs, labels : numpy.ndarray
        Tokens of shape (n, steps), and those that follow them; only the first `prefix` of `inputs` are shown.
    prefix, length : int
        Together at most one more than there are steps.

    Returns
    -------
    numpy.ndarray
        int64 of shape (n,), from 0 to `length`; -1 where the model gave no numbers.
    """
    right = []
    for start in range(0, len(inputs), _AT_ONCE):
        tokens = inputs[start : start + _AT_ONCE].astype(np.float32)
        tokens[:, prefix:] = 0
        said, broken = np.zeros((len(tokens), length), np.int64), np.zeros(len(tokens), bool)
        for place in range(length):
            step = prefix - 1 + place
            logits = np.asarray(logits_of(tokens))[:, step, 1:]  # 0 is padding, no token
            said[:, place] = 1 + logits.argmax(axis=1)
            broken |= np.isnan(logits).any(axis=1)
            if step + 1 < tokens.shape[1]:
                tokens[:, step + 1] = said[:, place]
        same = said == labels[start : start + _AT_ONCE, prefix - 1 : prefix - 1 + length]
        right.append(np.where(broken, -1, np.where(same.all(axis=1), length, same.argmin(axis=1))))
    return np.concatenate(right) if right else np.zeros(0, np.int64)


def extracted(
    members: npt.NDArray[Any], others: npt.NDArray[Any], *, length: int, confidence: float = 0.95
) -> Extracted:
    """Compare how often training texts and held-out ones came out whole.

    Parameters
    ----------
    members, others : numpy.ndarray
        Tokens that were right at first, as :func:`continued` counts them.
    length : int
    confidence : float
        Of the intervals, two-sided (Clopper-Pearson).

    Raises
    ------
    DataError
        For fewer than ten texts on either side, or where the model gave no numbers: an attack that was not tried finds
        nothing.
    """
    from scipy.stats import fisher_exact

    check_confidence(confidence)
    if min(len(members), len(others)) < FEWEST:
        raise DataError(
            f"extraction: {len(members)} training and {len(others)} held-out texts are long enough and distinct, and "
            f"{FEWEST} of each are needed; use a shorter prefix or length"
        )
    if broken := int((members < 0).sum() + (others < 0).sum()):
        raise DataError(f"extraction: of {broken} texts what the model answers is not finite")
    counts = [(int((right >= length).sum()), len(right)) for right in (members, others)]
    shares = [share_of(found, count, confidence=confidence, what="texts") for found, count in counts]
    test = fisher_exact([[found, count - found] for found, count in counts], alternative="greater")
    return Extracted(members=shares[0], others=shares[1], p_value=float(test.pvalue))
