"""``trustml show``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trustml.cli.completing import complete_runs
from trustml.cli.output import console, data_stream, file_option, json_option, json_text, root_option

if TYPE_CHECKING:
    from trustml.api import Run


@click.command("show", short_help="Show how a run went and what it measured.")
@click.argument("run", shell_complete=complete_runs)
@root_option
@json_option
@file_option
@click.option("--privacy", is_flag=True, help="Show the privacy statement of every private model instead.")
@click.option("--plot", is_flag=True, help="Plot the score of every model with its interval instead.")
def command(run: str, root: Path, as_json: bool, file: Path | None, privacy: bool, plot: bool) -> None:
    """Show RUN: an identifier, its beginning, `latest`, or a path.

    With --json: {"run", "status", "jobs", "data", "measures", "privacy", "summary"}, the measures as rows of the tidy
    table; with --privacy --json: {"run", "data", "epsilon_all_releases", "privacy"}.
    """
    from trustml import api
    from trustml.errors import RecordError

    if plot and (privacy or as_json):
        raise click.UsageError("--plot is a picture of characters; leave --privacy and --json out")
    loaded = api.load(run, root=root)
    if plot:
        from trustml.report.plot import print_plot

        with data_stream(file) as stream:
            print_plot(console(stream), loaded.manifest, loaded.measures())
        return
    if privacy:
        _show_privacy(loaded, as_json=as_json, file=file)
        return
    manifest = loaded.manifest
    try:
        table = loaded.measures()
    except RecordError:
        if loaded.directory.head().status != "running":
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
                "data": {"preparation": manifest.data.preparation, "notes": manifest.data.notes},
                "measures": rows,
                "privacy": loaded.privacy() if table is not None else [],
                "summary": loaded.summary() if table is not None else (),
            }
            stream.write(json_text(content) + "\n")
            return
        from trustml.report.summary import print_summary
        from trustml.report.tables import print_comparison, print_jobs, print_problems

        out = console(stream)
        print_jobs(out, manifest)
        print_problems(out, manifest)
        if table is not None:
            print_summary(out, loaded.summary())
        if table is not None:
            print_comparison(out, [(manifest, table)])


def _show_privacy(loaded: Run, *, as_json: bool, file: Path | None) -> None:
    from trustml.privacy.statement import at_most, statement_text

    statements = loaded.privacy()
    table = loaded.measures()
    together = table[table.measure == "epsilon_all_releases"].to_dict("records")
    with data_stream(file) as stream:
        out = console(stream)
        if as_json:
            from trustml.report.tables import plain_rows

            rows = plain_rows(table[table.measure == "epsilon_all_releases"])
            data = {"preparation": loaded.manifest.data.preparation, "notes": loaded.manifest.data.notes}
            content = {
                "run": loaded.manifest.run,
                "data": data,
                "epsilon_all_releases": rows,
                "privacy": statements,
            }
            stream.write(json_text(content) + "\n")
            return
        if not statements:
            out.print(
                "no model of this run was trained with privacy: no finite epsilon holds for any of them", soft_wrap=True
            )
        for statement in statements:
            for line in [*statement_text(statement).split("\n"), ""]:
                out.print(line, soft_wrap=True)
        for row in together:
            out.print(f"epsilon of all releases together: {at_most(row['value'], 4)}; {row['note']}", soft_wrap=True)
        for note in loaded.manifest.data.notes:
            out.print(f"data: {note}", soft_wrap=True)
