"""Drawing for audit figures: figures of rows, and SVG that can stand inside a page."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import Any
from xml.etree import ElementTree

from matplotlib.figure import Figure as Canvas

from trustml.auditing.result import Measurement, Severity
from trustml.report.audit.words import digits

SIGNS: dict[Severity, tuple[str, str]] = {
    "violation": ("X", "#8E1B1B"),
    "risk": ("^", "#9A4A00"),
    "note": ("o", "#1F4E8C"),
    "pass": ("s", "#1B6B3A"),
    "not checked": ("D", "#5A5A5A"),
}
"""Marker and colour of each severity."""

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "trustml",  # the same record gives the same file, byte for byte
    "text.parse_math": False,  # a model called $x$ is no formula
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
}
_SVG = "http://www.w3.org/2000/svg"
_LINK = "http://www.w3.org/1999/xlink"


def legend_label(text: str) -> str:
    """Keep matplotlib from leaving out names that start with an underscore."""
    return f" {text}" if text.startswith("_") else text


def placed_axes(width: float, height: float, *, left: float, right: float, bottom: float, top: float) -> Any:
    """Make a figure of one pair of axes with margins in inches: many times faster than a layout engine."""
    canvas = Canvas(figsize=(width, height))
    share = (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    return canvas.add_axes(share)


def rows_canvas(rows: int, *, height: float = 0.17) -> Any:
    """Make the axes of a narrow figure with one line a row, the first on top."""
    axes = placed_axes(4.7, 0.95 + height * rows, left=1.5, right=1.25, bottom=0.4, top=0.55)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.grid(axis="x", color="#E4E4E4", linewidth=0.5)
    axes.set_axisbelow(True)
    return axes


def name_rows(axes: Any, names: Sequence[str], words: Sequence[str]) -> None:
    """Write names to the left of rows and figures to the right."""
    axes.set_yticks(range(len(names)), names, fontsize=7.5)
    axes.tick_params(axis="y", length=0)
    for place, word in enumerate(words):
        axes.text(1.03, place, word, transform=axes.get_yaxis_transform(), fontsize=7.5, va="center", ha="left")


def draw_interval(axes: Any, place: int, measured: Measurement, *, marker: str, colour: str) -> None:
    """Draw a value with its interval; a side without a bound ends in an arrow."""
    value = measured.value
    low, high = known(measured.low, value), known(measured.high, value)
    axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot([value], [place], marker, color=colour, markersize=5, linestyle="none")


def known(bound: float | None, otherwise: float | None) -> float:
    """Give the bound, or else the value that stands in for it."""
    found = bound if bound is not None and math.isfinite(bound) else otherwise
    return 0.0 if found is None else found


def interval_words(measured: Measurement) -> str:
    """Write value and interval as briefly as a figure needs it."""
    value = "" if measured.value is None else digits(measured.value, decimals=3)
    if measured.low is None and measured.high is None:
        return value
    low = "" if measured.low is None else digits(measured.low, decimals=3, rounding=ROUND_FLOOR)
    high = "" if measured.high is None else digits(measured.high, decimals=3, rounding=ROUND_CEILING)
    return f"{value} ({low}\N{EN DASH}{high})"


def inline_svg(canvas: Canvas, name: str) -> str:
    """Write a figure as one element that can stand in a page beside others.

    Parameters
    ----------
    canvas : matplotlib.figure.Figure
    name : str
        Goes before every identifier, for a page may hold each of them once.

    Returns
    -------
    str
        Without prologue, metadata, style sheets (they would reach the whole page) and fixed size.
    """
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # The reader's browser has fonts for names that ours has no glyphs for.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    _rename(root.iter(), name)
    width = float(root.attrib.pop("width").removesuffix("pt"))
    root.attrib.pop("height")
    root.set("style", f"max-width:{width * 4 / 3:.0f}px;stroke-linejoin:round;stroke-linecap:butt")
    root.set("aria-hidden", "true")  # the figure around it carries the words
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK)
    return ElementTree.tostring(root, encoding="unicode")


def _rename(elements: Iterable[ElementTree.Element], name: str) -> None:
    for element in elements:
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{_LINK}}}href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif value.startswith("url(#"):
                element.set(key, f"url(#{name}-{value[5:]}")
