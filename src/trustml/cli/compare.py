"""``trustml compare``."""

from __future__ import annotations

from pathlib import Path

import click

from trustml.cli.completing import complete_runs
from trustml.cli.output import console, data_stream, file_option, json_option, json_text, root_option


@click.command("compare", short_help="Show regimes and frameworks, or several runs, side by side.")
@click.argument("runs", nargs=-1, required=True, shell_complete=complete_runs)
@root_option
@json_option
@file_option
def command(runs: tuple[str, ...], root: Path, as_json: bool, file: Path | None) -> None:
    """Compare what RUNS measured: accuracy, epsilon, time and memory by regime and framework, and explanations.

    Says first in what they differ: scenario, data, versions, machine. A run that is named twice counts once. With
    --json: these differences, the tidy rows of all runs, and what is to be said of their data.
    """
    from trustml import api
    from trustml.compare.run_differences import run_differences
    from trustml.report.tables import plain_rows, print_comparison, print_differences

    loaded = list({run.path: run for run in (api.load(name, root=root) for name in runs)}.values())
    pairs = [(run.manifest, run.measures()) for run in loaded]
    differences = run_differences([manifest for manifest, _ in pairs])
    with data_stream(file) as stream:
        if as_json:
            rows = [row for _, table in pairs for row in plain_rows(table)]
            notes = {manifest.run: manifest.data.notes for manifest, _ in pairs}
            content = {
                "runs": [manifest.run for manifest, _ in pairs],
                "differences": differences,
                "data_notes": notes,
                "measures": rows,
            }
            stream.write(json_text(content) + "\n")
            return
        out = console(stream)
        print_differences(out, [manifest for manifest, _ in pairs], differences)
        print_comparison(out, pairs)
