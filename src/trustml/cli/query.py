"""``trustml query``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from trustml.cli.output import (
    console,
    data_stream,
    file_option,
    json_option,
    json_text,
    print_columns,
    reading_told,
    root_option,
)
from trustml.errors import UsageError, printable


@click.command("query", short_help="Ask all runs of a folder in SQL.")
@click.argument("sql")
@root_option
@click.option("--most", type=click.IntRange(min=1), default=1000, show_default=True, help="Rows that are given.")
@json_option
@file_option
def command(sql: str, root: Path, most: int, as_json: bool, file: Path | None) -> None:
    """Ask the tables `runs`, `jobs` and `measures` of all runs in one SELECT, in the SQL of DuckDB.

    Such as `trustml query "SELECT run, backend, value FROM measures WHERE measure = 'accuracy' ORDER BY value"`.
    `trustml query "DESCRIBE measures"` lists its columns. Needs DuckDB (pip install 'trustml[index]').
    """
    from trustml.compare.indexed import query

    found = query(root, sql, most=most, told=reading_told())
    if as_json:
        _require_own_names(found.columns)
    with data_stream(file) as stream:
        if as_json:
            rows = [dict(zip(found.columns, map(_plain, row), strict=True)) for row in found.rows]
            stream.write(json_text({"rows": rows, "more": found.more}) + "\n")
            return
        print_columns(console(stream), found.columns, [[_shown(cell) for cell in row] for row in found.rows])
    if found.more:
        click.echo(f"there are more than {most} rows; --most gives more of them", err=True)


def _require_own_names(columns: Sequence[str]) -> None:
    """A row of JSON has each name once."""
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        named = ", ".join(map(printable, twice))
        raise UsageError(f"--json: several columns are called {named}; name them apart with AS")


def _plain(cell: Any) -> Any:
    """Give a cell as what JSON has; whole numbers that no reader of JSON holds become text."""
    match cell:
        case bool() | float() | str() | None:
            return cell
        case int():
            return cell if abs(cell) < 2**53 else str(cell)
        case list() | tuple():
            return [_plain(one) for one in cell]
        case dict():
            return {str(name): _plain(one) for name, one in cell.items()}
    return str(cell)


def _shown(cell: Any) -> str:
    match cell:
        case None:
            return ""
        case float():
            return f"{cell:.6g}"
        case list() | tuple():
            return ", ".join(_shown(one) for one in cell)
    return str(cell)
