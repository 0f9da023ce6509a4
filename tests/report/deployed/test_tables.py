"""Exported files in `trustml compare`: what was lost, and whether they tell more of members than their models."""

from __future__ import annotations

import io
import re

import msgspec
import numpy as np
import pytest
from rich.console import Console

from tests.measures.test_deployed_attacks import MODEL, RECORD, answers, rows_of_file
from tests.records import copy_of
from trustml.compare.table import table_of
from trustml.measures.deployed import deployed_rows
from trustml.measures.evidence import Evidence
from trustml.record.exports import EXPORTS
from trustml.record.files import encode_arrays
from trustml.report import tables
from trustml.report.deployed.frames import deployed_frames
from trustml.report.deployed.tables import print_deployed

SECONDS = {f"{who}.seconds_{batch}": np.full(30, 0.001, np.float32) for who in ("file", "model") for batch in (1, 64)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return copy_of("attacked", tmp_path_factory.mktemp("runs"))


def measured(run):
    """All rows of a file that answers as its model."""
    train, test = answers(run.directory)
    attacks = rows_of_file(run.directory, train, test)
    stored = {"file.held_out_logits": test, **SECONDS}
    run.directory.file(f"{EXPORTS}/{RECORD.name}/answers.npz").write_bytes(encode_arrays(stored))
    return table_of([*deployed_rows(Evidence(run.directory)), *attacks.values()])


@pytest.fixture(scope="module")
def same(run):
    return measured(run)


def test_several_runs_have_their_files_side_by_side_with_what_their_models_have(same):
    other = same.assign(value=same.value.where(~same.measure.str.contains("membership"), 0.99))
    frame = deployed_frames([("first", same), ("second", other)])
    assert list(frame.columns[:3]) == ["run", "model", "file"]
    assert frame[["run", "model", "file"]].to_numpy().tolist() == [["first", MODEL, "onnx"], ["second", MODEL, "onnx"]]
    assert list(frame["logit difference"]) == ["0.0e+00", "0.0e+00"] and list(frame["attributions by"]) == ["-", "-"]
    assert all(re.fullmatch(r"0\.000 \[-0\.\d{3}, 0\.\d{3}\]", text) for text in frame.score), frame.score
    (own, alike), (sure, beside) = (text.split(", model ") for text in frame.membership)
    assert own.startswith(alike) and float(sure.split()[0]) > 0.95 > float(beside)
    (own, alike), (sure, beside) = (text.split(", model ") for text in frame["at least"])
    assert own == alike and float(sure) > float(beside)


def test_a_run_without_attacks_has_none_beside_one_with_them(same):
    plain = same[~same.measure.str.contains("membership")]
    frame = deployed_frames([("plain", plain), ("attacked", same)])
    assert frame.membership[0] == "-" and ", model " in frame.membership[1]
    assert deployed_frames([("nothing", plain[:0])]).empty


def test_compare_prints_every_file_once(run, same):
    out, names = Console(file=io.StringIO(), width=250, color_system=None), ("first", "second")
    manifests = [msgspec.structs.replace(run.manifest, run=name) for name in names]
    tables.print_comparison(out, [(manifest, same) for manifest in manifests])
    _, told = out.file.getvalue().split("exported models beside the models that were audited")
    lines = [line for line in told.splitlines() if MODEL in line and "onnx" in line]
    assert [name for name in names for line in lines if name in line] == list(names) and len(lines) == len(names)
    assert all(", model " in line for line in lines)


def test_one_run_has_no_column_of_runs(same):
    out = Console(file=io.StringIO(), width=250, color_system=None)
    print_deployed(out, [("first", same)])
    assert "first s" in out.file.getvalue() and "first " not in out.file.getvalue().replace("first s", "")
