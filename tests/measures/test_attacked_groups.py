"""Attacks by group: areas of the same scores within each group, on a stored attacked run."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from sklearn.metrics import roc_auc_score

from tests.records import copy_of
from trustml.data.slices import CODES, NAMES, codes_of_others, slice_arrays
from trustml.measures.attacked_groups import MEASURE, attacked_group_rows
from trustml.measures.evidence import Evidence
from trustml.measures.membership import attacked_models
from trustml.plan.attack_files import TRAINING_SLICES
from trustml.record.files import encode_arrays, write_atomic
from trustml.record.mapped import write_arrays
from trustml.record.store import HELDOUT

COLUMN = "who"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Groups by place: every third example is a "b", the first few are a "tiny"; of members some are of neither."""
    run = copy_of("attacked", tmp_path_factory.mktemp("grouped"))
    model = attacked_models(Evidence(run.directory))[0]
    sides = []
    for count in (int(model.members.sum()), int((~model.members).sum())):
        group = np.where(np.arange(count) % 3 == 0, "b", "a").astype("U8")
        group[:5] = "tiny"
        sides.append(group)
    sides[0][-7:] = "nowhere"
    held = slice_arrays((COLUMN,), {COLUMN: sides[1]})
    write_arrays(run.directory.file(HELDOUT), run.directory.arrays(HELDOUT) | held)
    codes = codes_of_others((COLUMN,), {COLUMN: sides[0]}, held[NAMES])
    assert (codes[0, -7:] == -1).all() and (codes[0, :-7] >= 0).all()
    write_atomic(run.directory.file(TRAINING_SLICES), encode_arrays({CODES: codes}), private=True)
    run.directory.write_manifest(replace(run.manifest, scenario={**run.manifest.scenario, "slices": [COLUMN]}))
    return run, np.concatenate(sides)


def test_each_group_has_the_area_of_the_strongest_attack_among_its_examples(run):
    attacked, group = run
    evidence = Evidence(attacked.directory)
    rows = attacked_group_rows(evidence)
    models = [one for one in evidence.once(attacked_models) if one.outcomes]
    assert {row.job for row in rows} == {one.record.id for one in models}
    for row in rows:
        model = next(one for one in models if one.record.id == row.job)
        outcome = next(one for one in model.outcomes if one.attack == row.method)
        own = group == row.facts["group"]
        assert row.measure == MEASURE and row.subject == f"{COLUMN}: {row.facts['group']}"
        assert row.value == pytest.approx(roc_auc_score(model.members[own], outcome.scores[own]))
        assert row.n == own.sum() and row.low <= row.value <= row.high and row.interval
    assert {row.facts["group"] for row in rows} == {"a", "b"}  # tiny is too small, and nobody held out is nowhere


def test_a_run_of_before_has_no_rows_and_one_without_its_private_files_says_so(run, tmp_path):
    attacked, _ = run
    file = attacked.directory.file(TRAINING_SLICES)
    content = file.read_bytes()
    file.unlink()
    try:
        assert attacked_group_rows(Evidence(attacked.directory)) == []
    finally:
        write_atomic(file, content, private=True)
    private = attacked.path / "private"
    private.rename(tmp_path / "private")
    try:
        rows = attacked_group_rows(Evidence(attacked.directory))
    finally:
        (tmp_path / "private").rename(private)
    assert rows and all(row.value is None and row.facts["not_at_hand"] for row in rows)
