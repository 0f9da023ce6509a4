"""A ledger as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from trustml.privacy.ledger import Charge


def print_ledger(out: Console, job: str, charges: Sequence[Charge]) -> None:
    """Print the charges of one model, blocks that differ in nothing but their steps as one line."""
    table = Table(title=f"{job}: {sum(charge.steps for charge in charges)} steps charged", title_justify="left")
    for name in ("attempt", "steps", "charges", "noise multiplier", "clipping norm", "sample rate"):
        table.add_column(name, justify="right")
    for name in ("sampling", "relation", "batches (sha256)"):
        table.add_column(name)
    for group in _groups(charges):
        first, last = group[0], group[-1]
        secret = "secret" if first.secret_sampling else "published"
        table.add_row(
            str(first.attempt),
            f"{first.first_step}-{last.end_step - 1}",
            str(len(group)),
            f"{first.noise_multiplier:.5g}",
            f"{first.clipping_norm:g}",
            f"{first.sample_rate:.5g}",
            f"{first.sampling}, {secret}",
            first.relation,
            first.plan[:16],
        )
    out.print(table)


def _groups(charges: Sequence[Charge]) -> list[list[Charge]]:
    groups: list[list[Charge]] = []
    for charge in charges:
        last = groups[-1][-1] if groups else None
        if last is not None and (last.attempt, last.plan, last.end_step) == (
            charge.attempt,
            charge.plan,
            charge.first_step,
        ):
            groups[-1].append(charge)
        else:
            groups.append([charge])
    return groups
