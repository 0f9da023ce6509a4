"""Where output goes: data to stdout or a file, messages to stderr; colours only for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from trustml.errors import UsageError, printable

if TYPE_CHECKING:
    from trustml.cli.terminal import PlainConsole


root_option = click.option(
    "--runs",
    "root",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of the runs.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
file_option = click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file instead.",
)


old_root_option = click.option(
    "--out", "old_root", hidden=True, type=click.Path(file_okay=False, path_type=Path), help="Now --runs."
)


def renamed(old: Path | None, new: Path | None, *, was: str, now: str) -> Path | None:
    """Take what an option's old name says, with a word of its new one; else what the new name says."""
    if old is None:
        return new
    click.echo(f"warning: {was} is called {now} now, and this name will go", err=True)
    return old


@contextmanager
def data_stream(file: Path | None) -> Iterator[IO[str]]:
    """Give stdout, or a file that takes its place only when all was written."""
    if file is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    from io import StringIO

    from trustml.record.files import write_atomic

    if file.is_dir() or not os.access(file.absolute().parent, os.W_OK):  # before all that is to be written is made
        raise UsageError(f"{file}: cannot be written; name a file in a folder that is there")
    buffer = StringIO()
    yield buffer
    try:
        write_atomic(file, buffer.getvalue().encode())
    except OSError as error:
        raise UsageError(f"{file}: cannot be written ({error.strerror}); name another file") from None


def console(stream: IO[str]) -> PlainConsole:
    """Give a rich console on a stream; without colours where it is no terminal."""
    from trustml.cli.terminal import PlainConsole

    return PlainConsole(stream)


_MANY = 200


def print_columns(out: PlainConsole, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text below their names. Thousands are written line by line: rich lays out each cell of a table."""
    cells = [[one if one.isascii() and one.isprintable() else printable(one) for one in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(names, *cells, strict=True)]
    if len(cells) < _MANY or (out.is_terminal and sum(widths) + 2 * len(widths) > out.width):
        from rich.table import Table

        table = Table(*names, box=None, pad_edge=False)
        for row in cells:
            table.add_row(*row)
        out.print(table)
        return
    lines = ["  ".join(map(_padded, row, widths)) for row in (names, *cells)]
    out.file.write("\n".join(lines) + "\n")


def _width(text: str) -> int:
    if text.isascii():  # as nearly all of some 100,000 cells are
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _padded(text: str, width: int) -> str:
    return text.ljust(width) if text.isascii() else text + " " * (width - _width(text))


def reading_told() -> Callable[[int, int], None]:
    """Give what says on stderr how many records were read for the index, where they are many."""

    def told(done: int, behind: int) -> None:
        if behind >= 1000:
            click.echo(f"read {done} of {behind} records that the index did not know", err=True)

    return told


def messages() -> PlainConsole:
    """Give the console for messages, on stderr."""
    return console(sys.stderr)


def json_text(value: Any) -> str:
    """Encode a value as JSON; numbers that are not finite become null or text, never ``NaN``."""
    import msgspec

    return msgspec.json.encode(value).decode()
