"""What people read: Markdown and HTML from templates, tables for pages and for the terminal, and files for them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trustml.errors import UsageError, printable

if TYPE_CHECKING:
    from jinja2 import Environment
    from rich.table import Table

_MARKUP = frozenset("\\`*_[]|~#$")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_JOINER = "\N{WORD JOINER}"
_SIGNS = re.compile(
    r"^(?=[-+>#=]|\d+[.)](?:\s|$))|(?<=:)(?=\S)|(?<=www)(?=\.)|(?=@)|(?<=[-<>~])(?=[-<>=])", re.IGNORECASE
)
"""Where pages make lists, links, emoji, icons, colours and arrows of bare characters, whether escaped or not."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table as people read it.

    Attributes
    ----------
    text : str
    rank : float
        What it is sorted by where its column is; NaN where it is not to be ranked with the others.
    """

    text: str
    rank: float = math.nan

    def __str__(self) -> str:
        return self.text


def templates(subject: str) -> Environment:
    """Open the templates of one room of the report; what they show is escaped, except in those of Markdown.

    Parameters
    ----------
    subject : str
        Such as ``audit``: the templates lie in ``report/audit/templates``.

    Returns
    -------
    jinja2.Environment
        A name that is not given is an error. Numbers of all rooms have the filters ``count`` (thousands apart),
        ``share`` (three decimals; empty for None); Markdown has ``markdown`` for a
        stranger's text, ``row`` and ``head`` for tables.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader(f"trustml.report.{subject}"),
        autoescape=lambda name: name is None or not name.endswith(".md.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"count": "{:,}".format, "share": _share, "markdown": markdown_text}
    found.filters |= {"row": markdown_row, "head": markdown_head}
    return found


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def markdown_text(text: str) -> str:
    """Escape a text so that Markdown shows it as it is, in a line or in the cell of a table."""
    return "".join(_ENTITIES.get(one) or (f"\\{one}" if one in _MARKUP else one) for one in text)


def plain_text(text: object) -> str:
    """Escape any text, of a stranger's record too, so that a page of the dashboard shows it as it is, in one line.

    Such a page makes links of bare addresses and pictures of words between colons even where they are escaped: an
    invisible joiner parts them.
    """
    line = printable(" ".join(str(text).split()))
    return markdown_text(_SIGNS.sub(_JOINER, line))


def markdown_row(cells: Iterable[object]) -> str:
    """Write a row of a table in Markdown; what is in its cells is markup already."""
    return f"| {' | '.join(map(str, cells))} |"


def markdown_head(names: Sequence[str], *, rule: str = "---") -> str:
    """Write the head of a table in Markdown, and the line under it."""
    return f"{markdown_row(names)}\n|{f'{rule}|' * len(names)}"


def titled_table(title: str, *columns: str) -> Table:
    """Make an empty table for the terminal; columns that begin with ``>`` are right-aligned."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    return table


def write_document(path: Path | str, text: str, *, what: str) -> Path:
    """Write a text and give its path.

    Raises
    ------
    UsageError
        If the file cannot be written; `what` names it there.
    """
    target = Path(path)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{what}: {target} cannot be written ({error.strerror}); choose another place") from None
    return target
