"""Exposure of canary sequences (Carlini et al., USENIX Security 2019, arXiv 1802.08232)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.attacks.estimates import check_confidence
from trustml.attacks.signals import Bools, Floats
from trustml.errors import DataError

FEWEST = 20
_NO_FIT = 0.01
"""Below this p-value of Kolmogorov and Smirnov losses are not skew-normal, and no extrapolation is given."""


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """What a model remembers of canaries, in bits.

    Attributes
    ----------
    mean, low, high : float
        Mean exposure of the canaries that were trained on, and its t-interval over them, the references as given.
    untrained : float
        Mean of those that were not: about log2(e) = 1.44, as their ranks are uniform.
    most : float
        What a canary has that no reference is likelier than.
    p_value : float
        Of the test that trained canaries rank no better than the others, whom coins chose among them (Mann-Whitney).
    extrapolated, extrapolated_untrained : float, optional
        Largest exposure by a skew-normal law of the references' losses, with and without training. None if it does not
        fit them.
    fit : float
        P-value of the fit (Kolmogorov-Smirnov; parameters are those of the same losses, so that it is optimistic).
    trained, others, references : int
    """

    mean: float
    low: float
    high: float
    untrained: float
    most: float
    p_value: float
    extrapolated: float | None
    extrapolated_untrained: float | None
    fit: float
    trained: int
    others: int
    references: int


def ranked_exposures(losses: npt.NDArray[Any], references: npt.NDArray[Any]) -> Floats:
    """Log2 of the number of sequences over a canary's rank among them, by loss; exact.

    Parameters
    ----------
    losses : numpy.ndarray
        Of canaries, shape (m,).
    references : numpy.ndarray
        Of random sequences of the same format that nobody trained on, shape (r,). Equal losses rank before a canary.
    """
    above = np.searchsorted(np.sort(references), losses, side="right")
    found: Floats = np.log2(len(references) + 1) - np.log2(above + 1)
    return found


def exposure_of(
    losses: npt.NDArray[Any], included: Bools, references: npt.NDArray[Any], *, confidence: float = 0.95
) -> Exposure:
    """Measure the exposure of canaries of which each was trained on by a fair coin.

    Parameters
    ----------
    losses : numpy.ndarray
        Of each canary under the trained model, (m,).
    included : numpy.ndarray
        Bool of shape (m,).
    references : numpy.ndarray
        Losses of other random sequences, (r,).
    confidence : float
        Of the interval.

    Raises
    ------
    DataError
        For fewer than 20 references, or than two canaries on either side.
    """
    from scipy import stats

    check_confidence(confidence)
    trained, others = int(included.sum()), int((~included).sum())
    if min(trained, others) < 2 or len(references) < FEWEST:
        raise DataError(
            f"canaries: {trained} trained on, {others} not and {len(references)} other sequences are too few; give more"
        )
    most = float(np.log2(len(references) + 1))
    bits = np.minimum(ranked_exposures(losses, references), most)
    own = bits[included]
    width = float(stats.t.ppf((1 + confidence) / 2, trained - 1) * own.std(ddof=1) / trained**0.5)
    test = stats.mannwhitneyu(losses[included], losses[~included], alternative="less")
    law = stats.skewnorm(*_fitted(references))
    fit = float(stats.kstest(references, law.cdf).pvalue)
    largest = [float(-law.logcdf(losses[side].min()) / np.log(2)) for side in (included, ~included)]
    fits = fit >= _NO_FIT and np.isfinite(largest).all()
    return Exposure(
        mean=min(most, float(own.mean())),
        low=max(0.0, float(own.mean()) - width),
        high=min(most, float(own.mean()) + width),
        untrained=float(bits[~included].mean()),
        most=most,
        p_value=float(test.pvalue),
        extrapolated=largest[0] if fits else None,
        extrapolated_untrained=largest[1] if fits else None,
        fit=fit,
        trained=trained,
        others=others,
        references=len(references),
    )


def _fitted(losses: npt.NDArray[Any]) -> tuple[float, float, float]:
    """Shape, place and scale of the skew-normal law with the moments of the losses; its skewness is below 0.995."""
    from scipy.stats import skew

    mean, spread = float(np.mean(losses)), max(float(np.std(losses)), 1e-12)
    slant = float(np.clip(np.nan_to_num(skew(losses)), -0.99, 0.99))
    power = abs(slant) ** (2 / 3)
    delta = np.sign(slant) * np.sqrt(np.pi / 2 * power / (power + ((4 - np.pi) / 2) ** (2 / 3)))
    scale = spread / np.sqrt(1 - 2 * delta**2 / np.pi)
    return (
        float(delta / np.sqrt(max(1 - delta**2, 1e-12))),
        float(mean - scale * delta * np.sqrt(2 / np.pi)),
        float(scale),
    )
