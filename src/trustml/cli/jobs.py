"""``trustml jobs``."""

from __future__ import annotations

import datetime
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from trustml.cli.output import console, data_stream, file_option, json_option, json_text, root_option

if TYPE_CHECKING:
    from trustml.record.running import Executed


@click.command("jobs", short_help="List the runs that are executed now, and how far they are.")
@root_option
@json_option
@file_option
def command(root: Path, as_json: bool, file: Path | None) -> None:
    """List the runs of a folder that some process executes now: the jobs at work, how far they are, and since when.

    A node of a cluster whose launcher is gone works on for two minutes at the most; it is listed as long as it does.
    """
    from trustml.errors import RecordError
    from trustml.launch.places.ticket import left_at_work
    from trustml.record.running import RunningJob, executed_now
    from trustml.record.store import list_runs

    found, others = [], []
    for run in list_runs(root):
        if not run.is_executed():
            others.append(run)
            continue
        with suppress(RecordError):  # it was removed in between, or is damaged: `trustml list` says that
            found.append(executed_now(run))
    left = left_at_work(others)
    for run in (run for run in others if run.path.name in left):
        jobs = tuple(RunningJob(job=one.job, left_on=one.node) for one in left[run.path.name])
        with suppress(RecordError):
            found.append(replace(executed_now(run), running=jobs))
    with data_stream(file) as stream:
        if as_json:
            stream.write(json_text({"jobs": found}) + "\n")
            return
        out = console(stream)
        if not found:
            out.print(f"nothing runs in {root}")
            return
        from rich.table import Table

        table = Table("run", "done", "at work", "since", "process", box=None, pad_edge=False)
        for one in found:
            table.add_row(one.run, f"{one.jobs_done}/{one.jobs}", _at_work(one), _since(one), str(one.pid or ""))
        out.print(table)


def _at_work(one: Executed) -> str:
    steps = [f"{job.job} {job.step}/{job.steps}" if job.steps else job.job for job in one.running if not job.left_on]
    steps += [f"{job.job} on {job.left_on}, whose launcher is gone" for job in one.running if job.left_on]
    return ", ".join(steps) or "measuring"


def _since(one: Executed) -> str:
    if one.since is None:
        return ""
    return datetime.datetime.fromtimestamp(one.since).astimezone().isoformat(sep=" ", timespec="seconds")
