"""Stored runs, for tests of whatever reads runs: copies that may be changed, measured anew or gone on with.

``make.py`` makes them and says what each is; ``golden.py`` keeps what was read from them.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

import trustml
from trustml.compare.rows import write_measures
from trustml.measures import privacy_statements
from trustml.plan.attack_files import events_file
from trustml.privacy.crosscheck import SecondOpinion
from trustml.record.provenance import source_revision

RUNS = Path(__file__).resolve().parent / "runs"
NAMES = ("frameworks", "attacked", "federated", "evidence", "private", "twice", "study")


def stored(name: str) -> Path:
    """The stored run of this name, in the repository: not to be written to."""
    (path,) = RUNS.glob(f"{name}-*")
    return path


def copy_of(name: str, folder: Path) -> trustml.Run:
    """Copy a stored run into a folder of runs. Git keeps no modes: what is private is so again."""
    path = Path(shutil.copytree(stored(name), folder / stored(name).name))
    for part in (path / "private", *(path / "private").rglob("*")):
        part.chmod(0o700 if part.is_dir() else 0o600)
    return trustml.load(path)


def measured_anew(name: str, folder: Path, *, second_opinion: bool = False) -> trustml.Run:
    """Copy a stored run and measure it by the present code, as if that had run it: nothing is trained."""
    run = copy_of(name, folder)
    run.directory.write_manifest(replace(run.manifest, source=source_revision()))
    with contextlib.nullcontext() if second_opinion else unasked_second_opinion():
        write_measures(run.directory)
    return run


@contextlib.contextmanager
def unasked_second_opinion() -> Iterator[None]:
    """Leave Opacus's accountant out: it is a process of its own, which imports PyTorch for seconds."""
    unasked = SecondOpinion(why="not asked in this test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(privacy_statements, "prv_epsilons", lambda models: [unasked] * len(models))
        yield


def without_tensorflow(folder: Path) -> trustml.Run:
    """The run of all frameworks where the environment of one is missing: its jobs are tried again in vain."""
    run = copy_of("frameworks", folder)
    jobs = []
    for job in run.manifest.jobs:
        if job.backend == "tensorflow":
            for file in {path.name for path in run.directory.job_folder(job.id).iterdir()} - {"job.json"}:
                (run.directory.job_folder(job.id) / file).unlink()
            run.directory.file(events_file(job.id)).unlink(missing_ok=True)  # or its charges were missing
            job = replace(job, status="pending", result=None, artifacts={})
        jobs.append(job)
    run.directory.write_manifest(replace(run.manifest, jobs=tuple(jobs), status="interrupted"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUSTML_ENV_TENSORFLOW", "/nonexistent")
        with unasked_second_opinion():
            return trustml.resume(run.path)
