"""``trustml report``."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import click

from trustml.cli.output import data_stream, file_option, root_option


@click.command("report", short_help="Write what runs measured as HTML to be handed on.")
@click.argument("runs", nargs=-1, required=True)
@click.option("--site", type=click.Path(file_okay=False, path_type=Path), help="Write a folder of pages instead.")
@root_option
@file_option
def command(runs: tuple[str, ...], site: Path | None, root: Path, file: Path | None) -> None:
    """Write RUNS, side by side, as HTML: what they answer, in what they differ, and the charts of the dashboard.

    Writes one file, to standard output or to -o FILE; with --site DIR a folder that begins with index.html. Nothing
    of private/ is in it, it loads nothing, and what it leaves out it says.
    """
    from trustml.record.store import find_run

    if site is not None and file is not None:
        raise click.UsageError("give --site DIR or -o FILE, not both")
    found = list({run.path: run for run in (find_run(name, root=root) for name in runs)}.values())
    html = _drawing()
    if site is not None:
        click.echo(f"wrote {html.write_site(found, site)}", err=True)
        return
    with data_stream(file) as stream:
        stream.write(html.site_page(found))
    if file is not None:
        click.echo(f"wrote {file}", err=True)


def _drawing() -> ModuleType:
    from importlib.util import find_spec

    from trustml.errors import UsageError

    if find_spec("altair") is None:
        raise UsageError("report: needs altair, which makes the charts; pip install 'trustml[dashboard]'")
    from trustml.report.site import html

    return html
