"""What was chosen before a model was released, as its record and that of its start say."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from trustml.record.schema import Manifest, sweep_of, tuned_runs
from trustml.record.starts import earlier_charges
from trustml.scenario.regimes import Regime


def composed_runs(manifest: Manifest, regimes: Iterable[Regime], *, own: float | None = None) -> float | None:
    """Mean number of runs whose choice the epsilon of models pays for, with that of the model they start from.

    Two choices, each among runs of its own, cost no more than one among as many as their product and their sum: the
    bound of Papernot and Steinke (theorem 6) grows with what is chosen among and with the number, and what both release
    is composed in it.

    Parameters
    ----------
    manifest : Manifest
    regimes : iterable of Regime
        Of the models.
    own : float, optional
        Mean number of runs of which this is one; by default that of its record.
    """
    own = tuned_runs(manifest) if own is None else own
    start = manifest.start if any(earlier_charges(manifest, one) for one in regimes) else None
    if start is None or start.tuned_runs is None:
        return own
    return both_choices(own, start.tuned_runs)


def both_choices(one: float | None, other: float | None) -> float | None:
    """Mean number of runs that stands for two choices, as :func:`composed_runs` says; None for none."""
    if one is None or other is None:
        return other if one is None else one
    return max(one * other, one + other)


def siblings_of(manifest: Manifest, regime: str) -> int:
    """Count the models of a run among which a sweep lets somebody choose one of a regime; 0 where it is of none."""
    swept = sweep_of(manifest)
    titles = {one.regime for one in swept if one.of in {other.of for other in swept if other.regime == regime}}
    return sum(record.kind == "train" and record.regime in titles for record in manifest.jobs)


MOST_PAIRED = 50
"""Regimes of sweeps, beyond which they are not compared two by two: the pairs would be thousands."""


def are_paired(manifest: Manifest) -> Callable[[str, str], bool]:
    """Give what says whether two regimes of a run are compared with each other, example by example."""
    swept = frozenset(one.regime for one in sweep_of(manifest))
    many = swept if len(swept) > MOST_PAIRED else frozenset()
    return lambda one, other: one == other or one not in many or other not in many
