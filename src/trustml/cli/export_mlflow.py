"""``trustml export-mlflow``."""

from __future__ import annotations

from pathlib import Path

import click

from trustml.cli.output import json_option, json_text, root_option


@click.command("export-mlflow", short_help="Send what a run measured to an MLflow server.")
@click.argument("run")
@click.option("--to", envvar="MLFLOW_TRACKING_URI", required=True, metavar="ADDRESS", help="Of the tracking server.")
@click.option("--experiment", default="trustml", show_default=True, help="Made where it is not there.")
@click.option("--no-artifacts", is_flag=True, help="Send parameters, metrics and tags alone.")
@root_option
@json_option
def command(run: str, to: str, experiment: str, no_artifacts: bool, root: Path, as_json: bool) -> None:
    """Send RUN to an MLflow server: one run for the whole, and one below it for each model.

    Parameters are the scenario's fields, metrics the measures with their intervals, tags what an epsilon rests on.
    Record, measures, privacy statements and audit go along as artifacts; nothing of private/ does, no data and no
    weights. --to is also read from MLFLOW_TRACKING_URI; names and passwords are taken from the environment, as MLflow
    takes them. Needs nothing of MLflow here.
    """
    from trustml.evidence.mlflow_runs import exported_runs
    from trustml.evidence.mlflow_server import MlflowServer
    from trustml.record.store import find_run

    server = MlflowServer(to)
    parent, children = exported_runs(find_run(run, root=root), artifacts=not no_artifacts)
    address = server.export(parent, children, experiment=experiment)
    if as_json:
        click.echo(json_text({"run": parent.name, "models": [child.name for child in children], "address": address}))
    else:
        click.echo(f"{parent.name} and its {len(children)} models: {address}")
