"""``trustml cancel``."""

from __future__ import annotations

from pathlib import Path

import click

from trustml.cli.completing import complete_runs
from trustml.cli.output import root_option


@click.command("cancel", short_help="End runs that another process executes, as Ctrl-C would.")
@click.argument("runs", nargs=-1, required=True, shell_complete=complete_runs)
@root_option
def command(runs: tuple[str, ...], root: Path) -> None:
    """End RUNS as Ctrl-C would: workers are stopped, what is finished is kept and measured, the rest can be resumed.

    What is not running is left as it is.
    """
    from trustml.record.running import ask_to_end
    from trustml.record.store import find_run

    for run in [find_run(name, root=root) for name in dict.fromkeys(runs)]:  # all are found before any is ended
        ended = ask_to_end(run)
        status = run.shown_status(run.head().status)
        if ended:
            more = "" if status == "success" else f"; go on with: trustml run --resume {run.path.name} --runs {root}"
            click.echo(f"{run.path.name}: {status}{more}")
        else:
            click.echo(f"{run.path.name}: is not running ({status})", err=True)
