"""What is run together."""

from __future__ import annotations

import pytest

from trustml.errors import UsageError
from trustml_bench.selection import LARGE, ONLY_JUDGED, Selection, choose_groups, options_of
from trustml_bench.workloads import LARGE as LARGE_NETWORKS


def test_a_private_step_lives_with_its_floors():
    for group in choose_groups(Selection()):
        kinds = {seat.workload.kind for seat in group.seats}
        if "private_step" in kinds and group.allocator == "tuned":
            assert "plain_step" in kinds
            assert {seat.engine.role for seat in group.seats} >= {"ours", "floor"}
        assert not any(seat.engine.full for seat in group.seats)
        assert len({(seat.workload, seat.engine.name) for seat in group.seats}) == len(group.seats)


def test_the_default_setting_runs_what_a_bar_compares_there():
    untuned = [group for group in choose_groups(Selection()) if group.allocator == "default"]
    assert untuned
    assert all(seat.judged for group in untuned for seat in group.seats)
    both = choose_groups(Selection(allocator="both"))
    assert len(both) == 2 * len(choose_groups(Selection(allocator="tuned")))


@pytest.mark.long
def test_full_is_more_and_choices_are_less():
    short, long = choose_groups(Selection()), choose_groups(Selection(full=True))
    assert len(long) > len(short)
    assert any(seat.engine.full for group in long for seat in group.seats)
    few = choose_groups(
        Selection(kinds=("round",), networks=("small_mlp",), engines=("TRUSTML jax",), allocator="tuned")
    )
    assert [seat.engine.name for group in few for seat in group.seats] == ["trustml jax"]


@pytest.mark.long
def test_networks_of_real_size_are_asked_for():
    def networks(**asked):
        return {seat.workload.network for group in choose_groups(Selection(**asked)) for seat in group.seats}

    large = networks(large=True)
    assert large == set(LARGE_NETWORKS) and not large & networks()
    assert networks(networks=("encoder_64k",)) == {"encoder_64k"}
    groups = choose_groups(Selection(large=True))
    judged_alone = [seat for group in groups for seat in group.seats if seat.workload.network in ONLY_JUDGED]
    assert judged_alone and all(seat.judged for seat in judged_alone)
    workloads = [workload for group in LARGE for workload in group]
    assert len(workloads) == len(set(workloads))  # one that were in two groups would be paired across them


def test_the_short_form_takes_large_steps_by_what_bars_need_alone():
    def peers(wanted: Selection) -> list[str]:
        groups = [group for group in choose_groups(wanted) if group.allocator == "tuned"]
        seats = [seat for group in groups for seat in group.seats if seat.workload.size == 1024]
        return [seat.engine.name for seat in seats if seat.workload.kind == "private_step" and not seat.judged]

    assert not [name for name in peers(Selection()) if "jax-privacy" in name or "DPSequential" in name]
    assert "jax-privacy" in peers(Selection(full=True)) and "jax-privacy" in peers(Selection(engines=("jax-privacy",)))


def test_nothing_left_names_what_there_is():
    with pytest.raises(UsageError, match=r"engines: .*Captum.*more with --large and --full"):
        choose_groups(Selection(engines=("nobody",)))


def test_options_are_those_of_the_command_line():
    wanted = Selection(full=True, kinds=("round",), networks=("cnn",), engines=("a b",), allocator="both")
    assert " ".join(options_of(wanted)) == "--full --kind round --network cnn --engine 'a b' --allocator both"
