"""Every chart of a page: drawn with its name as a text alternative, its numbers as a table, and as PNG, SVG and CSV."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from trustml.report.documents import plain_text

_DRAWN, _PART = "charts of the page", "part of the page"
_HTML = '<button value="png">PNG</button><button value="svg">SVG</button> <span role="status"></span>'
_CSS = """
button {
  font: inherit; color: inherit; background: transparent; cursor: pointer; padding: 0.3rem 0.8rem; margin-right: 0.5rem;
  border: 1px solid color-mix(in srgb, var(--st-text-color) 35%, transparent); border-radius: 0.5rem;
}
button:hover, button:focus-visible { border-color: var(--st-primary-color); }
button:focus-visible { outline: 2px solid var(--st-primary-color); }
:host, span { color: var(--st-text-color); font-family: var(--st-font); }
"""
_JS = """
export default function({ data, parentElement }) {
  const status = parentElement.querySelector("span");
  const give = (url, ending) => {
    const link = document.createElement("a");
    link.href = url; link.download = data.file + "." + ending; link.click();
    status.textContent = "saved " + link.download;
  };
  const text = (chart) => {
    const copy = chart.cloneNode(true);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.style.backgroundColor = getComputedStyle(document.querySelector('[data-testid="stApp"]')).backgroundColor;
    return new XMLSerializer().serializeToString(copy);
  };
  const raster = async (svg) => {
    const image = new Image();
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text(svg));
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = 2 * svg.clientWidth; canvas.height = 2 * svg.clientHeight;
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL("image/png");
  };
  const wrapped = (canvas) => `<svg xmlns="http://www.w3.org/2000/svg" width="${canvas.clientWidth}" ` +
    `height="${canvas.clientHeight}"><image width="100%" height="100%" href="${canvas.toDataURL("image/png")}"/></svg>`;
  const save = async (ending) => {
    const places = [...document.querySelectorAll('[data-testid="stVegaLiteChart"]')];
    const place = places.find((one) => one.getAttribute("aria-label") === data.alternative);
    const svg = place?.querySelector("svg.marks"), canvas = place?.querySelector("canvas");
    if (!svg && !canvas) {
      status.textContent = "Open the tab that the chart is in first.";
    } else if (ending === "png") {
      give(svg ? await raster(svg) : canvas.toDataURL("image/png"), ending);
    } else {
      give(URL.createObjectURL(new Blob([svg ? text(svg) : wrapped(canvas)], { type: "image/svg+xml" })), ending);
    }
  };
  for (const button of parentElement.querySelectorAll("button")) button.onclick = () => save(button.value);
}
"""
_saver = st.components.v2.component("trustml.saver", html=_HTML, css=_CSS, js=_JS)


@dataclass(frozen=True)
class _Trusted:
    """A chart that is not held against Altair's schema again, which takes most of the time of a page.

    Tests hold every chart against it.
    """

    drawing: Any

    def to_dict(self) -> dict[str, Any]:
        """As Streamlit asks for it."""
        found: dict[str, Any] = self.drawing.to_dict(validate=False)
        return found


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A chart that stands on the page.

    Attributes
    ----------
    alternative : str
        Its text alternative, by which it is found on the page.
    name : str
        What it shows, in words.
    data : DataFrame
        What it is drawn from.
    """

    alternative: str
    name: str
    data: pd.DataFrame


@contextmanager
def charts_of(part: str) -> Iterator[None]:
    """Draw what is drawn in this context as a part of the page, anew: what the part had before is forgotten."""
    state = st.session_state
    before = state.get(_PART, "")
    state[_PART] = part
    state.setdefault(_DRAWN, {})[part] = []
    try:
        yield
    finally:
        state[_PART] = before


def new_page() -> None:
    """Forget the charts of the page before."""
    st.session_state[_DRAWN], st.session_state[_PART] = {"page": []}, "page"


