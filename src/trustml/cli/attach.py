"""``trustml attach``."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import click

from trustml.cli.completing import complete_runs
from trustml.cli.main import INTERRUPTED
from trustml.cli.output import data_stream, file_option, json_option, json_text, root_option


@click.command("attach", short_help="Show the progress of a run that another process executes.")
@click.argument("run", shell_complete=complete_runs)
@root_option
@json_option
@file_option
def command(run: str, root: Path, as_json: bool, file: Path | None) -> int:
    """Show how RUN goes on until it has ended, and then what `trustml run` prints; exits as that does.

    Ctrl-C ends this command alone: the run goes on. A run that has ended already is shown as it went.
    """
    from trustml import api
    from trustml.cli.progress import show_progress
    from trustml.cli.run import print_ended
    from trustml.record.running import follow

    loaded, last = api.load(run, root=root), ""
    with data_stream(file) as stream:
        try:
            with show_progress(sys.stderr) as progress:
                for event in follow(loaded.directory):
                    last = event.get("event", "")
                    with suppress(KeyError, TypeError, ValueError):  # a record may hold events of any form
                        progress(event)
                    if as_json:
                        stream.write(json_text(event) + "\n")
                        stream.flush()
        except KeyboardInterrupt:
            click.echo(f"{loaded.id}: goes on; end it with: trustml cancel {loaded.id} --runs {root}", err=True)
            return INTERRUPTED
        if last != "done":
            click.echo(f"{loaded.id}: the process that executed it is gone", err=True)
        return print_ended(loaded, root=root, stream=stream if last == "done" and not as_json else None)
