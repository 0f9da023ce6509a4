"""Stored runs are read as they were when they were made: every row of the table, and what commands print."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np
import pandas as pd
import pytest

from tests import WHOLE
from tests.conftest import measured_once
from tests.records import NAMES, RUNS, copy_of, stored
from tests.records.golden import (
    COMMANDS,
    HERE,
    KEYS,
    NUMBERS,
    SECOND_OPINION,
    printed,
    read_table,
    stored_table,
)
from tests.records.golden import NAMES as READ
from trustml.measures.measure import MEASURES
from trustml.record.files import sha256
from trustml.record.store import RunDirectory

RELATIVE = 1e-9  # float64 sums of at most a few thousand terms, in whatever order numpy's build takes them
PLACES = re.compile(rb"/(?:home|root|tmp|work|var|opt|Users|builds?)/[A-Za-z0-9_.-]+")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    return {name: copy_of(name, folder) for name in NAMES}


@pytest.mark.parametrize("name", READ)
def test_the_table_of_a_stored_run_is_read_as_it_was_written(runs, name):
    check_same_rows(read_table(runs[name]), stored_table(name))


@pytest.mark.parametrize("name", READ)
def test_the_table_computed_from_a_stored_run_is_the_one_of_then(tmp_path_factory, name):
    expected = stored_table(name)
    assert (expected.measure == SECOND_OPINION).any()
    measured = measured_once(tmp_path_factory, name)
    table = read_table(measured)
    computed = table[table.measure != SECOND_OPINION]
    later = computed.measure.map(lambda measure: MEASURES[measure].since > 0)  # than these runs were recorded
    exact = measured.measures().interval == "exact bootstrap over examples"
    check_same_rows(
        computed[~later],
        expected[expected.measure != SECOND_OPINION],
        drawn=set(table[exact][KEYS].agg(tuple, axis=1)),
        anew=True,
    )
    assert computed[later].value.notna().any()


def check_same_rows(
    found: pd.DataFrame, expected: pd.DataFrame, *, drawn: Collection[tuple] = (), anew: bool = False
) -> None:
    """Ends that were drawn when the run was recorded, and are exact now, may differ by what draws allow.

    Then, too, an advantage was that of one random halving of the examples; computed anew, it is the mean over many.
    """
    found, expected = found.set_index(KEYS), expected.set_index(KEYS)
    assert found.index.is_unique
    assert sorted(set(expected.index) - set(found.index)) == [], "rows that are not computed any more"
    assert sorted(set(found.index) - set(expected.index)) == [], "rows that were not there"
    found = found.loc[expected.index]
    other = [key for key in expected.index if (found.unit[key], found.n[key]) != (expected.unit[key], expected.n[key])]
    assert not other
    for column in NUMBERS:
        one, then = found[column].to_numpy(), expected[column].to_numpy()
        close = np.isclose(one, then, rtol=RELATIVE, atol=0, equal_nan=True)
        if column != "value" and drawn:
            near = np.abs(one - then) <= (found.high - found.low).to_numpy() / 6
            close |= near & np.array([key in drawn for key in found.index])
        if anew:
            halved = np.array([key[KEYS.index("measure")] == "membership_advantage" for key in found.index])
            close |= halved & (found.low <= expected.value).to_numpy() & (expected.value <= found.high).to_numpy()
        assert close.all(), [(expected.index[n], column, one[n], then[n]) for n in np.flatnonzero(~close)[:10]]


QUICK = {"frameworks": (), "attacked": ("audit",), "federated": tuple(COMMANDS)}
"""Commands whose output is looked at in the short form: each of one run, and the longest."""


@pytest.mark.parametrize("name", READ)
def test_what_commands_print_of_a_stored_run_is_what_they_printed_then(runs, name):
    differ = []
    for command in COMMANDS if WHOLE else QUICK[name]:
        expected = (HERE / f"{name}.{command}.txt").read_text(encoding="utf-8").splitlines()
        found = printed(runs[name], command).splitlines()
        differ += [(command, line) for line in expected if line not in found]
        differ += [(command, line) for line in found if line not in expected]
    assert differ == []


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_run_is_whole_small_and_names_no_machine(name):
    files = [path for path in stored(name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2_000_000
    assert not [(path.name, found) for path in files if (found := PLACES.search(path.read_bytes()))]
    manifest = RunDirectory(stored(name)).manifest()
    assert manifest.status == "success" and manifest.hardware["processor"] == "a processor"
    for job in manifest.jobs:
        for file, expected in job.artifacts.items():
            assert sha256(stored(name) / "jobs" / job.id / file) == expected
    for file, expected in manifest.artifacts.items():
        assert sha256(stored(name) / file) == expected


def test_every_stored_run_has_a_name():
    assert sorted(path.name.split("-")[0] for path in RUNS.iterdir()) == sorted(NAMES)
