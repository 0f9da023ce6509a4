"""``trustml verify``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trustml.cli.main import FAILED, OK
from trustml.cli.output import console, data_stream, file_option, json_option, json_text, root_option

if TYPE_CHECKING:
    from rich.console import Console

    from trustml.evidence.checks import Check
    from trustml.evidence.verify import Verification


@click.command("verify", short_help="Check a bundle or a run: every hash, every number.")
@click.argument("target", metavar="BUNDLE_OR_RUN")
@root_option
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Public key of the signer: `openssl pkey -in key.pem -pubout -out public.pem`.",
)
@json_option
@file_option
@click.option("--all", "everything", is_flag=True, help="Print every check, not only what differs.")
def command(target: str, root: Path, key: Path | None, as_json: bool, file: Path | None, everything: bool) -> int:
    """Compute every hash of BUNDLE_OR_RUN anew, and every number that its files give, and name what differs.

    A bundle is unpacked into a temporary folder; nothing in it is executed or unpickled. Exit code 0 if nothing
    differs, 1 if something does, 2 if it is no bundle or must not be unpacked.

    Hashes and figures show that a record agrees with itself. That nobody made all of it up in agreement, only the
    signature says: give --key.
    """
    from trustml.evidence.signing import read_public_key
    from trustml.evidence.verify import verify
    from trustml.record.store import find_run

    public = read_public_key(key) if key is not None else None
    path = Path(target)
    if not path.exists():
        path = find_run(target, root=root).path
    found = verify(path, key=public)
    with data_stream(file) as stream:
        if as_json:
            stream.write(json_text({"passed": found.passed, **_plain(found)}) + "\n")
        else:
            _print(console(stream), found, everything=everything)
    return OK if found.passed else FAILED


def _plain(found: Verification) -> dict[str, object]:
    return {"run": found.run, "kind": found.kind, "signature": found.signature, "checks": found.checks}


def _print(out: Console, found: Verification, *, everything: bool) -> None:
    from rich.table import Table

    from trustml.evidence.checks import AREAS

    table = Table(box=None, pad_edge=False)
    table.add_column("checked")
    for outcome in ("ok", "differs", "not recomputed"):
        table.add_column(outcome, justify="right")
    counts = Counter((check.area, check.outcome) for check in found.checks)
    for area in AREAS:
        if any(check.area == area for check in found.checks):
            table.add_row(area, *(str(counts[area, outcome]) for outcome in ("ok", "differs", "not recomputed")))
    out.print(table)
    if everything:
        _print_lines(out, "ok", [check for check in found.checks if check.outcome == "ok"])
    rest = [check for check in found.checks if check.outcome == "not recomputed" and check.area != "signature"]
    if everything:
        _print_lines(out, "not recomputed", rest)
    else:
        for message, count in Counter(check.message for check in rest).items():
            out.print(f"not recomputed: {count} x {message}", soft_wrap=True, markup=False)
    _print_lines(out, "DIFFERS", found.differences)
    if found.kind == "bundle":
        lines = [check for check in found.checks if check.area == "signature" and check.outcome != "differs"]
        for check in lines:
            out.print(f"signature: {check.message}", soft_wrap=True, markup=False)
    count = len(found.differences)
    verdict = "nothing differs" if found.passed else f"{count} difference{'' if count == 1 else 's'}"
    out.print(f"{found.run}: {verdict}", soft_wrap=True, markup=False)


def _print_lines(out: Console, sign: str, checks: Sequence[Check]) -> None:
    for check in checks:
        out.print(f"{sign}: {check.subject}: {check.message}", soft_wrap=True, markup=False)
