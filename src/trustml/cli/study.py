"""``trustml study``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trustml.cli.main import OK, PARTIAL
from trustml.cli.output import console, data_stream, file_option, old_root_option, renamed, root_option

if TYPE_CHECKING:
    from trustml.api import Run


@click.command("study", short_help="Run the scenarios of a study and answer its questions.")
@click.argument("study", required=False)
@root_option
@old_root_option
@click.option("--full", is_flag=True, help="Take the module's `full` instead of its `study`.")
@click.option("--from", "earlier", multiple=True, metavar="RUN", help="Answer from this finished run; may be repeated.")
@click.option(
    "--figure", type=click.Path(dir_okay=False, path_type=Path), help="Draw the answer into this .png or .svg."
)
@file_option
def command(
    study: str | None,
    root: Path,
    old_root: Path | None,
    full: bool,
    earlier: tuple[str, ...],
    figure: Path | None,
    file: Path | None,
) -> int:
    """Run every scenario of STUDY (a module with `study = (Scenario(...), ...)`) and answer what privacy does.

    Prints Markdown. With --from nothing is run: the runs named are measured again and answered from.
    """
    from trustml import api
    from trustml.compare.rows import write_measures
    from trustml.report.study.figures import save_study_figure
    from trustml.report.study.tables import StudyPart, study_markdown

    root = renamed(old_root, root, was="--out", now="--runs") or root
    if bool(study) == bool(earlier):
        raise click.UsageError("name a study, or finished runs with --from")
    if earlier:
        runs = [api.load(name, root=root) for name in earlier]
        for run in runs:
            with run.directory.lock():
                write_measures(run.directory)
    else:
        runs = _run_all(str(study), root, full=full)
    parts = [StudyPart(manifest=run.manifest, table=run.measures()) for run in runs]
    if figure is not None:
        save_study_figure(parts, figure)
    with data_stream(file) as stream:
        stream.write(study_markdown(parts))
    return OK if all(run.status == "success" for run in runs) else PARTIAL


def _run_all(study: str, root: Path, *, full: bool) -> list[Run]:
    from trustml import api
    from trustml.cli.progress import show_progress
    from trustml.scenario.read import read_study
    from trustml.scenario.ready import find_scenario

    scenarios = read_study(find_scenario(study), full=full)
    runs = []
    for number, scenario in enumerate(scenarios, start=1):
        console(sys.stderr).print(f"part {number} of {len(scenarios)}: {scenario.name}", markup=False)
        with show_progress(sys.stderr) as progress:

            def listener(event: dict[str, Any], progress: Any = progress) -> None:
                progress(event)

            runs.append(api.run(scenario, out=root, listener=listener))
    return runs
