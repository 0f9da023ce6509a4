"""What the kills are judged by finds what it looks for: runs that lost something, and files that say more than text."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from tests.records import copy_of
from tests.reliability.invariants import TEMPORARY, Known, check
from tests.reliability.kills import clock_going_back
from tests.reliability.soak import is_flat, slope_of
from trustml.errors import RecordError

MODEL = "train.jax.DPSGD.s0"


@pytest.fixture
def run(tmp_path):
    return copy_of("private", tmp_path)


def ledger(run):
    return next(path for path in run.path.glob("jobs/*/ledger.jsonl") if path.stat().st_size)


def test_a_run_that_nothing_happened_to_is_whole(run):
    known = Known()
    check(run.path, known)
    assert known.artifacts and any(known.ledgers.values())
    with ledger(run).open("ab") as stream:
        stream.write(b'{"attempt":')  # cut off: it never counted
    check(run.path, known)


def test_a_charge_that_was_taken_back_is_found(run):
    known = Known()
    check(run.path, known)
    path = ledger(run)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises((AssertionError, RecordError), match="charges"):
        check(run.path, known)


def test_a_job_that_is_finished_no_more_is_found(run):
    known = Known()
    check(run.path, known)
    first, *others = run.manifest.jobs
    run.directory.write_manifest(msgspec.structs.replace(
        run.manifest, jobs=(msgspec.structs.replace(first, status="pending"), *others)))  # fmt: skip
    with pytest.raises(AssertionError, match="was finished, and is not"):
        check(run.path, known)


def test_files_that_are_being_written_are_told_by_their_names():
    assert TEMPORARY.fullmatch(".manifest.json.a8_x2k1q") and TEMPORARY.fullmatch(".anything")
    assert not TEMPORARY.fullmatch(".lock") and not TEMPORARY.fullmatch("manifest.json")


def test_a_clock_of_the_kills_goes_back():
    clock = clock_going_back(random.Random(0))
    shown = [clock(float(now)) for now in range(1000)]
    assert min(np.diff(shown)) < -60 and max(np.diff(shown)) <= 1


def test_what_grows_is_told_from_what_wavers():
    when, generator = np.arange(40.0), np.random.default_rng(0)
    for per_second, leaks in ((0.0, False), (1.0, True)):
        slope, error = slope_of(when, 100 + per_second * when + generator.normal(size=40))
        assert abs(slope - per_second) < 4 * error and error < 0.1
        assert is_flat({"growth": 40 * slope, "error": 40 * error}, 10.0) is not leaks
    assert not is_flat({"growth": 0.0, "error": slope_of(when[:3], when[:3])[1]}, 6.0), "three looks say nothing"
