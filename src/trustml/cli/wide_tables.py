"""Tables that are wider than their place: in parts, each with the columns that name its rows; no cell is cut."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

_PROSE = 24
"""Texts of more characters are folded between words; what is shorter, such as a number, stays in one line."""


def fitted(table: Table, out: Console) -> list[RenderableType]:
    """Give a table as it is where it fits, else folded between words, else in parts that fit."""
    wanted = [_widths(column, out) for column in table.columns]
    border = 3 if table.box else 2
    room = out.width - 1 if table.box else out.width + (0 if table.pad_edge else border)
    if sum(most for _, most in wanted) + border * len(wanted) <= room:
        return [table]
    parts = _parts(table, [least + border for least, _ in wanted], room)
    found: list[RenderableType] = []
    for number, part in enumerate(parts, start=1):
        if table.title is not None:  # as broad as its place, not as the table
            which = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
            title = out.render_str(table.title) if isinstance(table.title, str) else table.title
            found.append(Text.assemble(title, which, style=table.title_style or "table.title"))
        told = part[len(set(part).intersection(*parts)) :] if number > 1 else part
        found.append(_part(table, part, _shared([wanted[at] for at in part], room - border * len(part)), told))
    return found


def _widths(column: Column, out: Console) -> tuple[int, int]:
    """Give how wide a column must be, and how wide it would be."""
    found = [Measurement.get(out, out.options.update(max_width=10_000), one) for one in (column.header, *column.cells)]
    most = max(one.maximum for one in found)
    return min(most, max(_PROSE, *(one.minimum for one in found))), most


def _parts(table: Table, least: Sequence[int], room: int) -> list[list[int]]:
    """Deal columns out: those that tell the rows apart go into each part."""
    names = _names(table, least, room)
    parts = [list(range(names))]
    for at in range(names, len(least)):
        if len(parts[-1]) > names and sum(least[one] for one in [*parts[-1], at]) > room:
            parts.append(list(range(names)))
        parts[-1].append(at)
    return parts


def _names(table: Table, least: Sequence[int], room: int) -> int:
    """Count the first columns that tell the rows apart, as far as they leave room for any other.

    Where numbers follow, all texts before them are names.
    """
    cells = [list(map(str, column.cells)) for column in table.columns]
    numbers = next((at for at, column in enumerate(table.columns) if column.justify == "right"), 0)
    names = 0
    while names < len(least) - 1 and sum(least[: names + 1]) + max(least[names + 1 :]) <= room:
        names += 1
        if names >= numbers and len(set(zip(*cells[:names], strict=True))) == len(table.rows):
            break
    return names


def _shared(wanted: Sequence[tuple[int, int]], room: int) -> list[int]:
    """Give each column what it must have, and what is left to those that would have more."""
    given = [least for least, _ in wanted]
    spare = max(room - sum(given), 0)
    short = sorted((at for at, (least, most) in enumerate(wanted) if most > least), key=lambda at: wanted[at][1])
    for done, at in enumerate(short):
        more = min(wanted[at][1] - given[at], spare // (len(short) - done))
        given[at] += more
        spare -= more
    return given


def _part(table: Table, columns: Sequence[int], widths: Sequence[int], told: Sequence[int]) -> Table:
    """Make a table of some columns, and of the rows of which these tell anything."""
    found = Table(box=table.box, pad_edge=table.pad_edge, show_header=table.show_header)
    for at, width in zip(columns, widths, strict=True):
        column = table.columns[at]
        found.add_column(column.header, justify=column.justify, style=column.style, overflow="fold", width=width)
    cells = [list(table.columns[at].cells) for at in columns]
    full = [any(map(str, one)) for one in zip(*(table.columns[at].cells for at in told), strict=True)]
    for row, one in itertools.compress(zip(table.rows, zip(*cells, strict=True), strict=True), full):
        found.add_row(*one, style=row.style, end_section=row.end_section)
    return found
