"""The explanations of one example as a picture: a row a model, a column a library, one colour scale."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes

from trustml.errors import UsageError
from trustml.plan.job import short_model
from trustml.report.explanations.frames import ExplainedExample, Panel

_INCHES = 2.1
_FORMATS = (".png", ".svg", ".pdf")


def save_picture(found: ExplainedExample, path: Path) -> None:
    """Draw the explanations into a file.

    Raises
    ------
    UsageError
        If the file's name ends in no known format, or it cannot be written.
    """
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"--save: {path} ends in no known format; use {', '.join(_FORMATS)}")
    matplotlib.use("Agg")
    models = list(dict.fromkeys(panel.model for panel in found.panels))
    libraries = list(dict.fromkeys(panel.library for panel in found.panels))
    image = found.input.ndim == 3
    bars = 0 if found.input.ndim == 2 else len(found.feature_names or found.input)
    wide, high = (_INCHES, _INCHES) if image else (3.4, max(2.0, 0.17 * bars))
    columns = len(libraries) + image
    figure, axes = pyplot.subplots(
        len(models),
        columns,
        figsize=(wide * columns + 1.5, high * len(models) + 0.7),
        squeeze=False,
        layout="constrained",
    )
    limit = _limit(found, [panel for panel in found.panels if panel.in_logits])
    for row, model in enumerate(models):
        if image:
            axes[row, 0].imshow(found.input.mean(axis=-1), cmap="gray")
        for column, library in enumerate(libraries):
            axis = axes[row, column + image]
            panel = next((p for p in found.panels if p.model == model and p.library == library), None)
            if panel is None:
                axis.set(xticks=[], yticks=[], frame_on=False)  # not off: the first one names the row
                continue
            _draw(axis, found, panel, limit if panel.in_logits else _limit(found, [panel]))
            if row == 0:
                axis.set_title(library, fontsize=8)
        classes = next(panel.classes for panel in found.panels if panel.model == model)
        axes[row, 0].set_ylabel(f"{short_model(model)}\n{classes.words}", fontsize=6)
    for axis in axes.ravel():
        if image:
            axis.set_xticks([])
            axis.set_yticks([])
    own = "" if all(panel.in_logits for panel in found.panels) else "; raw output of a library on a scale of its own"
    figure.suptitle(
        f"{found.heading}\n{found.colours}; scale +-{limit:.3g}{own}",
        fontsize=8,
    )
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise UsageError(f"--save: {path} cannot be written ({error.strerror}); choose another place") from None
    finally:
        pyplot.close(figure)


def _draw(axis: Axes, found: ExplainedExample, panel: Panel, limit: float) -> None:
    values = found.drawn(panel)
    if values.ndim == 2:
        image = found.input.ndim == 3
        axis.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="equal" if image else "auto")
        if not image:
            axis.set_yticks(range(len(values)))  # channels of a series
        return
    names = found.feature_names if len(found.feature_names) == len(values) else [str(i) for i in range(len(values))]
    axis.barh(range(len(values)), values, color=np.where(values > 0, "#2166ac", "#b2182b"))
    axis.set_yticks(range(len(values)), names, fontsize=5)
    axis.invert_yaxis()
    axis.set_xlim(-limit, limit)
    axis.tick_params(axis="x", labelsize=6)


def _limit(found: ExplainedExample, panels: list[Panel]) -> float:
    """Largest magnitude drawn."""
    return max((float(np.abs(found.drawn(panel)).max()) for panel in panels), default=0.0) or 1.0
