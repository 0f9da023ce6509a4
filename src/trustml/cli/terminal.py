"""A console that shows text as it is: what a run says is never markup, and never an order to the terminal."""

from __future__ import annotations

from typing import IO, Any

from rich.console import Console
from rich.text import Text

from trustml.errors import printable


class PlainConsole(Console):
    """Shows plain text: brackets stay brackets, and control characters are written out."""

    def __init__(self, stream: IO[str]) -> None:
        width = None if stream.isatty() else 160  # wide enough not to cut
        super().__init__(file=stream, width=width, highlight=False, soft_wrap=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make text of a string, line by line without control characters."""
        return super().render_str("\n".join(map(printable, text.split("\n"))), **options)
