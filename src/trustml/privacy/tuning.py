"""What choosing the best of several private runs costs."""

from __future__ import annotations

from collections.abc import Sequence

from trustml.privacy.accounting import RDP_ORDERS, rdp_event
from trustml.privacy.ledger import Charge
from trustml.privacy.tails import epsilon_with_tails, total_variation


def epsilon_with_tuning(charges: Sequence[Charge], *, runs: float, delta: float) -> float:
    """Epsilon of the best of a random number of runs like this one (Papernot and Steinke, ICLR 2022, arXiv 2110.03620).

    The number of runs must be drawn from a Poisson distribution before the first of them starts, and only the
    best run may be released. A fixed number of runs costs more.

    Parameters
    ----------
    charges : sequence of Charge
        Of one run.
    runs : float
        Mean number of runs.
    delta : float

    Returns
    -------
    float
        Upper bound, by Renyi DP.
    """
    import dp_accounting

    accountant = dp_accounting.rdp.RdpAccountant(orders=RDP_ORDERS)
    accountant.compose(dp_accounting.dp_event.RepeatAndSelectDpEvent(rdp_event(charges), runs, float("inf")))
    return epsilon_with_tails(
        lambda left: float(accountant.get_epsilon(left)),
        variation=runs * total_variation((c.noise_source, c.steps * c.coordinates) for c in charges),
        delta=delta,
    )
