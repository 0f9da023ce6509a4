"""The answers of a study: every number in a sentence follows from the rows."""

from __future__ import annotations

import re

import pytest
from scipy import stats

from tests.report.study.examples import EFFECTS, HALF, METHODS, PAIRS, TRAINING, parts_table, study_part, study_table
from trustml.report.study.tables import study_markdown

VERDICT = re.compile(r"\*\*(.+?)\*\* models' .* in (\d+) of (\d+) cells .* by less in (\d+); (\d+) have p < 0.05 after")


def signs(values: list[tuple[float, float]]) -> tuple[int, int]:
    """How many intervals (middle, half) lie below 0, and how many above."""
    return sum(middle + half < 0 for middle, half in values), sum(middle - half > 0 for middle, half in values)


@pytest.mark.parametrize(("shift", "p"), [(-0.399, 0.2), (-0.049, 0.01), (0.001, 0.02), (0.051, 0.001), (0.251, 0.01)])
def test_verdicts_count_intervals_beyond_zero_and_significant_cells(shift, p):
    text = study_markdown([study_part("digits", study_table(shift, p=p))])
    found = VERDICT.findall(text)
    assert [one[0] for one in found] == ["Private", "Stopped-early"] * 2
    for factor, verdicts in ((1.0, found[:2]), (0.5, found[2:])):
        moved = [(factor * value + shift, half) for value, half in EFFECTS.values()]
        for group, (_, below, cells, above, significant) in zip((moved[:2], moved[2:]), verdicts, strict=True):
            assert (int(below), int(above)) == signs(group) and int(cells) == len(group)
            assert int(significant) == (len(group) if 3 * p < 0.05 else 0)  # Holm over the three cells, equal p
    steadier = re.search(r"In (\d+) of (\d+) cells .* 95 % interval, in (\d+) gradient methods are; (\d+) cells", text)
    below, above = signs([(-value + shift, half) for value, half in EFFECTS.values()])
    assert steadier is not None and tuple(map(int, steadier.groups())) == (above, 3, below, 3 if 3 * p < 0.05 else 0)


def test_a_cell_has_its_interval_and_the_range_over_methods():
    text = study_markdown([study_part("digits", study_table(0.0))])
    assert "| digits | DPSGD eps 1 | -0.210 [-0.240, -0.180] | 0.001 | 0.003 | -0.230 to -0.160 | 2 / 0 of 2 |" in text
    low, high = min(METHODS.values()), max(METHODS.values())
    assert f"{0.08 + low:+.3f} to {0.08 + high:+.3f} | 0 / 2 of 2" in text


@pytest.mark.parametrize(("measure", "better"), [("infidelity", "lower"), ("insertion_auc", "higher")])
def test_faithfulness_says_better_by_the_direction_of_the_measure(measure, better):
    table = study_table(0.0)
    table.loc[table.measure == f"change_of_{measure}", ["low", "high"]] = [0.1, 0.2]
    text = study_markdown([study_part("digits", table)]).partition("less faithful?")[2]
    place = text.splitlines()[4].split(" | ").index(measure)
    cells = [line.split(" | ")[place] for line in text.splitlines() if line.startswith("| digits")]
    assert len(cells) == 3
    assert all(cell.endswith("(2 / 0 of 2)" if better == "higher" else "(0 / 2 of 2)") for cell in cells)


@pytest.mark.parametrize(
    ("epsilons", "shown"), [((2.0, 2.001), "2.01"), ((3.0, 2.0), "3.00"), ((2.0, float("nan")), "-")]
)
def test_the_epsilon_is_the_largest_over_seeds_rounded_up(epsilons, shown):
    table = study_table()
    table.loc[table.measure == "epsilon", "value"] = list(epsilons)
    text = study_markdown([study_part("digits", table)])
    assert f"| digits | DPSGD eps 1 | 3 | 0.910 (0.900-0.920) | {shown} |" in text


