"""Pairs of batches for mistakes that no distance between un-noised sums tells of, and how many trials show what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trustml.conformance.games import Pair, one_example
from trustml.conformance.subject import OUTLIER
from trustml.data.dataset import Floats, Ints

TRIALS = 20_000
"""In each world. At a noise multiplier of 2, delta 1e-5 and 99 % confidence a step with half its noise (true epsilon
4.38, claim 1.99) is then caught 97 times in 100; other noise multipliers from 1 to 4 need more."""
NOT_DETECTABLE = {
    "clipping to twice the norm": "clipping to 1.4 times the norm has epsilon 2.91 where 1.99 is claimed, less than "
    "twice; a game shows about 1.4 in 20,000 trials, and would need some 500,000",
    "mean/sum loss mix-up": "the worst pair found moves the sum by 1.7 clipping norms: epsilon 3.68 where 1.99 is "
    "claimed, less than twice; a game shows about 1.8 in 20,000 trials, and would need some 100,000",
}
"""Mistakes that no game of :data:`TRIALS` steps shows, and why; ``check_step`` finds them without noise."""


def special_pairs(inputs: Floats, labels: Ints) -> dict[str, Pair]:
    """Pairs for mistakes that no distance between un-noised sums tells of.

    Parameters and errors are those of :func:`candidate_pairs`.

    Returns
    -------
    dict of str to Pair
        ``alone``: an outlier, or an empty batch. ``beside one``: an outlier beside one example, for divisions by the
        batch at hand. ``micro-batch``: the same in micro-batches of one. ``not a number``: a canary that is not
        finite. ``one feature``: an outlier of one feature, for noise that is Gaussian in sums of many coordinates
        only. ``next step`` and ``another run``: noise that comes again.
    """
    one, label, other = one_example(inputs, labels)
    largest = np.abs(one) == np.abs(one).max()
    alone = Pair(name="alone", inputs=one[:0], labels=label[:0], canary=one * np.float32(OUTLIER), canary_label=other)
    beside = replace(alone, name="beside one", inputs=one, labels=label)
    pairs = (
        alone,
        beside,
        replace(beside, name="micro-batch", micro_batch_size=1),
        replace(beside, name="not a number", canary=np.full_like(one, np.nan)),
        replace(alone, name="one feature", canary=alone.canary * largest),
        replace(alone, name="next step", reference="the next step"),
        replace(alone, name="another run", reference="another run"),
    )
    return {pair.name: pair for pair in pairs}
