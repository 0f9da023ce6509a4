"""Accuracy by group and its gap, on predictions whose groups are known."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

import trustml
from tests.records import copy_of
from trustml.compare.table import table_of
from trustml.data.slices import slice_arrays
from trustml.measures.accuracy import outputs_of, wilson_interval
from trustml.measures.evidence import Evidence
from trustml.measures.group_tests import groups_differ
from trustml.measures.measure import MEASURES
from trustml.measures.releases import releases_of
from trustml.measures.resampling import estimates
from trustml.measures.slices import FEWEST, _gap, _less, slice_rows
from trustml.privacy.ledger import read_ledger
from trustml.record.mapped import write_arrays
from trustml.record.store import HELDOUT

GROUPS = ("a", "b", "tiny")


def sliced(folder) -> trustml.Run:
    """A stored run whose held-out examples are in groups: few in the last, and the second of hard examples."""
    run = copy_of("federated", folder)
    plain = next(record for record in run.manifest.jobs if record.regime == "Plain")
    outputs, labels = outputs_of(Evidence(run.directory), plain)
    group = np.where(outputs.argmax(axis=1) == labels, "a", "b").astype("U4")
    group[::4] = "a"
    group[: FEWEST - 1] = "tiny"
    arrays = run.directory.arrays(HELDOUT) | slice_arrays(("who",), {"who": group})
    write_arrays(run.directory.file(HELDOUT), arrays)
    run.directory.write_manifest(replace(run.manifest, scenario={**run.manifest.scenario, "slices": ["who"]}))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> trustml.Run:
    return sliced(tmp_path_factory.mktemp("sliced"))


@pytest.fixture(scope="module")
def rows(run):
    return slice_rows(Evidence(run.directory))


def test_each_group_has_its_accuracy_with_its_interval(run, rows):
    evidence = Evidence(run.directory)
    (record,) = [one for one, _ in evidence.trained() if one.regime == "DPSGD"]
    outputs, labels = outputs_of(evidence, record)
    right, codes = outputs.argmax(axis=1) == labels, evidence.heldout["slice_codes"][0]
    found = {row.facts["group"]: row for row in rows if row.measure == "slice_accuracy" and row.job == record.id}
    assert tuple(found) == GROUPS
    for place, row in enumerate(found.values()):
        own = right[codes == place]
        assert (row.value, row.n) == (own.mean(), len(own))
        assert (row.low, row.high) == wilson_interval(int(own.sum()), len(own))
    assert sum(row.n for row in found.values()) == len(labels)


def test_the_gap_is_between_the_groups_that_are_large_enough(run, rows):
    for row in (row for row in rows if row.measure == "slice_gap"):
        groups = {one.facts["group"]: one for one in rows if one.measure == "slice_accuracy" and one.job == row.job}
        shares = [groups[name].value for name in ("a", "b")]  # tiny decides nothing
        assert row.value == pytest.approx(max(shares) - min(shares))
        assert groups[row.second].value - groups[row.first].value == pytest.approx(row.value)
        assert 0 <= row.low <= row.value <= row.high + 0.05
        assert row.facts["smallest_group"] == groups["b"].n


def test_what_privacy_does_to_the_gap_is_paired_with_the_plain_model(rows):
    gaps = {row.regime: row.value for row in rows if row.measure == "slice_gap"}
    changes = {row.regime: row for row in rows if row.measure == "slice_gap_change"}
    assert set(changes) == set(gaps) - {"Plain"}
    for regime, row in changes.items():
        assert row.value == pytest.approx(gaps[regime] - gaps["Plain"])
        assert (row.first, row.second, row.pair) == ("Plain", regime, "two regimes")
        assert row.low <= row.value <= row.high
    assert changes["DPSGD"].p_value < 0.05  # the groups were made by what the plain model gets wrong


def test_equal_groups_of_a_worse_model_are_not_called_unfair():
    """Their gap grows by chance: the interval of the change is above 0 in most draws, the test is right."""
    generator, members = np.random.default_rng(4), np.arange(400) % 4
    groups = {str(number): members == number for number in range(4)}
    above, called, drawn = 0, 0, 40
    for _ in range(drawn):
        plain, private = ((generator.random(400) < share).astype(float) for share in (0.98, 0.6))
        found = estimates({"": _less(_gap(groups, private), _gap(groups, plain))}, examples=400)[""]
        above += found.low > 0
        called += groups_differ(private - plain, members) < 0.05
    assert above > drawn / 4 and called <= 6  # of 40 at 0.05, six or fewer in 99 % of such tests


def test_a_group_that_alone_gets_worse_is_found():
    members = np.arange(400) % 2
    plain, generator = np.ones(400), np.random.default_rng(5)
    private = (generator.random(400) < np.array([0.9, 0.6])[members]).astype(float)
    assert groups_differ(private - plain, members) == 1 / 2000
    assert groups_differ(plain, members) == 1.0


def test_rows_are_in_the_table_and_the_statement_says_what_is_disclosed(run, rows):
    assert {row.measure for row in rows} == {name for name in MEASURES if name.startswith("slice_")}
    table = table_of(rows)
    assert msgspec.json.decode(table.facts.iloc[0])["slice"] == "who"
    evidence = Evidence(run.directory)
    ((record, job),) = [(record, job) for record, job in evidence.trained() if record.regime == "DPSGD"]
    charges = read_ledger(run.directory.job_folder(record.id) / "ledger.jsonl")
    (named,) = [
        one for one in releases_of(evidence, job, job.regime, charges) if one.name == "groups of held-out examples"
    ]
    assert named.coverage == "disclosed" and named.why.startswith("who of all 359 held-out")


def test_without_slices_there_is_nothing(tmp_path):
    assert slice_rows(Evidence(copy_of("federated", tmp_path).directory)) == []
