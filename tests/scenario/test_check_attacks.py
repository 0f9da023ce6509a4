"""Attacks that could never show anything are refused by name."""

from __future__ import annotations

import pytest

from trustml.errors import ScenarioError
from trustml.scenario.attacks import Attacks, Canaries, Game, MembershipInference
from trustml.scenario.check_attacks import check_attacks
from trustml.scenario.problems import check_types


@pytest.mark.parametrize(
    ("attacks", "field"),
    [
        (Attacks(membership=MembershipInference(shadow_models=3)), "attacks.membership.shadow_models"),
        (Attacks(membership=MembershipInference(shadow_seed=-1)), "attacks.membership.shadow_seed"),
        (Attacks(membership=MembershipInference(confidence=1.0)), "attacks.membership.confidence"),
        (Attacks(canaries=(Canaries(count=5),)), "attacks.canaries.0.count"),
        (Attacks(canaries=(Canaries(), Canaries())), "attacks.canaries.1.kind"),
        (Attacks(games=(Game(), Game(trials=9))), "attacks.games.1.trials"),
        (Attacks(games=(Game(noise_multiplier=0.0),)), "attacks.games.0.noise_multiplier"),
        (Attacks(games=(Game(confidence=0.1),)), "attacks.games.0.confidence"),
    ],
)
def test_the_field_is_named(attacks, field):
    with pytest.raises(ScenarioError, match=field.replace(".", r"\.")):
        check_types(attacks, field="attacks")
        check_attacks(attacks)


def test_sensible_ones_pass():
    check_attacks(Attacks(membership=MembershipInference(), canaries=(Canaries(),), games=(Game(),)))
    check_attacks(Attacks(membership=MembershipInference(shadow_models=0)))
