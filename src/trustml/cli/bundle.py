"""``trustml bundle``."""

from __future__ import annotations

from pathlib import Path

import click

from trustml.cli.completing import complete_runs
from trustml.cli.output import console, data_stream, json_option, json_text, messages, renamed, root_option


@click.command("bundle", short_help="Pack a run, or the audit of a model, as evidence, signed if you like.")
@click.argument("run", metavar="RUN_OR_AUDIT", shell_complete=complete_runs)
@root_option
@click.option(
    "-o",
    "--output",
    "archive",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The archive (a ZIP).  [default: RUN.trustml.zip]",
)
@click.option("--out", "old_archive", hidden=True, type=click.Path(dir_okay=False, path_type=Path), help="Now -o.")
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Sign with this private key: `openssl genpkey -algorithm ed25519 -out key.pem`. What one of P-256 signs, "
    "`model_signing` checks, too.",
)
@click.option("--with-data", is_flag=True, help="Also pack held-out labels and explained inputs (heldout.npz).")
@json_option
def command(
    run: str,
    root: Path,
    archive: Path | None,
    old_archive: Path | None,
    key: Path | None,
    with_data: bool,
    as_json: bool,
) -> None:
    """Pack the public files of a run: manifest, table, ledgers, weights, predictions, attributions, curves and audit.

    Of somebody's model it is the file that `trustml audit TARGET --json -o audit.json` wrote, with its report.
    Nothing below private/ is packed: no batch, no score of an example, no choice of a canary. Held-out labels and
    explained inputs are data, and are packed with --with-data only; without them accuracy and predictions cannot be
    computed again. Run `trustml audit RUN` first to have the report in it. The same run and key give the same bytes.
    """
    from trustml.errors import UsageError
    from trustml.evidence.bundle import pack, pack_audit
    from trustml.evidence.signing import read_private_key
    from trustml.record.store import AUDIT, find_run

    signer = read_private_key(key) if key is not None else None
    wanted = renamed(old_archive, archive, was="--out", now="-o")
    path = Path(run)
    if path.is_file():
        if with_data:
            raise UsageError(f"{run}: an audit holds no data; leave out --with-data")
        name, target = path.stem, wanted if wanted is not None else Path(f"{path.stem}.trustml.zip")
        index = pack_audit(path, target, key=signer)
    else:
        directory = find_run(run, root=root)
        name, target = directory.path.name, wanted if wanted is not None else Path(f"{directory.path.name}.trustml.zip")
        index = pack(directory, target, with_data=with_data, key=signer)
    with data_stream(None) as stream:
        if as_json:
            stream.write(json_text({"path": str(target), "signed": signer is not None, "index": index}) + "\n")
            return
        signed = "signed" if signer is not None else "unsigned (--key signs it)"
        size = sum(one.size for one in index.files)
        print_line = console(stream).print
        print_line(f"{target}: {len(index.files)} files, {size:,} bytes, {signed}", soft_wrap=True, markup=False)
        print_line(f"root {index.root}", markup=False)
        for one in index.left_out:
            print_line(f"left out: {one.name} ({one.reason})", soft_wrap=True, markup=False)
    if AUDIT not in {one.name for one in index.files}:
        messages().print(f"no audit in it; `trustml audit {name}` writes one", markup=False)
