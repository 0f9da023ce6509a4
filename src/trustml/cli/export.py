"""``trustml export``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trustml.cli.completing import complete_runs
from trustml.cli.main import FAILED, OK
from trustml.cli.output import console, root_option

if TYPE_CHECKING:
    from trustml.models.exported import Quantised


@click.command("export", short_help="Write a trained model for deployment, and check that it still is that model.")
@click.argument("run", shell_complete=complete_runs)
@click.argument("model", metavar="JOB")
@click.option(
    "--to",
    "target",
    required=True,
    help="pt2, onnx, onnx-web, executorch, stablehlo, keras, savedmodel, tflite or tfjs.",
)
@click.option(
    "--quantize", "quantised", type=click.Choice(["dynamic", "int8"]), help="8-bit weights; 8-bit weights and values."
)
@click.option(
    "--calibrate",
    default="",
    metavar="made|explained|FILE",
    help="Whose values int8 rounds by: random inputs (the default), the held-out examples that the run explains and "
    "discloses, or `inputs` of a public .npz file.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Also copy the file, or folder, there.")
@root_option
def command(
    run: str, model: str, target: str, quantised: Quantised | None, calibrate: str, output: Path | None, root: Path
) -> int:
    """Write the model of JOB, such as train.torch.DPSGD.s0, of RUN as a file that TARGET's users deploy.

    The file is opened in a fresh process of its own runtime and asked what the audited model was asked. What differs
    is printed and becomes rows of the run's measures; the file, with the privacy statement inside, lies in the run's
    folder exports/. Exit code 1 if the statement did not arrive, or an unrounded file says something else.
    """
    from trustml.api import load
    from trustml.deployment.export import calibration_of, export_model
    from trustml.deployment.targets import TARGETS
    from trustml.errors import UsageError
    from trustml.record.exports import EXPORTS
    from trustml.record.store import find_run
    from trustml.report.deployed.tables import failure_of, print_deployed

    if output is not None and output.exists():
        raise UsageError(f"{output}: is there already; name another file")
    directory = find_run(run, root=root)
    made = export_model(
        directory,
        model,
        target=target,
        quantised=quantised or "",
        calibration=calibration_of(calibrate),
        tell=lambda line: click.echo(line, err=True),
    )
    path = directory.path / EXPORTS / made.name / made.file
    if output is not None:
        _copy(path, output)
    table = load(directory.path).measures()
    rows = table[(table.job == made.model) & (table.subject == made.title)]
    print_deployed(console(sys.stdout), [("", rows)])
    click.echo(f"{path}")
    click.echo(f"privacy statement inside: {TARGETS[target].statement}, SHA-256 {made.statement[:16]}")
    if made.without_gradient:
        layers = ", ".join(f"{name} ({kind})" for name, kind in made.without_gradient.items())
        click.echo(f"without its input gradient, of which these layers have no rule here: {layers}")
    problem = failure_of(made, rows)
    if problem:
        click.echo(f"Error: {problem}", err=True)
    return FAILED if problem else OK


def _copy(path: Path, goal: Path) -> None:
    """Copy what was exported, and what lies beside it for it."""
    from trustml.record.exports import content_of

    goal.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, goal)
        return
    for one in content_of(path):
        shutil.copyfile(one, goal.with_name(goal.name + one.name.removeprefix(path.name)))
