"""A study is several scenarios of one module; anything else is one clear line."""

from __future__ import annotations

import pytest

from trustml.compare.parts import dose_series, pairs_of_parts
from trustml.errors import UsageError
from trustml.scenario.read import read_study
from trustml.scenario.ready import find_scenario
from trustml.scenario.regimes import DPSGD, Plain


@pytest.mark.parametrize("full", [False, True])
def test_the_ready_study_holds_the_control_for_every_private_regime(full):
    scenarios = read_study(find_scenario("privacy_and_explanations"), full=full)
    assert len({scenario.name for scenario in scenarios}) == 4
    for scenario in scenarios:
        private = {regime.title for regime in scenario.training if isinstance(regime, DPSGD)}
        stops = {regime.stop_at for regime in scenario.training if isinstance(regime, Plain) and regime.stop_at}
        assert private == stops and len(private) == 3
        kept = [r.ablation.keeps for r in scenario.training if isinstance(r, Plain) and r.ablation]
        assert sorted(kept) == ["clipping", "noise", "noise", "noise", "schedule"]
        regimes = {regime.title: regime for regime in scenario.training}
        assert len(set(pairs_of_parts(regimes))) == 1 + 3 * 3
        assert len(dose_series(regimes)) == 3, "the private regimes differ in epsilon alone, and so do their controls"
        assert len(scenario.seeds) >= 5


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("s.toml", "", "a study is a .py file"),
        ("s.py", "study = 1", "defines no `study"),
        ("s.py", "study = ()", "defines no `study"),
        ("s.py", "1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_is_no_study_is_said(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=words):
        read_study(tmp_path / name, full=False)
