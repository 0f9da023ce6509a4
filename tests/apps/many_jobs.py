"""A run of 200 jobs, made of a stored one of 20: its seed stands ten times."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
from msgspec.structs import replace

import trustml
from tests.records import copy_of
from trustml.compare.table import read_measures
from trustml.record.store import MEASURES, PRIVACY

SEEDS = 10


def many_jobs(folder: Path) -> trustml.Run:
    """Make the run in a folder of runs."""
    run = copy_of("frameworks", folder)
    manifest, table = run.manifest, read_measures(run.directory)
    jobs, tables = list(manifest.jobs), [table]
    for seed in range(1, SEEDS):
        for record in manifest.jobs:
            old = run.directory.job_folder(record.id)
            new = run.directory.job_folder(_other(record.id, seed))
            shutil.copytree(old, new)
            (new / "job.json").write_text(
                _other((old / "job.json").read_text(), seed).replace('"seed": 0', f'"seed": {seed}')
            )
            jobs.append(replace(record, id=_other(record.id, seed), subject=_other(record.subject, seed), seed=seed))
        texts = {
            name: table[name].map(lambda one, seed=seed: _other(one, seed)) for name in table if _is_text(table[name])
        }
        tables.append(table.assign(**texts, seed=table.seed.where(table.seed < 0, seed)))
    scenario = {**manifest.scenario, "seeds": list(range(SEEDS))}
    run.directory.write_manifest(replace(manifest, jobs=tuple(jobs), scenario=scenario))
    pd.concat(tables, ignore_index=True).to_parquet(run.path / MEASURES)
    stated = msgspec.json.decode((run.path / PRIVACY).read_bytes())
    (run.path / PRIVACY).write_bytes(msgspec.json.encode(_stated(stated)))
    return run


def _stated(stated: Any) -> Any:
    if isinstance(stated, dict):
        return {name: _stated(one) if isinstance(one, list) else one for name, one in stated.items()}
    return [
        msgspec.json.decode(_other(msgspec.json.encode(one).decode(), seed)) for seed in range(SEEDS) for one in stated
    ]


def _is_text(column: pd.Series) -> bool:
    return bool(column.map(lambda one: isinstance(one, str)).any())


def _other(text: Any, seed: int) -> Any:
    return re.sub(r"\.s0\b", f".s{seed}", text) if isinstance(text, str) else text
