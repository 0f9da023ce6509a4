"""What masked sums ask of cohorts: that sums come about, hide whoever is in them, and end in time."""

from __future__ import annotations

from trustml.errors import ScenarioError
from trustml.scenario.partition import Cohort, InTurn, PoissonCohort

_OFTEN = 0.1
"""Part of the rounds without a sum above which there is a warning."""
_SECONDS, _SLOW = 2.1e-6, 10.0
"""Processor seconds of a round by the cube of its clients, as measured with 100, and those worth a warning."""


def check_masked_cohort(cohort: Cohort, field: str, *, asked: int, clients: int) -> list[str]:
    """Check a cohort whose updates are summed behind masks; return warnings.

    Parameters
    ----------
    cohort : Cohort
    field : str
        Its path in the scenario.
    asked : int
        Clients that are asked in a round; of a :class:`PoissonCohort` the expected number.
    clients : int
        All there are.

    Raises
    ------
    ScenarioError
        If one client would be alone in a round.
    """
    if asked < 2:
        raise ScenarioError(
            field,
            "one client a round has a sum that is its own update, which no mask hides",
            fix="ask 2 or more a round",
        )
    if isinstance(cohort, InTurn) and clients % asked == 1:
        raise ScenarioError(
            f"{field}.clients",
            f"{clients} clients in turn, {asked} a round, leave one to be asked alone, whom no mask hides: it would "
            "never be in a sum",
            fix="ask a number that leaves none or several over",
        )
    warnings = []
    nothing = without_sum(cohort, asked=asked, clients=clients)
    if nothing > _OFTEN:
        warnings.append(
            f"{field}: {100 * nothing:.0f} % of the rounds are expected to give nothing, as fewer than half of those "
            "that are asked, or fewer than two, stay; ask more, or use a smaller dropout"
        )
    seconds = _SECONDS * asked**3
    if seconds > _SLOW:
        warnings.append(
            f"{field}: masks and shares of {asked} clients take about {seconds:.0f} s of processor a round, and up "
            "to eight times that of twice as many; ask fewer a round"
        )
    return warnings


def without_sum(cohort: Cohort, *, asked: int, clients: int) -> float:
    """Probability that too few stay for a sum; of cohorts in turn the mean over a turn."""
    import numpy as np
    from scipy.stats import binom

    sizes, chances = np.array([asked]), np.ones(1)
    if isinstance(cohort, PoissonCohort):
        sizes = np.arange(clients + 1)
        chances = binom.pmf(sizes, clients, asked / clients)
    elif isinstance(cohort, InTurn):
        blocks = [min(asked, clients - start) for start in range(0, clients, asked)]
        sizes, chances = np.array(blocks), np.full(len(blocks), 1 / len(blocks))
    needed = np.maximum(2, sizes // 2 + 1)
    return float(chances @ binom.cdf(needed - 1, sizes, 1 - cohort.dropout))
