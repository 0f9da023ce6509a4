"""A console that shows text as it is: what a run says is never markup, and never an order to the terminal."""

from __future__ import annotations

import os
from typing import IO, Any

from rich.console import Console, Group, HighlighterType, JustifyMethod, OverflowMethod
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

from trustml.cli.wide_tables import fitted
from trustml.errors import printable


class PlainConsole(Console):
    """Shows plain text: brackets stay brackets, and control characters are written out."""

    def __init__(self, stream: IO[str]) -> None:
        told = os.environ.get("COLUMNS", "").isdigit()
        width = None if stream.isatty() or told else 160  # of a file or pipe nobody knows
        super().__init__(file=stream, width=width, highlight=False, soft_wrap=False, markup=False, emoji=False)

    def print(
        self,
        *objects: Any,
        sep: str = " ",
        end: str = "\n",
        style: StyleType | None = None,
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        no_wrap: bool | None = None,
        emoji: bool | None = None,
        markup: bool | None = None,
        highlight: bool | None = None,
        width: int | None = None,
        height: int | None = None,
        crop: bool = True,
        soft_wrap: bool | None = None,
        new_line_start: bool = False,
    ) -> None:
        """Print; a line with `soft_wrap` is broken between words on a terminal, and whole in a file or pipe.

        Line feeds in it are written out: it quotes what is somebody's, which might feign another line. A table that
        is too wide comes in parts, and none of its cells is cut.
        """
        if soft_wrap:
            objects = tuple(printable(one) if isinstance(one, str) else one for one in objects)
        elif len(objects) == 1 and isinstance(objects[0], Table) and width is None:
            objects = (Group(*fitted(objects[0], self)),)
        super().print(
            *objects, sep=sep, end=end, style=style, justify=justify, overflow=overflow, no_wrap=no_wrap, emoji=emoji,
            markup=markup, highlight=highlight, width=width, height=height, crop=crop,
            soft_wrap=soft_wrap and not self.is_terminal, new_line_start=new_line_start,
        )  # fmt: skip

    def verbatim(self, text: str) -> None:
        """Print what is to be copied, such as a command: in one line, however long."""
        super().print(text, soft_wrap=True)

    def render_str(
        self,
        text: str,
        *,
        style: StyleType = "",
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        emoji: bool | None = None,
        markup: bool | None = None,
        highlight: bool | None = None,
        highlighter: HighlighterType | None = None,
    ) -> Text:
        """Make text of a string, line by line without control characters; it is never markup."""
        shown = Text("\n".join(map(printable, text.split("\n"))), style=style)
        shown.justify, shown.overflow = justify, overflow
        return shown
