"""Groups of examples that cyclic Poisson sampling draws from in turn, one for each band of the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trustml.errors import ScenarioError
from trustml.privacy.calibration import calibrated_noise, calibrated_noise_unamplified
from trustml.privacy.ledger import Charge
from trustml.privacy.noise_strategy import MOST_BANDS, banded_error
from trustml.privacy.statement import CyclicGroups
from trustml.privacy.tails import spared
from trustml.scenario.federated import BandedMatrix
from trustml.scenario.regimes import DPSGD, PrivateRegime


def groups_of(regime: DPSGD, examples: int) -> int:
    """Count the groups that batches are drawn from in turn; one, but for cyclic Poisson sampling.

    They are as many as the bands, but never so many that one holds less than is to be drawn from it.

    Parameters
    ----------
    regime : DPSGD
    examples : int
        Of whom batches are drawn; users, where the unit is one.
    """
    if regime.sampling != "cyclic poisson" or not isinstance(regime.mechanism, BandedMatrix):
        return 1
    most = max(1, min(examples // regime.batch_size, regime.total_steps(examples)))
    if regime.mechanism.bands is not None:
        return min(most, regime.mechanism.bands)
    return best_groups(regime, examples, most=min(most, MOST_BANDS))


def best_groups(regime: DPSGD, examples: int, *, most: int) -> int:
    """Double the groups from one on as long as running sums err less at the target epsilon.

    More groups let noise be correlated over more steps, and leave less of the amplification: the error falls and
    then rises. With one group noise is independent, and batches are those of DP-SGD.
    """
    best, least = 1, error_of_sums(regime, examples, groups=1)
    while 2 * best <= most:
        error = error_of_sums(regime, examples, groups=2 * best)
        if error >= least:
            break
        best, least = 2 * best, error
    return best


def error_of_sums(regime: DPSGD, examples: int, *, groups: int) -> float:
    """Root mean square error of running sums of clipped gradients at the target, in clipping norms; or infinity."""
    try:
        noise = noise_of_groups(regime, examples, groups=groups)
    except ScenarioError:
        return math.inf
    return noise * banded_error(groups, regime.total_steps(examples))


def noise_of_groups(regime: DPSGD, examples: int, *, groups: int) -> float:
    """Noise multiplier with which the target holds: each group is drawn from so many times less, as much more often.

    Raises
    ------
    ScenarioError
        If there is none.
    """
    assert regime.epsilon is not None
    target = {"epsilon": regime.epsilon, "delta": spared(regime.delta)}
    visits = math.ceil(regime.total_steps(examples) / groups)
    if regime.sampling_seed is not None:
        return calibrated_noise_unamplified(**target, participation=visits)
    return calibrated_noise(**target, sample_rate=groups * regime.batch_size / examples, steps=visits)


def stated_groups(regime: PrivateRegime, charges: Sequence[Charge]) -> CyclicGroups | None:
    """Give what a statement says of the groups that were charged; None where batches are drawn in another way."""
    if charges[0].sampling != "cyclic poisson" or not isinstance(regime, DPSGD):
        return None
    asked = regime.mechanism.bands if isinstance(regime.mechanism, BandedMatrix) else None
    return CyclicGroups(count=charges[0].groups, visits=sum(charge.participation for charge in charges), asked=asked)
