"""``trustml conformance``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trustml.cli.main import FAILED, OK
from trustml.cli.output import console, data_stream, file_option, json_option, json_text, messages
from trustml.errors import UsageError
from trustml.frameworks.table import backend_names
from trustml.scenario.spec import BackendName

if TYPE_CHECKING:
    from trustml.conformance.findings import CheckResult

_path = click.Path(dir_okay=False, path_type=Path)


@click.command("conformance", short_help="Prove that private training is the mechanism it is said to be.")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(backend_names()),
    help="Check only this one; may be given several times. By default all are checked, and compared.",
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="NAME",
    help="Check another library, driven as its documentation says: opacus, jax-privacy, pfl, ...; `all` for every one.",
)
@click.option(
    "--result", type=_path, metavar="FILE", help="With --engine: keep what is found, engine by engine, as JSON."
)
@click.option("--from", "earlier", type=_path, metavar="FILE", help="Check nothing: take what --result kept.")
@click.option("--write-docs", "page", type=_path, metavar="FILE", help="Write the table of engines as Markdown.")
@json_option
@file_option
@click.option("--all", "everything", is_flag=True, help="Print every check, not only those that fail.")
def command(
    backends: tuple[BackendName, ...],
    engines: tuple[str, ...],
    result: Path | None,
    earlier: Path | None,
    page: Path | None,
    as_json: bool,
    file: Path | None,
    everything: bool,
) -> int:
    """Check clipping, noise, sensitivity, sampling and charges of each backend on this machine.

    Exit code 0 if every check passes, 1 if one fails. To check a step of your own: trustml.conformance.check_step.
    """
    if engines or earlier:
        if backends:
            raise click.UsageError("--backend checks trustml itself, --engine and --from other libraries; give one")
        if earlier and (engines or result):
            raise click.UsageError("--from shows a result as it is; leave out --engine and --result")
        findings = _of_engines(engines, result, earlier, page)
    elif result or page:
        raise click.UsageError("--result and --write-docs are about other libraries; give --engine too")
    else:
        from trustml.launch.conformance import check_backends

        names = backends or backend_names()
        messages().print(f"checking {', '.join(names)}; about a minute each")
        findings = check_backends(tuple(dict.fromkeys(names)))
    return _show(findings, as_json=as_json, file=file, everything=everything)


def _show(findings: list[CheckResult], *, as_json: bool, file: Path | None, everything: bool) -> int:
    from trustml.report.privacy.tables import print_findings

    failed = [finding for finding in findings if not finding.passed]
    with data_stream(file) as stream:
        if as_json:
            stream.write(json_text({"passed": not failed, "findings": findings}) + "\n")
        else:
            print_findings(console(stream), findings, everything=everything)
    return FAILED if failed else OK


def _of_engines(
    engines: tuple[str, ...], result: Path | None, earlier: Path | None, page: Path | None
) -> list[CheckResult]:
    """Check engines of the package that drives other libraries, or read what was found of them."""
    from trustml.launch.benchmarks import bench_module, how_to_get
    from trustml.report.documents import write_document

    module = bench_module("conforming.command")
    if module is None:
        raise UsageError(how_to_get("--engine"))
    told = messages().print
    checked = module.read_checked(earlier) if earlier else module.check_engines(engines, kept=result, tell=told)
    if old := module.outdated(checked):
        told(f"found by another state of the suite: {', '.join(old)}")
    if page is not None:
        write_document(page, module.conformance_page(checked), what="--write-docs")
    return [finding for one in checked for finding in module.findings_of(one)]
