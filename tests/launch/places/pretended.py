"""A run with one job to do, and an environment whose workers are a few lines of shell."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.records import copy_of
from trustml.launch.resume import prepare_resume
from trustml.record.store import RunDirectory

JOB = "train.torch.Plain.s0"
DONE = 'printf \'{"status": "ok", "library": "pretended"}\' > "$folder/result.json"'


def unfinished(folder: Path, *, overrides: tuple[str, ...] = (), job: str = JOB) -> RunDirectory:
    """Copy a stored run, and take back one of its jobs that nothing else needs."""
    run = copy_of("frameworks", folder).directory
    jobs = tuple(
        replace(one, status="timeout", reason="took too long", result=None, artifacts={}) if one.id == job else one
        for one in run.manifest().jobs
    )
    run.write_manifest(replace(run.manifest(), jobs=jobs, status="partial"))
    prepare_resume(run, allow_overrun=False, overrides=overrides)
    return run


def pretend(folder: Path, patch: pytest.MonkeyPatch, *, does: str = DONE) -> None:
    """Have workers of torch do something in shell; `folder` there is the job's."""
    python = folder / "environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\nfor folder; do :; done\n{does}\n")
    python.chmod(0o755)
    patch.setenv("TRUSTML_ENV_TORCH", str(folder / "environment"))