def test_a_regime_is_private_by_what_it_is_and_not_by_its_name(monkeypatch):
    names = {"DPSGD eps 1": "mine", "DPSGD eps 8": "Stopped by noise", "Stopped 0.9": "DPSGD-like"}
    training = [{**one, "name": names.get(one.get("name", ""), "")} for one in TRAINING]
    monkeypatch.setattr("tests.report.study.examples.TRAINING", training)
    table = study_table()
    table["regime"] = table.regime.replace(names)
    found = VERDICT.findall(study_markdown([study_part("digits", table)]))
    assert [(one[0], one[2]) for one in found] == [("Private", "2"), ("Stopped-early", "1")] * 2


PART = re.compile(r"\*\*(.+?)\*\* moves .* in (\d+) of (\d+) cells .*, nearer in (\d+); .* in (\d+) and (\d+); by")


@pytest.mark.parametrize("shift", [-0.2, 0.0, 0.05, 0.3])
def test_each_part_of_private_training_is_counted_by_its_own_interval(shift):
    text = study_markdown([study_part("digits", parts_table(shift))])
    found = PART.findall(text)
    assert [one[0] for one in found] == [
        "Clipping without noise", "Noise without clipping", "Noise on clipped gradients", "Clipping with the noise"
    ]  # fmt: skip
    values = [value + shift for measure, _, _, _, value in PAIRS if measure == "explanation_effect_of_part"]
    for value, (_, below, cells, above, *together) in zip(values, found, strict=True):
        assert (int(below), int(above), cells) == (*signs([(value, HALF)]), "1")
        assert together == [below, above], "one cell is adjusted for nothing"


def test_both_ways_from_plain_to_private_come_to_the_whole_effect():
    text = study_markdown([study_part("digits", parts_table())])
    (line,) = [one for one in text.splitlines() if one.startswith("| digits | DPSGD eps 1 | ") and one.count("[") == 6]
    whole, schedule, *parts = (float(cell.split(" [")[0]) for cell in line.strip("| ").split(" | ")[2:])
    assert (whole, schedule) == (-0.21, -0.05) and parts == [-0.02, -0.14, -0.06, -0.10]
    assert schedule + parts[0] + parts[1] == pytest.approx(whole) == schedule + parts[2] + parts[3]


def test_intervals_that_hold_together_are_wider_by_their_number():
    pairs = [study_part(name, parts_table(-0.03)) for name in ("a", "b", "c", "d", "e", "f")]
    noise = next(one for one in PART.findall(study_markdown(pairs)) if one[0] == "Noise without clipping")
    wider = HALF * stats.t.ppf(1 - 0.05 / 2 / 6, 4) / stats.t.ppf(0.975, 4)
    assert noise[1] == "6" and HALF < 0.09 and noise[4] == ("6" if wider < 0.09 else "0")
    few = [study_part(name, parts_table(0.02)) for name in ("a", "b", "c", "d", "e", "f")]
    noise = next(one for one in PART.findall(study_markdown(few)) if one[0] == "Noise without clipping")
    assert HALF < 0.04 < wider and (noise[1], noise[4]) == ("6", "0")


@pytest.mark.parametrize(("shift", "p", "words"), [(0.0, 0.01, ("1", "0", "1")), (-0.2, 0.2, ("0", "1", "0"))])
def test_a_dose_response_is_counted_with_accuracy_beside_it(shift, p, words):
    text = study_markdown([study_part("digits", parts_table(shift, p=p))]).partition("dose-response?")[2]
    pattern = r"\*\*Private\*\* .* in (\d+) of 1 data sets .* away in (\d+); (\d+) have p < 0.05"
    assert re.search(pattern, text).groups() == words
    value = 0.07 + shift
    assert f"| digits | DPSGD eps 1 to DPSGD eps 8 | {value:+.3f} [{value - HALF:+.3f}, {value + HALF:+.3f}]" in text
    assert "| +0.010 [+0.000, +0.020] | 0.5 |" in text


def test_a_study_without_ablations_asks_nothing_of_them():
    text = study_markdown([study_part("digits", study_table())])
    assert "Which part" not in text and "dose-response" not in text
