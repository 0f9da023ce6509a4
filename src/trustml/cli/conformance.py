"""``trustml conformance``."""

from __future__ import annotations

from pathlib import Path

import click

from trustml.cli.main import FAILED, OK
from trustml.cli.output import console, data_stream, file_option, json_option, json_text, messages
from trustml.frameworks.table import backend_names
from trustml.scenario.spec import BackendName


@click.command("conformance", short_help="Prove that private training is the mechanism it is said to be.")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(backend_names()),
    help="Check only this one; may be given several times. By default all are checked, and compared.",
)
@json_option
@file_option
@click.option("--all", "everything", is_flag=True, help="Print every check, not only those that fail.")
def command(backends: tuple[BackendName, ...], as_json: bool, file: Path | None, everything: bool) -> int:
    """Check clipping, noise, sensitivity, sampling and charges of each backend on this machine.

    Exit code 0 if every check passes, 1 if one fails. To check a step of your own: trustml.conformance.check_step.
    """
    from trustml.launch.conformance import check_backends
    from trustml.report.privacy.tables import print_findings

    names = backends or backend_names()
    messages().print(f"checking {', '.join(names)}; about a minute each")
    findings = check_backends(tuple(dict.fromkeys(names)))
    failed = [finding for finding in findings if not finding.passed]
    with data_stream(file) as stream:
        if as_json:
            stream.write(json_text({"passed": not failed, "findings": findings}) + "\n")
        else:
            print_findings(console(stream), findings, everything=everything)
    return FAILED if failed else OK
