"""What must be said with every epsilon."""

from __future__ import annotations

from collections.abc import Sequence

from trustml.privacy.accounting import accountant_name
from trustml.privacy.ledger import Charge


def statement_line(charges: Sequence[Charge], *, delta: float) -> str:
    """Delta, unit of privacy, neighbouring relation, sampling assumption and accountant, in one line."""
    units = "/".join(sorted({charge.unit for charge in charges}))
    relations = "/".join(sorted({charge.relation for charge in charges}))
    if all(charge.secret_sampling for charge in charges):
        sampling = "Poisson, secret"
    else:
        most = max(charge.largest_participation for charge in charges)
        sampling = f"not secret, so no amplification (largest participation {most})"
    attempts = max(charge.attempt for charge in charges)
    again = f"; {attempts} attempts composed" if attempts > 1 else ""
    return (
        f"delta={delta:g}; unit: {units}; relation: {relations}; sampling: {sampling}; "
        f"accountant: {accountant_name()}{again}"
    )
