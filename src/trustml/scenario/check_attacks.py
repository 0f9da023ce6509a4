"""Attacks of a scenario that cannot work, said before anything runs."""

from __future__ import annotations

from trustml.errors import ScenarioError
from trustml.scenario.attacks import Attacks
from trustml.scenario.check_values import positive

LEAST_SHADOWS = 4
LEAST_CANARIES = 20
LEAST_TRIALS = 100


def check_attacks(attacks: Attacks) -> None:
    """Check everything about attacks that needs no data.

    Raises
    ------
    ScenarioError
        For the first impossible value.
    """
    membership = attacks.membership
    if membership is not None:
        for name in ("shadow_models", "shadow_seed"):
            value = getattr(membership, name)
            if value < 0:
                raise ScenarioError(f"attacks.membership.{name}", f"{value} is negative", fix="use 0 or more")
        _confidence(membership.confidence, "attacks.membership.confidence")
        if 0 < membership.shadow_models < LEAST_SHADOWS:
            raise ScenarioError(
                "attacks.membership.shadow_models",
                f"{membership.shadow_models} are too few for an example to be in some and out of others",
                fix=f"use {LEAST_SHADOWS} or more, or 0 for the attacks that need none",
            )
    kinds = [canaries.kind for canaries in attacks.canaries]
    for index, canaries in enumerate(attacks.canaries):
        field = f"attacks.canaries.{index}"
        _at_least(canaries.count, LEAST_CANARIES, f"{field}.count")
        _confidence(canaries.confidence, f"{field}.confidence")
        if canaries.kind in kinds[:index]:
            raise ScenarioError(f"{field}.kind", f"{canaries.kind!r} comes twice", fix="name each kind once")
    for index, game in enumerate(attacks.games):
        field = f"attacks.games.{index}"
        _at_least(game.trials, LEAST_TRIALS, f"{field}.trials")
        positive(game.noise_multiplier, f"{field}.noise_multiplier")
        _confidence(game.confidence, f"{field}.confidence")


def _confidence(value: float, field: str) -> None:
    if not 0.5 <= value < 1:
        raise ScenarioError(field, f"{value} is no confidence", fix="use 0.95 or 0.99")


def _at_least(value: int, least: int, field: str) -> None:
    if value < least:
        raise ScenarioError(field, f"{value} can show nothing", fix=f"use {least} or more")
