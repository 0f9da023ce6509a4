"""``trustml list``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trustml.cli.output import console, data_stream, file_option, json_option, json_text, root_option


@click.command("list", short_help="List the runs and the ready scenarios.")
@root_option
@json_option
@file_option
def command(root: Path, as_json: bool, file: Path | None) -> None:
    """List the runs in a folder, and the scenarios that come with trustml."""
    from trustml.errors import RecordError
    from trustml.record.removal import unplanned_runs
    from trustml.record.store import list_runs
    from trustml.scenario.ready import ready_scenarios

    runs: list[dict[str, Any]] = []
    for directory in list_runs(root):
        try:
            head = directory.head()
        except RecordError as error:
            runs.append({"run": directory.path.name, "status": "damaged", "problem": str(error)})
            continue
        runs.append(
            {
                "run": directory.path.name,
                "status": directory.shown_status(head.status),
                "created": head.created,
                "scenario": head.scenario.name,
                "jobs_ok": sum(job.status == "ok" for job in head.jobs),
                "jobs": len(head.jobs),
            }
        )
    for directory in unplanned_runs(root):
        name = directory.path.name
        planning = {"status": "planning", "problem": "its data, weights and batches are being written"}
        broken_off = {"status": "unplanned", "problem": f"interrupted while planning; `trustml rm {name}` removes it"}
        runs.append({"run": name, **(planning if directory.is_executed() else broken_off)})
    with data_stream(file) as stream:
        if as_json:
            stream.write(json_text({"runs": runs, "scenarios": ready_scenarios()}) + "\n")
            return
        from rich.table import Table

        table = Table("run", "status", "created", "jobs", box=None, pad_edge=False)
        for run in runs:
            jobs = f"{run['jobs_ok']}/{run['jobs']}" if "jobs" in run else run["problem"]
            table.add_row(run["run"], run["status"], run.get("created", ""), jobs)
        out = console(stream)
        if runs:
            out.print(table)
        else:
            out.print(f"no runs in {root}")
        out.print(f"ready scenarios: {', '.join(ready_scenarios())}   (trustml run NAME)")
