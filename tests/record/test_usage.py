"""Samples of processor and memory: few however long a job takes, private, and refused where they are damaged."""

from __future__ import annotations

import numpy as np
import pytest

from tests.records import copy_of
from trustml.errors import RecordError
from trustml.record.files import encode_arrays
from trustml.record.usage import Samples, read_usage, usage_file, write_usage


def test_a_long_job_keeps_few_samples_from_its_whole_time():
    samples = Samples()
    for step in range(50_000):
        samples.add(step * 0.1, memory=step, cpu_seconds=step / 2)
    seconds = np.array([one[0] for one in samples.taken()])
    assert len(seconds) <= 240 and seconds[0] == 0 and seconds[-1] > 4900
    assert np.diff(seconds).max() < 5000 / 60  # nowhere a long gap


def test_samples_come_back_and_only_their_owner_reads_them(tmp_path):
    run = copy_of("private", tmp_path)
    assert read_usage(run.directory, "a.job") is None
    write_usage(run.directory, "a.job", (), started=1.0)
    assert read_usage(run.directory, "a.job") is None
    write_usage(run.directory, "a.job", ((0.0, 2**40, 0.1), (0.5, 3, 0.6)), started=7.0)
    assert (run.path / usage_file("a.job")).stat().st_mode & 0o077 == 0
    found = read_usage(run.directory, "a.job")
    assert (found.started, found.memory.tolist(), found.cpu_seconds.tolist()) == (7.0, [2**40, 3], [0.1, 0.6])


@pytest.mark.parametrize("change", [{"seconds": None}, {"memory": np.zeros(3)}, {"cpu_seconds": np.array([0, np.nan])}])
def test_damaged_samples_are_told(tmp_path, change):
    run = copy_of("private", tmp_path)
    arrays = {"started": np.array(1.0), **{name: np.zeros(2) for name in ("seconds", "memory", "cpu_seconds")}}
    kept = {name: array for name, array in {**arrays, **change}.items() if array is not None}
    (run.path / "private/usage").mkdir()
    (run.path / usage_file("a")).write_bytes(encode_arrays(kept))
    with pytest.raises(RecordError, match="delete it"):
        read_usage(run.directory, "a")
