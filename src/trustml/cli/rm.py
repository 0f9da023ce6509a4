"""``trustml rm``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from trustml.cli.completing import complete_runs
from trustml.cli.output import root_option


@click.command("rm", short_help="Remove runs, or what is left of one that was never planned to its end.")
@click.argument("runs", nargs=-1, required=True, shell_complete=complete_runs)
@root_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(runs: tuple[str, ...], root: Path, yes: bool) -> None:
    """Remove RUNS, each named in full, from the folder of runs, with all that is in them.

    Asks first. A run that is being executed is refused, and so is whatever lies elsewhere; links are not followed.
    The ledger of a private model goes with its run: what was spent is written down nowhere else.
    """
    from trustml.errors import UsageError
    from trustml.launch.places.ticket import require_nobody
    from trustml.record.removal import removable_run, remove_run

    found = [removable_run(name, root=root) for name in dict.fromkeys(runs)]  # all, before any is removed
    if not yes and not sys.stdin.isatty():
        raise UsageError("trustml rm: asks before it removes, and nobody can answer here; give --yes")
    for run in found:
        if run.is_executed():
            raise UsageError(f"{run.path.name}: is being run or planned by another process; wait for it, or end it")
        charged = any(path.stat().st_size for path in run.path.glob("jobs/*/ledger.jsonl") if path.is_file())
        with_it = " and the only record of what its private models spent" if charged else ""
        if not yes and not click.confirm(f"remove {run.path}{with_it}?", err=True):
            continue
        with run.lock():
            require_nobody(run)
        remove_run(run)
        click.echo(f"removed {run.path}", err=True)
