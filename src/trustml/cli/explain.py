"""``trustml explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trustml.cli.completing import complete_runs
from trustml.cli.output import console, data_stream, file_option, json_option, json_text, root_option
from trustml.errors import UsageError

if TYPE_CHECKING:
    from trustml.record.store import RunDirectory
    from trustml.report.explanations.selection import PanelRequest


@click.command("explain", short_help="Show how the models of a run explain one example.")
@click.argument("run", shell_complete=complete_runs)
@click.option("--method", help="Such as integrated_gradients; needed where the run has several.")
@click.option("--example", type=int, default=0, show_default=True, help="Number among the explained examples.")
@click.option("--model", help="Show this model only: a train job such as train.torch.Plain.s0.")
@click.option("--backend", help="Show the explanations of this backend's library only.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Draw them into this .png, .svg or .pdf.")
@click.option("--all-examples", is_flag=True, help="Show mean magnitudes over all explained examples instead.")
@root_option
@json_option
@file_option
def command(
    run: str,
    method: str | None,
    example: int,
    model: str | None,
    backend: str | None,
    save: Path | None,
    all_examples: bool,
    root: Path,
    as_json: bool,
    file: Path | None,
) -> None:
    """Show how the models of RUN explain one example, in every library, with one colour scale.

    Prints the features that count most, and which class is explained. With --json: {"run", "method", "example",
    "target", "true_class", "explanations"}; target is the true class, and every explanation names the class that it
    explains and the predicted one, with probabilities, and has the attributions in full. With --all-examples and
    --json: {"run", "method", "importances"}, features with means of magnitudes and bootstrap intervals over examples.
    """
    from trustml.record.store import find_run
    from trustml.report.explanations.frames import explained_example, features_table
    from trustml.report.explanations.selection import PanelRequest
    from trustml.report.explanations.words import word_lines

    wanted = PanelRequest(method=method, example=example, model=model, backend=backend)
    if all_examples:
        if save is not None:
            raise UsageError("--save: draws one example; leave out --all-examples, or --save")
        _show_all(find_run(run, root=root), wanted, as_json=as_json, file=file)
        return
    directory = find_run(run, root=root)
    found = explained_example(directory, wanted)
    if save is not None:
        from trustml.report.explanations.picture import save_picture

        save_picture(found, save)
        click.echo(f"saved {save}", err=True)
    with data_stream(file) as stream:
        if as_json:
            stream.write(json_text(found.plain()) + "\n")
        else:
            out = console(stream)
            out.print(features_table(found))
            for line in word_lines(found):
                out.print(line, soft_wrap=True)
    _warn(directory, {panel.model for panel in found.panels})


def _warn(run: RunDirectory, models: set[str]) -> None:
    """Say in red which of some models answer the same for every example: their explanations explain little."""
    from trustml.compare.table import read_measures
    from trustml.errors import RecordError
    from trustml.report.tables import constant_lines

    try:
        table = read_measures(run)
    except RecordError:  # the run goes on, or its table is damaged, which `trustml show` says
        return
    for line in constant_lines(table[table.job.isin(models)])[1]:
        click.secho(f"WARNING: {line}", fg="red", err=True)


def _show_all(run: RunDirectory, wanted: PanelRequest, *, as_json: bool, file: Path | None) -> None:
    from trustml.report.explanations.importance import importance_table, importances, plain_importance

    found = importances(run, wanted)
    with data_stream(file) as stream:
        if as_json:
            stream.write(json_text(plain_importance(run, wanted, found)) + "\n")
        else:
            console(stream).print(importance_table(run, wanted, found))
    _warn(run, {one.model for one in found})
