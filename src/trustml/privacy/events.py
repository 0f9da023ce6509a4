"""From charges to independent mechanisms: what is composed, and how often."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from msgspec.structs import replace

from trustml.errors import PrivacyError
from trustml.privacy.ledger import REPLACE, UNAMPLIFIED, Charge, Drawn, NoiseKind

MechanismKind: TypeAlias = Literal["poisson", "gaussian", "without replacement"]


@dataclass(frozen=True, kw_only=True)
class NoiseEvent:
    """One mechanism, composed `count` times.

    Attributes
    ----------
    kind : {"poisson", "gaussian", "without replacement"}
        A Gaussian on a secret Poisson batch, on everything, or on a secret batch of fixed size.
    noise_multiplier : float
        Standard deviation over the clipping norm.
    count : int
    batch_size, examples : int
    sample_rate : float
    """

    kind: MechanismKind
    noise_multiplier: float
    count: int
    batch_size: int = 1
    examples: int = 1
    sample_rate: float = 1.0


def mechanisms_of(releases: Sequence[Sequence[Charge]]) -> list[NoiseEvent]:
    """Independent mechanisms behind several models, as their batches were really drawn and shared.

    Where k models take the same step on the same batch, one example's presence moves all k sums at once:
    together they are *one* mechanism whose noise multiplier is ``(sum of 1 / noise_multiplier**2) ** -0.5``.

    Raises
    ------
    PrivacyError
        If the ledgers contradict one another about a batch plan.
    """
    found: list[NoiseEvent] = []
    for charges in by_plan(releases):
        first = charges[0]
        if first.sampling == "cyclic poisson" and first.secret_sampling:
            found.append(_amplified_band(charges))
        elif first.noise != "independent":
            # All rounds of one training are a single Gaussian mechanism; several models compose.
            found += [
                NoiseEvent(kind="gaussian", noise_multiplier=charge.precision**-0.5, count=charge.participation)
                for charge in charges
            ]
        elif first.secret_sampling and first.sampling not in UNAMPLIFIED:
            kind: MechanismKind = "poisson" if first.sampling == "poisson" else "without replacement"
            found += [
                NoiseEvent(
                    kind=kind,
                    noise_multiplier=noise,
                    count=count,
                    batch_size=first.batch_size,
                    examples=first.examples,
                    sample_rate=first.sample_rate,
                )
                for noise, count in shared_steps(charges)
            ]
        else:
            found += without_amplification(charges, participation=participation_of(charges))
    return found


def _amplified_band(charges: Sequence[Charge]) -> NoiseEvent:
    """Banded noise on cyclic Poisson batches, of all models on them (Choquette-Choo et al., NeurIPS 2023, theorem 4).

    Steps that can hold an example lie as far apart as the band is wide, so each alone has the rows that its column of C
    reaches, and the column's norm is 1: along it they tell of the example what one Gaussian on a Poisson batch does.
    """
    precision = math.fsum(charge.precision for charge in charges)
    first = charges[0]
    return NoiseEvent(
        kind="poisson",
        noise_multiplier=precision**-0.5,
        count=max(charge.participation for charge in charges),
        batch_size=first.batch_size,
        examples=first.examples,
        sample_rate=first.sample_rate,
    )


def by_plan(releases: Sequence[Sequence[Charge]]) -> list[list[Charge]]:
    """Charges that share a batch plan, together; those of each mechanism of noise by themselves.

    A training under correlated noise is a Gaussian mechanism of its own, whoever else trains on its batches.
    """
    plans: dict[tuple[str, NoiseKind], list[Charge]] = defaultdict(list)
    samplings: dict[str, set[tuple[float, Drawn, bool]]] = defaultdict(set)
    for charge in itertools.chain.from_iterable(releases):
        plans[charge.plan, charge.noise].append(charge)
        samplings[charge.plan].add((charge.sample_rate, charge.sampling, charge.secret_sampling))
    for plan, found in samplings.items():
        if len(found) > 1:
            raise PrivacyError(f"the ledger gives batch plan {plan[:12]} several samplings: {sorted(found)}")
    for (plan, noise), charges in plans.items():
        most = {charge.largest_participation for charge in charges}
        if noise == "independent" and len(most) > 1:  # of correlated noise it is each training's squared sensitivity
            raise PrivacyError(f"the ledger gives batch plan {plan[:12]} several participations: {sorted(most)}")
    return list(plans.values())


def participation_of(charges: Sequence[Charge]) -> int:
    """Most batches that any one example can be in, over the charged steps of one plan."""
    blocks = {(charge.first_step, charge.end_step): charge.participation for charge in charges}
    return min(charges[0].largest_participation, sum(blocks.values()))


def without_amplification(charges: Sequence[Charge], *, participation: int) -> list[NoiseEvent]:
    """Gaussians on everything: at worst the example is in the batches with the least noise.

    Whoever adds the noise to a contribution of its own promises privacy for replacing it by any other (local privacy),
    which moves it by twice the clipping norm.
    """
    left, found = participation, []
    told = [replace(c, noise_multiplier=c.noise_multiplier / 2) if replaces(c) else c for c in charges]
    for noise, count in sorted(shared_steps(told)):
        used = min(left, count)
        left -= used
        if used:
            found.append(NoiseEvent(kind="gaussian", noise_multiplier=noise, count=used))
    return found


def replaces(charge: Charge) -> bool:
    """Whether a charge without amplification is for replacing one; of secret batches another rule speaks."""
    return charge.relation == REPLACE and not charge.secret_sampling


def shared_steps(charges: Iterable[Charge]) -> list[tuple[float, int]]:
    """Joint noise multiplier and number of steps, for each stretch of a plan with the same models on it."""
    charges = list(charges)
    borders = sorted({charge.first_step for charge in charges} | {charge.end_step for charge in charges})
    totals: dict[float, int] = defaultdict(int)
    for start, end in itertools.pairwise(borders):
        precision = math.fsum(c.precision for c in charges if c.first_step <= start and end <= c.end_step)
        if precision:
            totals[precision**-0.5] += end - start
    return list(totals.items())
