"""Times with what they are worth: the load beside them, processor time, how far they vary; memory of the work alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from msgspec.structs import replace

from tests.records import copy_of
from trustml.compare.table import busy_rows, table_of
from trustml.measures.evidence import Evidence
from trustml.measures.speed import speed_rows, unequal_nodes
from trustml.record.files import encode_arrays
from trustml.record.provenance import NodeRecord
from trustml.report.speed.tables import load_words

MODEL = "train.jax.DPSGD.s0"
MIB = 2.0**20


@pytest.fixture
def run(tmp_path):
    return copy_of("twice", tmp_path)


def measured(run, *, details=None, seconds=None, cpu=None):
    """Rows of one model by name, once its record and its timings were replaced."""
    jobs = []
    for job in run.manifest.jobs:
        if job.id == MODEL and details is not None:
            job = replace(job, result=replace(job.result, details={**job.result.details, **details}))
        jobs.append(job)
    run.directory.write_manifest(replace(run.manifest, jobs=tuple(jobs)))
    if seconds is not None:
        arrays = {"seconds": np.array(seconds), "examples": np.ones(len(seconds), np.int64)}
        if cpu is not None:
            arrays["cpu_seconds"] = np.array(cpu)
        (run.path / "private" / "timings" / f"{MODEL}.npz").write_bytes(encode_arrays(arrays))
    rows = speed_rows(Evidence(run.directory))
    return rows, {row.measure: row for row in rows if row.job == MODEL}


def test_records_of_before_say_nothing_of_load_or_of_the_work_alone(run):
    rows, found = measured(run, seconds=[9, 1, 1.5, 1])
    assert "work_memory" not in found and found["peak_memory"].value > 0
    facts = found["step_time_median"].facts
    assert not {"others_share", "cpu_time", "quartiles_apart"} & set(facts)
    assert load_words(table_of(rows)) == []


def test_load_processor_time_and_spread_are_facts_and_words(run):
    details = {"others_share": 0.43, "load_before": 6.25, "cores": 2.0}
    rows, found = measured(run, details=details, seconds=[9, 1, 1, 1, 5, 5, 5], cpu=[9, 0.5, 0.5, 0.5, 0.7, 0.7, 0.7])
    row = found["step_time_median"]
    assert row.facts["others_share"] == 0.43 and row.facts["load_before"] == 6.25 and row.facts["cores"] == 2
    assert row.facts["cpu_time"] == pytest.approx(0.6)
    assert row.facts["quartiles_apart"] == pytest.approx(5.0)
    for words in ("others used 43% of the 2 cores", "load 6.2", "0.6 s of processors", "quartiles span 5.0 times"):
        assert words in row.note, row.note
    assert "others used 43%" in found["examples_per_second"].note
    busy, apart = load_words(table_of(rows))
    assert "others used up to 43% of its 2 cores beside 1 of 2 trainings" in busy
    assert apart.endswith("DPSGD in jax")


def test_a_quota_that_held_a_job_back_is_told_and_its_times_are_not_compared(run):
    details = {"others_share": 0.0, "load_before": 0.5, "load_after": 1.25, "cores": 2.0}
    details |= {"throttled_share": 0.35, "throttled_seconds": 2.5}
    rows, found = measured(run, details=details, seconds=[9, 1, 1, 1], cpu=[9, 1, 1, 1])
    note = found["step_time_median"].note
    assert "load 0.5 before and 1.2 at the end" in note
    assert "WARNING: a quota of processors held it back in 35% of its periods, 2.5 s in all" in note
    (words,) = load_words(table_of(rows))
    assert words.startswith("the system held back 1 of 2 trainings, in up to 35% of their periods")
    table = table_of([one for one in rows if one.job == MODEL])
    assert busy_rows(table)[table.measure == "step_time_median"].all()


def test_a_busy_machine_beside_explanations_is_told_once_a_job(run):
    rows, _ = measured(run)
    (row,) = [one for one in rows if one.measure == "step_time_median" and one.job == MODEL]
    times = [
        replace(row, measure="explain_time", job="explain.x", method=method, facts={"others_share": 0.5, "cores": 2})
        for method in ("a", "b")
    ]
    (words,) = load_words(table_of(times))
    assert "others used up to 50% of its 2 cores beside 1 of 1 explain jobs" in words


def test_steady_times_on_an_idle_machine_need_no_word(run):
    details = {"others_share": 0.03, "load_before": 1.0, "cores": 2.0}
    rows, found = measured(run, details=details, seconds=[9, 1, 1.2, 1.4], cpu=[9, 1, 1, 1])
    assert "quartiles_apart" not in found["step_time_median"].facts
    assert not [text for text in load_words(table_of(rows)) if "busy" in text]


def test_memory_of_the_work_is_told_beside_the_whole(run):
    details = {"largest_resident_bytes": 900 * MIB, "resident_before_work_bytes": 300 * MIB}
    _, found = measured(run, details=details)
    assert found["work_memory"].value == 600 * MIB and found["work_memory"].unit == "bytes"
    assert "300 MiB were held before the work" in found["work_memory"].note
    assert found["peak_memory"].value == copy_peak(run), "the whole stays what it was"


def on_nodes(run, *nodes):
    """Rows of the trainings' times, and of the load, once their jobs had run on these nodes in turn."""
    done = [job for job in run.manifest.jobs if job.kind == "train"]
    placed = {job.id: node for job, node in zip(done, itertools.cycle(nodes), strict=False)}
    jobs = tuple(replace(job, node=placed.get(job.id, nodes[0])) for job in run.manifest.jobs)
    run.directory.write_manifest(replace(run.manifest, jobs=jobs))
    return speed_rows(Evidence(run.directory))


BIG, SMALL = (NodeRecord(name=name, cores=cores, memory=2**34) for name, cores in (("n1", 16), ("n2", 2)))


def test_times_of_unequal_nodes_say_that_they_are_not_comparable(run):
    rows = on_nodes(run, BIG, SMALL)
    timed = [row for row in rows if row.unit == "s"]
    assert timed and all(row.facts["unequal_nodes"] and "unequal nodes" in row.note for row in timed)
    assert {row.facts["node"] for row in timed} == {"n1", "n2"}
    assert "on node n1, 16 cores" in next(row.note for row in timed if row.facts["node"] == "n1")
    assert any("nodes of several kinds" in text for text in load_words(table_of(rows)))


@pytest.mark.parametrize("other", [replace(BIG, name="n7", load=9.0), replace(BIG, name="n8", memory=2**34 - 4096)])
def test_times_of_equal_nodes_are_comparable(run, other):
    rows = on_nodes(run, BIG, other)
    assert not [row for row in rows if "unequal_nodes" in row.facts]
    assert not any("nodes of several kinds" in text for text in load_words(table_of(rows)))


def test_a_run_that_went_on_elsewhere_had_unequal_machines(run):
    assert unequal_nodes(replace(run.manifest, jobs=(run.manifest.jobs[0], replace(run.manifest.jobs[1], node=BIG))))
    assert not unequal_nodes(run.manifest)


def copy_peak(run) -> int:
    return next(job.peak_memory for job in run.manifest.jobs if job.id == MODEL)
