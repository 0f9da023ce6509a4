"""``trustml init``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trustml.drafting.draft import Draft

label_option = click.option(
    "--label", "labels", multiple=True, metavar="COLUMN", help="What to learn; may be repeated."
)
test_option = click.option("--test", metavar="DATA", help="Held-out rows or images; else a fifth of DATA is held out.")
clients_option = click.option("--clients", metavar="COLUMN", help="Who holds each row, for federated training.")


@click.command("init", short_help="Look at a data file and write a scenario that works.")
@click.argument("data")
@label_option
@test_option
@clients_option
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUE", help="A field of the source: data.separator=';'."
)
@click.option("--backend", "backends", multiple=True, metavar="NAME", help="Only this backend; may be repeated.")
@click.option("--name", help="Of the scenario; else the file's.")
@click.option(
    "-o", "--output", "file", type=click.Path(dir_okay=False, path_type=Path), help="The scenario; else NAME.py here."
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def command(
    data: str,
    labels: tuple[str, ...],
    test: str | None,
    clients: str | None,
    settings: tuple[str, ...],
    backends: tuple[str, ...],
    name: str | None,
    file: Path | None,
    force: bool,
) -> None:
    """Write a commented scenario for DATA: a table, an npz, ts or IDX file, or a folder of images or WAVs by class.

    Says what it found and decided. What it read from the data is listed in the file, and by every statement of
    privacy, as not covered by epsilon.
    """
    found = make_draft(data, labels=labels, test=test, clients=clients, settings=settings, backends=backends, name=name)
    where = write_draft(found, file, force=force)
    click.echo(f"wrote {where}; run it with: trustml run {where}")


def make_draft(
    data: str,
    *,
    labels: Sequence[str] = (),
    test: str | None = None,
    clients: str | None = None,
    settings: Sequence[str] = (),
    backends: Sequence[str] = (),
    name: str | None = None,
) -> Draft:
    """Draft a scenario, and tell on stderr what was found."""
    from trustml.drafting.draft import draft
    from trustml.errors import UsageError
    from trustml.frameworks.table import SHIPPED_NAMES
    from trustml.launch.environments import find_environment
    from trustml.scenario.read import read_setting

    fields = {}
    for setting in settings:
        path, value = read_setting(setting)
        if not path.startswith("data.") or path.count(".") > 1:
            raise UsageError(f"--set {setting!r}: init takes fields of the source alone, such as data.separator=';'")
        fields[path.removeprefix("data.")] = value
    there = {one: find_environment(one) for one in SHIPPED_NAMES}
    missing = [one for one, environment in there.items() if environment.python is None]
    chosen = tuple(backends) or tuple(one for one in SHIPPED_NAMES if one not in missing) or SHIPPED_NAMES
    found = draft(data, label=labels, test=test, clients=clients, name=name, backends=chosen, settings=fields)
    for line in found.told:
        click.echo(line, err=True)
    if missing and not backends:
        click.echo(f"left out, as they are not installed: {', '.join(missing)}; see trustml doctor", err=True)
    return found


def write_draft(found: Draft, file: Path | None, *, force: bool = False) -> Path:
    """Write a draft's file; one that is there and says something else is kept.

    Raises
    ------
    UsageError
        If it cannot be written.
    """
    from trustml.errors import UsageError
    from trustml.record.files import write_atomic

    stem = found.scenario.name  # never one that a module of Python's has: scripts beside it would import it
    where = file or Path(f"{stem}_scenario.py" if stem in sys.stdlib_module_names else f"{stem}.py")
    if where.suffix != ".py":
        raise UsageError(f"{where}: a draft is a Python file; name one that ends in .py")
    if not where.absolute().parent.is_dir():
        raise UsageError(f"{where}: there is no such folder; make it, or name another file")
    text = found.text(where.absolute().parent)
    try:
        compile(text, str(where), "exec")
        content = text.encode()
    except (SyntaxError, ValueError):  # also text that is no UTF-8
        raise UsageError(f"{where}: names in the data cannot be written to it; rename file or columns") from None
    if where.exists() and not force and where.read_text(encoding="utf-8", errors="replace") != text:
        raise UsageError(f"{where}: is there and says something else; give --force, or name another file with -o")
    try:
        write_atomic(where, content)
    except OSError as error:
        raise UsageError(f"{where}: cannot be written ({error.strerror}); name another file") from None
    return where
