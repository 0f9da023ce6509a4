"""``trustml ledger``."""

from __future__ import annotations

from pathlib import Path

import click

from trustml.cli.completing import complete_runs
from trustml.cli.main import FAILED, OK
from trustml.cli.output import console, data_stream, file_option, json_option, json_text, root_option


@click.command("ledger", short_help="Show what a run was charged for privacy, and verify it.")
@click.argument("run", shell_complete=complete_runs)
@root_option
@json_option
@file_option
@click.option("--verify", is_flag=True, help="Compute epsilon anew from the ledgers and check the record by it.")
def command(run: str, root: Path, as_json: bool, file: Path | None, verify: bool) -> int:
    """Show every charge of RUN: an identifier, its beginning, `latest`, or a path.

    A charge pays in advance for a block of steps; steps that were done again after a crash are charged again.
    With --verify: exit code 0 if every ledger is whole and every epsilon follows from its ledger, 1 if not.
    """
    from trustml.evidence.ledgers import ledgers_of, verify_ledgers
    from trustml.record.store import find_run

    directory = find_run(run, root=root)
    ledgers, start = ledgers_of(directory), directory.manifest().start
    checks = verify_ledgers(directory) if verify else []
    with data_stream(file) as stream:
        if as_json:
            plain = [{"job": one.subject, "passed": one.passed, "message": one.message} for one in checks]
            told = {"run": directory.path.name, "start": start, "ledgers": ledgers, "checks": plain}
            stream.write(json_text(told) + "\n")
        else:
            out = console(stream)
            if not ledgers:
                out.print("no model of this run was trained with privacy: there is no ledger")
            if not verify:
                from trustml.report.privacy.tables import print_ledger

                for job, charges in ledgers.items():
                    print_ledger(out, job, charges)
                if start is not None and start.charges:
                    print_ledger(out, f"{start.run}:{start.job}, started from, composed with these", start.charges)
            for check in checks:
                sign = "ok     " if check.passed else "FAILED "
                about = f"{check.subject}: " if check.subject else ""
                out.print(f"{sign}{about}{check.message}", soft_wrap=True, markup=False)
    return OK if all(check.passed for check in checks) else FAILED
