"""A console that shows text as it is: what a run says is never markup, and never an order to the terminal."""

from __future__ import annotations

from typing import IO

from rich.console import Console, HighlighterType, JustifyMethod, OverflowMethod
from rich.style import StyleType
from rich.text import Text

from trustml.errors import printable


class PlainConsole(Console):
    """Shows plain text: brackets stay brackets, and control characters are written out."""

    def __init__(self, stream: IO[str]) -> None:
        width = None if stream.isatty() else 160  # wide enough not to cut
        super().__init__(file=stream, width=width, highlight=False, soft_wrap=False, markup=False, emoji=False)

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
