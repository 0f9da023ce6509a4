"""Lines of a ledger that are gone, moved or there twice."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from trustml.evidence.ledgers import order_problems
from trustml.plan.job import Mechanism
from trustml.privacy.ledger import Charge


def charge(attempt, first, end):
    return Charge(
        attempt=attempt,
        first_step=first,
        end_step=end,
        noise_multiplier=1.0,
        clipping_norm=1.0,
        sample_rate=0.1,
        batch_size=10,
        examples=100,
        secret_sampling=True,
        participation=end - first,
        largest_participation=10,
        plan=f"plan {attempt}",
        data="data",
    )


def mechanism(attempt, steps):
    return Mechanism(
        noise_multiplier=1.0,
        clipping_norm=1.0,
        sample_rate=0.1,
        expected_batch_size=10,
        examples=100,
        sampling="poisson",
        secret_sampling=True,
        largest_participation=10,
        total_steps=steps,
        steps=steps,
        attempt=attempt,
    )


ledgers = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=4)
"""Blocks of each attempt."""


def lines(blocks):
    found = []
    for attempt, sizes in enumerate(blocks, start=1):
        step = 0
        for size in sizes:
            found.append(charge(attempt, step, step + size))
            step += size
    return found


@given(ledgers)
def test_a_whole_ledger_has_no_problems(blocks):
    assert order_problems(lines(blocks), expected=mechanism(len(blocks), sum(blocks[-1]))) == []


@given(ledgers, st.data())
def test_a_line_that_was_taken_out_is_missed(blocks, data):
    whole = lines(blocks)
    gone = data.draw(st.integers(0, len(whole) - 1))
    last_of_broken_off = gone + 1 < len(whole) and whole[gone + 1].attempt > whole[gone].attempt
    left = whole[:gone] + whole[gone + 1 :]
    alone = sum(line.attempt == whole[gone].attempt for line in whole) == 1
    if last_of_broken_off and not alone:
        return  # an attempt that broke off: nothing says how far it came
    problems = order_problems(left, expected=mechanism(len(blocks), sum(blocks[-1])))
    assert problems and "missing" in problems[0]
    if not alone:
        assert f"line {gone + 1} is missing" in problems[0]


@given(ledgers, st.integers(0, 10**6))
def test_moved_lines_are_named(blocks, seed):
    whole = lines(blocks)
    moved = whole.copy()
    random.Random(seed).shuffle(moved)
    problems = order_problems(moved, expected=mechanism(len(blocks), sum(blocks[-1])))
    assert (moved == whole) == (not problems)
    if problems:
        first = next(n for n, pair in enumerate(zip(moved, whole, strict=True)) if pair[0] != pair[1])
        assert problems[0].startswith(f"line {first + 1} is out of order")


@given(ledgers, st.data())
def test_a_line_that_is_there_twice_is_named(blocks, data):
    whole = lines(blocks)
    place = data.draw(st.integers(0, len(whole) - 1))
    problems = order_problems([*whole[: place + 1], *whole[place:]])
    assert problems == [p for p in problems if "again" in p] and f"line {place + 2}" in problems[0]


def test_words():
    whole = lines([[10, 10, 10, 10]])
    assert order_problems([whole[0], whole[1], whole[3]]) == [
        "line 3 is missing: steps 20 to 29 of attempt 1 are charged by no line"
    ]
    assert order_problems([whole[0], whole[2], whole[1], whole[3]]) == [
        "line 2 is out of order: it charges steps 20 to 29 of attempt 1 before steps 10 to 19 of attempt 1 of line 3"
    ]
    assert order_problems(whole[:3], expected=mechanism(1, 40)) == [
        "line 4 is missing: steps 30 to 39 of attempt 1 are charged by no line"
    ]
    assert order_problems(lines([[1], [1], [1]])[::2]) == ["line 2 is missing: attempt 2 is charged by no line"]
