"""Curves of held-out scores: means over seeds, steps apart from rounds, none where nobody looked."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from tests.records import copy_of
from trustml.errors import UsageError
from trustml.measures.evidence import Evidence
from trustml.record.files import encode_arrays
from trustml.report.accuracy.learning import learning_frame, learning_lines


def test_curves_are_means_over_seeds_and_say_what_they_count(tmp_path):
    run = copy_of("frameworks", tmp_path)
    trained = [record for record in run.manifest.jobs if record.kind == "train" and record.status == "ok"]
    plain, federated = (next(one for one in trained if one.regime.startswith(kind)) for kind in ("Plain", "Fed"))
    arrays = {"steps": np.array([0, 9]), "accuracy": np.array([0.1, 0.7]), "loss": np.array([2.3, 0.9])}
    path = run.directory.job_folder(plain.id) / "history.npz"
    path.write_bytes(encode_arrays(arrays))
    jobs = [replace(one, artifacts={**one.artifacts, "history.npz": "x"}) for one in run.manifest.jobs]
    run.directory.write_manifest(replace(run.manifest, jobs=tuple(jobs)))
    frame = learning_frame(Evidence(run.directory))
    rows = frame[frame.regime == plain.regime]
    assert rows[["by", "step", "score", "loss"]].to_numpy().tolist() == [["step", 0, 0.1, 2.3], ["step", 9, 0.7, 0.9]]
    assert set(frame[frame.regime == federated.regime].by) == {"round"}
    shown = [chart.to_dict() for chart in learning_lines(frame, of="loss", score="accuracy")]
    assert len(shown) == frame.regime.nunique()
    assert len({str(one["encoding"]["y"]["scale"]["domain"]) for one in shown}) == 1
    path.write_bytes(b"damaged")
    assert plain.regime not in set(learning_frame(Evidence(run.directory)).regime)


def test_of_a_run_without_curves_it_is_said(tmp_path):
    run = copy_of("private", tmp_path)
    with pytest.raises(UsageError, match="no model was looked at"):
        run.figures.learning()
