"""What a page is made of, how much of it is shown at the most, and a run as whoever gets the page may see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from trustml.privacy.statement import PrivacyStatement
from trustml.record.schema import Manifest
from trustml.record.store import RunDirectory
from trustml.report.documents import Cell

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 200
"""Of a table; of longer ones the beginning is shown."""
MOST_CHARTS = 12
"""Of one kind in a section: a run of many models would fill a page that no browser opens."""
MOST_POINTS = 5_000
"""Of one chart."""


class ReleasedRun(RunDirectory):
    """A run as it is without ``private/``, whether that is at hand or not."""

    def file(self, name: str) -> Path:
        """Path of a file inside the directory; what is private is not there."""
        path = super().file(name)  # links are followed: one into what is private is private
        private = path.relative_to(self.path.resolve()).parts[:1] == ("private",)
        return self.path / "not released" / "nothing" if private else path


@dataclass(frozen=True, kw_only=True)
class RunShown:
    """One run of a report, read.

    Attributes
    ----------
    directory : ReleasedRun
    manifest : Manifest
    table : DataFrame
        The tidy rows.
    statements : tuple of PrivacyStatement
    """

    directory: ReleasedRun
    manifest: Manifest
    table: pd.DataFrame
    statements: tuple[PrivacyStatement, ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A sentence.

    Attributes
    ----------
    text : str
    page : str
        Which page proves it; empty for none.
    tone : {"", "soft", "warning", "bad", "good"}
    """

    text: str
    page: str = ""
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of texts; columns of numbers stand at the right."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart, as a specification of Vega-Lite without anything to be loaded.

    Attributes
    ----------
    specification : dict
    label : str
        What it shows, for whoever does not see it.
    """

    specification: dict[str, Any]
    label: str

    @property
    def narrow(self) -> bool:
        """Whether it has a width of its own, and stands beside others."""
        return "width" in self.specification


Part: TypeAlias = Line | Table | Chart


@dataclass(kw_only=True)
class Section:
    """Parts under one heading.

    Attributes
    ----------
    title : str
    parts : list of Part
    left_out : list of str
        What is not shown, and where it is.
    """

    title: str
    parts: list[Part] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def say(self, *texts: str, tone: str = "", page: str = "") -> None:
        """Add sentences, each once."""
        self.parts += [Line(text=text, tone=tone, page=page) for text in dict.fromkeys(texts) if text]

    def show(self, chart: Any, label: str) -> None:
        """Add a chart, unless it has more points than a page can hold."""
        import altair as alt

        with alt.data_transformers.enable("default", max_rows=None):  # this page has a limit of its own
            specification = chart.to_dict(validate=False)  # our own charts, whose tests validate
        points = sum(map(len, specification.get("datasets", {}).values()))
        if points > MOST_POINTS:
            self.left_out.append(f"a chart of {points:,} points ({label})")
        else:
            self.parts.append(Chart(specification=specification, label=label))

    def show_some(self, make: Callable[[Any], tuple[Any, str]], of: Sequence[Any], what: str) -> None:
        """Add the first charts of several of one kind; only these are made."""
        for one in of[:MOST_CHARTS]:
            self.show(*make(one))
        if len(of) > MOST_CHARTS:
            self.left_out.append(f"{len(of) - MOST_CHARTS} of {len(of)} {what}")

    def tabulate(self, frame: pd.DataFrame, *, title: str = "") -> None:
        """Add a table of cells, texts and numbers."""
        if not len(frame.columns):
            return
        records: list[dict[Hashable, Any]] = frame.head(MOST_ROWS).to_dict("records")
        rows = tuple(tuple(map(cell_text, record.values())) for record in records)
        numbers = frozenset(
            place
            for place, name in enumerate(frame.columns)
            if all(isinstance(record[name], Cell | float | int) for record in records)
        )
        heads = tuple(map(str, frame.columns))
        self.parts.append(Table(heads=heads, rows=rows, numbers=numbers, title=title))
        if len(frame) > MOST_ROWS:
            what = title or f"the table of {', '.join(heads[:3])}"
            self.left_out.append(f"{len(frame) - MOST_ROWS} of {len(frame)} rows of {what}")


@dataclass(frozen=True, kw_only=True)
class Page:
    """One subject.

    Attributes
    ----------
    name : str
        Of its file, without ``.html``.
    title : str
    sections : tuple of (str, tuple of Section)
        By run; the name of a run is empty for what is of all of them.
    """

    name: str
    title: str
    sections: tuple[tuple[str, tuple[Section, ...]], ...]

    @property
    def left_out(self) -> tuple[str, ...]:
        """What is not shown, on the whole page."""
        every = [text for _, sections in self.sections for section in sections for text in section.left_out]
        return tuple(dict.fromkeys(every))


def cell_text(value: object) -> str:
    """Write a cell of a table; what is missing is empty."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return "" if value is None else str(value)


def filled(sections: Iterable[Section]) -> tuple[Section, ...]:
    """Give the sections that hold anything."""
    return tuple(section for section in sections if section.parts)
