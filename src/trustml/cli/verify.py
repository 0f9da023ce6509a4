"""``trustml verify``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trustml.cli.completing import complete_runs
from trustml.cli.main import FAILED, OK
from trustml.cli.output import console, data_stream, file_option, json_option, json_text, root_option

if TYPE_CHECKING:
    from rich.console import Console

    from trustml.evidence.checks import Check
    from trustml.evidence.verify import Verification

_UNCONFIRMED = {
    "unsigned": "there is no signature; have it bundled with --key",
    "not checked": "the signature was not checked; give --key with the signer's public key",
    "bad": "the signature is not good",
    "wrong key": "it is signed by another key",
}
_SIGNATURES = {
    "unsigned": "UNSIGNED",
    "not checked": "signature NOT CHECKED",
    "bad": "signature BAD",
    "wrong key": "signed by ANOTHER KEY",
    "good": "signature good",
}


@click.command("verify", short_help="Check a bundle, a run or an audit: every hash, every number.")
@click.argument("target", metavar="BUNDLE_RUN_OR_AUDIT", shell_complete=complete_runs)
@root_option
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Public key of the signer: `openssl pkey -in key.pem -pubout -out public.pem`.",
)
@click.option("--require-signature", is_flag=True, help="Exit 1 unless --key confirms a signature.")
@click.option(
    "--trust-code",
    is_flag=True,
    help="If nothing differs, run the code of the module:attribute that an audit is of.",
)
@json_option
@file_option
@click.option("--all", "everything", is_flag=True, help="Print every check, not only what differs.")
def command(
    target: str,
    root: Path,
    key: Path | None,
    require_signature: bool,
    trust_code: bool,
    as_json: bool,
    file: Path | None,
    everything: bool,
) -> int:
    """Compute every hash of a bundle, a run or an audit anew, and every number that its files give; name what differs.

    A bundle is unpacked into a temporary folder; nothing in it is executed or unpickled. What could not be computed
    again is said to be so. Exit code 0 if no difference was found, 1 if one was, 2 if it is no bundle or must not be
    unpacked.

    Hashes and figures show that a record agrees with itself. That nobody made all of it up in agreement, only the
    signature says: give --key, and --require-signature where a bundle without one must fail.
    """
    from trustml.evidence.signing import read_public_key
    from trustml.evidence.verify import verify
    from trustml.record.store import find_run

    public = read_public_key(key) if key is not None else None
    path = Path(target)
    if not path.exists():
        path = find_run(target, root=root).path
    # Without the key no signature can be good, and the code of a record that must have one is not run.
    trusted = trust_code and not (require_signature and public is None)
    found = verify(path, key=public, load=_trusted if trusted else None)
    unconfirmed = require_signature and found.signature != "good"
    with data_stream(file) as stream:
        if as_json:
            stream.write(json_text({"passed": found.passed and not unconfirmed, **_plain(found)}) + "\n")
        else:
            _print(console(stream), found, everything=everything)
    if unconfirmed:
        click.echo(f"Error: {target}: --require-signature: {_UNCONFIRMED[found.signature]}", err=True)
    return OK if found.passed and not unconfirmed else FAILED


@contextmanager
def _trusted(name: str) -> Iterator[Any]:
    """Give the model of a module that an audit names; what is served, or a path, is not followed."""
    from trustml.cli.audit import loaded_by_name
    from trustml.errors import UsageError
    from trustml.frameworks.table import file_backend

    if file_backend(name):
        raise UsageError(f"{name}: is a path of the record, which is not followed; load that model by module:attribute")
    with ExitStack() as stack:
        yield loaded_by_name(name, stack=stack)


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
    if everything:
        _print_lines(out, "not recomputed", found.left)
    else:
        for message, count in Counter(check.message for check in found.left).items():
            out.print(f"not recomputed: {count} x {message}", soft_wrap=True, markup=False)
    _print_lines(out, "DIFFERS", found.differences)
    if found.kind == "bundle":
        lines = [check for check in found.checks if check.area == "signature" and check.outcome != "differs"]
        for check in lines:
            out.print(f"signature: {check.message}", soft_wrap=True, markup=False)
    out.print(f"{found.run}: {_verdict(found)}; {_SIGNATURES[found.signature]}", soft_wrap=True, markup=False)


def _verdict(found: Verification) -> str:
    """Say whether anything differs; that nothing does only where all was compared."""
    count, left = len(found.differences), len(found.left)
    if count:
        return f"{count} difference{'' if count == 1 else 's'}"
    if not left:
        return "nothing differs"
    compared = sum(check.area != "signature" for check in found.checks)  # of which something else is said
    return f"no difference found, and {left} of {compared} not recomputed"


def _print_lines(out: Console, sign: str, checks: Sequence[Check]) -> None:
    for check in checks:
        out.print(f"{sign}: {check.subject}: {check.message}", soft_wrap=True, markup=False)
