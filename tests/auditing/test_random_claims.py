"""Random claims, true and false, around proved bounds: no true one may be called a violation.

What is true is decided without the code under test: by another library's Renyi DP and by a closed form of the
Gaussian mechanism, both upper bounds, so that any claim at or above one of them is true; and by another library's
pessimistic and optimistic grids where these are cheap.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import dp_accounting
import numpy as np
import pytest

from tests import WHOLE
from trustml.auditing.checks_accounting import check_accounting
from trustml.auditing.claim import Claim
from trustml.auditing.claimed_epsilon import Figures, epsilon_bounds

ORDERS = (1.1, 1.25, 1.5, 1.75, 2.5, 3.5, *range(2, 17), 20, 24, 28, 32, 40, 48, 64, 96, 128, 256, 512, 1024, 2048)


@dataclass(frozen=True)
class Drawn:
    """Figures, and an upper bound on their epsilon by others."""

    figures: Figures
    proved: float


def draw(random: np.random.Generator) -> Drawn:
    """Figures with an epsilon between about 0.001 and 1000, at any delta, rate and number of steps."""
    while True:
        rate = 1.0 if random.random() < 0.1 else float(10 ** random.uniform(-5, 0))
        steps = int(10 ** random.uniform(0, 6.5))
        noise = float(10 ** random.uniform(-0.5, 2.5))
        delta = float(10 ** random.uniform(-16, -2))
        event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
        orders = [order for order in ORDERS if noise > 0.5 or order == int(order)]
        by_renyi = dp_accounting.rdp.RdpAccountant(orders=orders).compose(event, steps).get_epsilon(delta)
        proved = min(by_renyi, dp_accounting.get_epsilon_gaussian(noise / math.sqrt(steps), delta))
        if 1e-3 < proved < 1000:
            figures = Figures(noise_multiplier=noise, sample_rate=rate, steps=steps, delta=delta, replace=False)
            return Drawn(figures=figures, proved=proved)


def judged(figures: Figures, epsilon: float) -> tuple[str, str | None]:
    """Severity and verdict on a claim."""
    claim = Claim(
        epsilon=epsilon,
        delta=figures.delta,
        noise_multiplier=figures.noise_multiplier,
        sample_rate=figures.sample_rate,
        steps=figures.steps,
        sampling="poisson",
        loader="poisson",
    )
    (finding,) = (one for one in check_accounting(claim) if one.id == "accounting.recomputed")
    return finding.severity, finding.verdict


def check_claims(number: int, *, seed: int) -> Counter[str]:
    """Judge so many claims; half of them are true by others' proofs, the rest lie around and below our lower bound."""
    random, verdicts = np.random.default_rng(seed), Counter[str]()
    for place in range(number):
        drawn = draw(random)
        if place % 2:
            epsilon = drawn.proved * (1 + float(10 ** random.uniform(-6, -1)))
            severity, verdict = judged(drawn.figures, epsilon)
            assert severity != "violation", (drawn, epsilon)
        else:
            low = epsilon_bounds(drawn.figures, "poisson").low
            epsilon = low * float(random.uniform(0.85, 1.05))
            severity, verdict = judged(drawn.figures, epsilon)
            assert low <= drawn.proved * (1 + 1e-6), drawn  # no lower bound above what others prove
            if drawn.figures.delta >= 1e-10 and epsilon < 0.98 * low:
                assert severity == "violation", (drawn, epsilon)
        verdicts[str(verdict)] += 1
    return verdicts


def show(verdicts: Counter[str]) -> None:
    total = sum(verdicts.values())
    print(f"{total} claims: " + ", ".join(f"{name} {count / total:.1%}" for name, count in sorted(verdicts.items())))


def test_random_claims():
    verdicts = check_claims(30 if WHOLE else 8, seed=1)
    show(verdicts)
    assert verdicts["holds"] and verdicts["broken"]


@pytest.mark.long
@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_a_thousand_random_claims(seed):
    verdicts = check_claims(250, seed=seed)
    show(verdicts)
    assert verdicts["not decided"] < 50
