"""Who holds what in federated training, as altair specifications. They show private data."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import numpy.typing as npt
import pandas as pd

from trustml.report.figures import tips, top_legend

MOST_BARS = 60
"""Clients up to which each has a bar of its own."""
ENDS = 30
"""Of more clients, so many of the largest and of the smallest have one."""
_BINS = 30
_LEAST_LABELLED = 0.05
"""Of the longest bar: a part from which its label stands in it."""
_FITS = 3
"""Letters of a label that fit in a bar; in bars of longer labels stand their numbers, as in the legend."""


def partition_bars(
    counts: npt.NDArray[np.int64], *, names: Sequence[str], labels: Sequence[str]
) -> list[alt.Chart | alt.LayerChart]:
    """Who holds what: a bar for each client, largest first, stacked by label.

    Of more than `MOST_BARS` clients, the 30 largest and the 30 smallest have bars, each in a chart of their own after a
    histogram of all sizes.

    Parameters
    ----------
    counts : int array of shape (clients, classes)
    names : sequence of str
        Of the clients.
    labels : sequence of str
        Names of the classes.
    """
    sizes = counts.sum(axis=1)
    if max(map(len, map(str, labels)), default=0) > _FITS:
        labels = [f"{number} {label}" for number, label in enumerate(labels)]
    ranked = np.argsort(-sizes, kind="stable")
    colour, top = _label_colour(labels), float(sizes.max(initial=0)) or 1.0
    if len(ranked) <= MOST_BARS:
        rows = _stacked(counts, ranked, first=1, names=names, labels=labels)
        return [_stack(rows, colour=colour, title="", top=top).properties(height=380)]
    ends = [
        (f"the {ENDS} largest", ranked[:ENDS], 1),
        (f"the {ENDS} smallest", ranked[-ENDS:], len(ranked) - ENDS + 1),
    ]
    bars = [
        _stack(_stacked(counts, part, first=first, names=names, labels=labels), colour=colour, title=title, top=top)
        for title, part, first in ends
    ]
    return [_size_histogram(sizes).properties(height=130), *(chart.properties(height=380) for chart in bars)]


def _label_colour(labels: Sequence[str]) -> alt.Color:
    scheme = "tableau10" if len(labels) <= 10 else "tableau20"  # of more, labels tell those of one colour apart
    return alt.Color(
        "label:N", title="label", scale=alt.Scale(domain=list(labels), scheme=scheme), legend=top_legend(labels)
    )


def _stacked(
    counts: npt.NDArray[np.int64],
    clients: npt.NDArray[np.int64],
    *,
    first: int,
    names: Sequence[str],
    labels: Sequence[str],
) -> pd.DataFrame:
    short = [label if len(label) <= _FITS else label.partition(" ")[0] for label in map(str, labels)]
    found = [
        {
            "place": place,
            "client": str(names[client]),
            "size": int(counts[client].sum()),
            "label": str(labels[int(of)]),
            "short": short[int(of)],
            "class": int(of),
            "examples": int(counts[client, of]),
        }
        for place, client in enumerate(clients, start=first)
        for of in np.flatnonzero(counts[client])
    ]
    return pd.DataFrame(found, columns=["place", "client", "size", "label", "short", "class", "examples"]).astype(
        {"class": int}
    )


def _stack(rows: pd.DataFrame, *, colour: alt.Color, title: str, top: float) -> alt.LayerChart:
    """Bars of parts, with the label in each part that has room for it: its colour alone would not tell it."""
    rows = rows.assign(end=rows.groupby("place").examples.cumsum())
    rows = rows.assign(middle=rows.end - rows.examples / 2, begin=rows.end - rows.examples)
    base = alt.Chart(rows).encode(
        x=alt.X("place:O", title="clients, by size", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        tooltip=tips("client", "size", "label", "examples"),
    )
    y = alt.Y("begin:Q", title="examples", scale=alt.Scale(domain=[0, top]))
    bars = base.mark_bar().encode(y=y, y2=alt.Y2("end:Q"), color=colour)
    words = base.transform_filter(f"datum.examples >= {_LEAST_LABELLED * top:g}").mark_text(fontSize=9)
    written = words.encode(y=alt.Y("middle:Q"), text=alt.Text("short:N"), color=alt.value("black"))
    return alt.layer(bars, written, title=title)


def _size_histogram(sizes: npt.NDArray[np.int64]) -> alt.Chart:
    low, high = int(sizes.min()), int(sizes.max())
    step = max(1, -(-(high + 1 - low) // _BINS))
    edges = np.arange(low, high + step + 1, step)
    found, _ = np.histogram(sizes, bins=edges - 0.5)
    texts = [f"{edge}" if step == 1 else f"{edge}-{edge + step - 1}" for edge in edges[:-1]]
    return (
        alt.Chart(pd.DataFrame({"sizes": texts, "clients": found}), title="all clients")
        .mark_bar(color="#7F7F7F")
        .encode(
            x=alt.X("sizes:O", title="examples of a client", sort=None, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("clients:Q", title="clients", axis=alt.Axis(tickMinStep=1, format="d")),
            tooltip=tips("sizes", "clients"),
        )
    )
