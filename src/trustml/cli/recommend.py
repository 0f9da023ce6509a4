"""``trustml recommend``."""

from __future__ import annotations

from pathlib import Path

import click

from trustml.cli.completing import complete_runs
from trustml.cli.output import console, data_stream, file_option, json_option, json_text, root_option


@click.command("recommend", short_help="Say which framework a run favours for which need, and what it cannot tell.")
@click.argument("run", shell_complete=complete_runs)
@root_option
@json_option
@file_option
def command(run: str, root: Path, as_json: bool, file: Path | None) -> None:
    """Say which framework for which need, from what RUN measured: scores, times, memory, explanations, exported files.

    A framework is named only where a test over seeds tells it apart from every other; else it says why none is. Every
    line names its rows of the table. With --json: {"run", "recommendations", "exported"}.
    """
    from trustml import api
    from trustml.compare.recommendation import exported_files, recommendations
    from trustml.report.recommendation import print_recommendations

    loaded = api.load(run, root=root)
    table = loaded.measures()
    found, files = recommendations(table), exported_files(table)
    with data_stream(file) as stream:
        if as_json:
            stream.write(json_text({"run": loaded.manifest.run, "recommendations": found, "exported": files}) + "\n")
            return
        print_recommendations(console(stream), found, files)
