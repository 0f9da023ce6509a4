"""A study as a picture: what every regime, part of private training and doubling of epsilon does to explanations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib import pyplot

from trustml.compare.floor import MEAN
from trustml.errors import UsageError
from trustml.measures.measure import shown_in
from trustml.report.study.tables import StudyPart, adjusted


def save_study_figure(parts: Sequence[StudyPart], path: Path) -> None:
    """Draw effects on the mean of methods with their 95 % intervals; a column a question, a row a data set.

    Raises
    ------
    UsageError
        If the file's name ends in no known format, or it cannot be written.
    """
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--figure: {path} ends in no known format; use .png, .svg or .pdf")
    matplotlib.use("Agg")
    measures = shown_in("study figure")
    figure, axes = pyplot.subplots(
        len(parts),
        len(measures),
        figsize=(5.5 * len(measures), 0.5 + 2.4 * len(parts)),
        squeeze=False,
        sharex="col",
        layout="constrained",
    )
    for column, (name, measure) in enumerate(measures.items()):
        rows = adjusted(parts, name)
        rows = rows[rows.method == MEAN]
        for row, part in enumerate(parts):
            axis = axes[row, column]
            group = rows[rows.part == part.name]
            places = range(len(group))
            axis.errorbar(
                group.value,
                places,
                xerr=[group.value - group.low, group.high - group.value],
                fmt="o",
                capsize=3,
                color="#0072B2",
            )
            axis.axvline(0, color="black", linestyle="--", linewidth=1)
            pairs = group["first"] + " to " + group.regime
            axis.set_yticks(places, group.regime if group["first"].nunique() < 2 else pairs)
            axis.invert_yaxis()
            axis.set_title(f"{part.name}: {measure.head}", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("change of rank agreement with plain models, 95 % over seeds", fontsize=8)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise UsageError(f"--figure: {path} cannot be written ({error.strerror}); choose another place") from None
    finally:
        pyplot.close(figure)
