"""Bounds of shares and of areas under curves."""

import numpy as np
import pytest
from scipy.stats import binom

from trustml.attacks.estimates import auc_high, auc_low, effective_pairs, share_high, share_low


@pytest.mark.parametrize(("successes", "trials"), [(1, 10), (7, 10), (10, 10), (40, 200)])
def test_clopper_pearson_is_the_inverted_binomial_test(successes, trials):
    low = share_low(successes, trials, alpha=0.05)
    assert binom.sf(successes - 1, trials, low) == pytest.approx(0.05)
    assert share_low(0, trials, alpha=0.05) == 0.0 and share_high(trials, trials, alpha=0.05) == 1.0
    assert share_high(trials - successes, trials, alpha=0.05) == pytest.approx(1 - low)


def test_effective_pairs_are_never_more_than_scores_that_know_nothing_have():
    # one pair of 400 in the wrong order: DeLong's variance says 200 pairs, though there are 20 of each
    assert effective_pairs(0.9975, 1.25e-5, positives=20, negatives=20) == 30
    assert effective_pairs(0.5, 0.0, positives=20, negatives=20) == 30
    assert effective_pairs(0.7, 0.7 * 0.3 / 25, positives=20, negatives=20) == pytest.approx(25)
    assert effective_pairs(1.0, 0.0, positives=20, negatives=50) == 20


def test_bounds_of_an_area_mirror_and_tighten_with_n():
    both = {"positives": 100, "negatives": 100, "alpha": 0.05}
    assert auc_high(0.4, 0.002, **both) == pytest.approx(1 - auc_low(0.6, 0.002, **both))
    lows = [auc_low(0.6, 0.2 / n, positives=n, negatives=n, alpha=0.01) for n in (30, 300, 3000, 30_000)]
    assert (np.diff(lows) > 0).all() and lows[0] < 0.5 < lows[2] < lows[3] < 0.6
    assert auc_low(0.0, 0.0, **both) == 0.0
