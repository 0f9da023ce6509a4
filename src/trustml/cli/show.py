"""``trustml show``."""

from __future__ import annotations

from pathlib import Path

import click

from trustml.cli.output import console, data_stream, file_option, json_option, json_text, root_option


@click.command("show", short_help="Show how a run went and what it measured.")
@click.argument("run")
@root_option
@json_option
@file_option
def command(run: str, root: Path, as_json: bool, file: Path | None) -> None:
    """Show RUN: an identifier, its beginning, `latest`, or a path.

    With --json: {"run", "status", "jobs", "measures"}, the measures as rows of the tidy table.
    """
    from trustml import api
    from trustml.errors import RecordError

    loaded = api.load(run, root=root)
    manifest = loaded.manifest
    try:
        table = loaded.measures()
    except RecordError:
        if manifest.status != "running":
            raise
        table = None
    with data_stream(file) as stream:
        if as_json:
            from trustml.report.tables import plain_rows

            rows = plain_rows(table) if table is not None else []
            content = {
                "run": manifest.run,
                "status": manifest.status,
                "jobs": manifest.jobs,
                "measures": rows,
            }
            stream.write(json_text(content) + "\n")
            return
        from trustml.report.tables import print_comparison, print_jobs, print_problems

        out = console(stream)
        print_jobs(out, manifest)
        print_problems(out, manifest)
        if table is not None:
            print_comparison(out, [(manifest, table)])