def chart(drawing: Any, *, width: str, place: Any = st) -> None:
    """Draw one chart, and keep what it is drawn from for :func:`downloads`."""
    state = st.session_state
    part = state.get(_PART, "page")
    drawn = state.setdefault(_DRAWN, {}).setdefault(part, [])
    name = chart_name(drawing)
    number = sum(map(len, state[_DRAWN].values())) + 1
    one = Drawn(alternative=f"Chart {number}, {name}", name=name, data=chart_data(drawing))
    drawn.append(one)
    place.altair_chart(_Trusted(drawing), width=width, alt=one.alternative)


def downloads(part: str = "page", *, of: str = "") -> None:
    """Offer every chart of the page, or of a part of it, as PNG, SVG and CSV, and show its numbers as a table."""
    drawn = st.session_state.get(_DRAWN, {}).get(part, [])
    if drawn:
        _offer(drawn, part, of)


@st.fragment
def _offer(drawn: list[Drawn], part: str, of: str) -> None:
    label = " ".join(filter(None, ("Charts", of, "as tables, and to download")))
    place = st.expander(plain_text(label), key=f"charts saved {part}", on_change="rerun")
    if place.open:  # else no table is sent to the browser
        with place:
            _one_of(drawn, part)


def _one_of(drawn: list[Drawn], part: str) -> None:
    names = [one.alternative for one in drawn]  # a choice is no Markdown
    number = st.selectbox("Chart", range(len(drawn)), format_func=lambda one: names[one], key=f"chart saved {part}")
    one = drawn[min(number or 0, len(drawn) - 1)]
    file = re.sub(r"[^a-z0-9]+", "-", one.name.lower()).strip("-")[:60] or "chart"
    with st.container(horizontal=True):
        st.download_button(
            "CSV", one.data.to_csv(index=False), f"{file}.csv", "text/csv", on_click="ignore", key=f"csv {part}"
        )
        _saver(key=f"saver {one.alternative}", data={"alternative": one.alternative, "file": file})
    st.dataframe(one.data, hide_index=True, width="stretch", alt=one.name)


def chart_name(drawing: Any) -> str:
    """Say in words what a chart shows: its title, and what its axes and colours stand for."""
    named: dict[str, str] = {}
    parts = list(_parts(drawing))
    for find in (_title, _field):  # a title of any layer before a field's name
        for part in parts:
            encoding = getattr(part, "encoding", None)
            for channel in ("y", "x", "color"):
                text = find(getattr(encoding, channel, None))
                if text:
                    named.setdefault(channel, text)
    title = next(filter(None, map(_title, parts)), "")
    if {"row", "column"} & set(named.values()):  # of a picture there is no more to say
        return title or "picture"
    axes = " by ".join(named[channel] for channel in ("y", "x", "color") if channel in named)
    return ": ".join(filter(None, (title, axes))) or "chart"


def chart_data(drawing: Any) -> pd.DataFrame:
    """Give what a chart is drawn from; of layers with rows of their own, all of them, numbered."""
    found: list[pd.DataFrame] = []
    for part in _parts(drawing):
        data = getattr(part, "data", None)
        if isinstance(data, pd.DataFrame) and len(data) and all(data is not one for one in found):
            found.append(data)
    if len(found) < 2:
        return found[0] if found else pd.DataFrame()
    return pd.concat([one.assign(part=number) for number, one in enumerate(found, start=1)], ignore_index=True)


def _parts(drawing: Any) -> Iterator[Any]:
    yield drawing
    for kind in ("layer", "concat", "hconcat", "vconcat"):
        below = getattr(drawing, kind, None)
        if isinstance(below, list):
            for part in below:
                yield from _parts(part)
    if hasattr(getattr(drawing, "spec", None), "encoding") or hasattr(getattr(drawing, "spec", None), "layer"):
        yield from _parts(drawing.spec)


def _title(found: Any) -> str:
    try:
        title = found["title"]  # as an attribute it may be a way to set it
    except (KeyError, TypeError):
        return ""
    text = title if isinstance(title, str) else getattr(title, "text", None)
    return text if isinstance(text, str) else ""


def _field(found: Any) -> str:
    shorthand = getattr(found, "shorthand", None)
    return shorthand.split(":")[0].replace("_", " ") if isinstance(shorthand, str) else ""
