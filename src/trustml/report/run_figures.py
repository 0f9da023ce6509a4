"""Charts of a run for notebooks: those of the dashboard's pages, from the same functions."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

from trustml.compare.table import read_measures
from trustml.errors import UsageError
from trustml.record.store import RunDirectory

_COLUMNS = 4
_ROC_POINTS = 400


class RunFigures:
    """Charts of one run, as altair objects that a notebook shows.

    Parameters
    ----------
    directory : RunDirectory

    Examples
    --------
    >>> trustml.load("latest").figures.pareto()                          # doctest: +SKIP
    """

    def __init__(self, directory: RunDirectory) -> None:
        if find_spec("altair") is None:
            raise UsageError("figures: need altair; pip install 'trustml[notebook]'")
        self._directory = directory

    def accuracy(self) -> Any:
        """Accuracy, or R2, by regime and framework with its interval."""
        from trustml.report.figures import accuracy_points

        return accuracy_points(read_measures(self._directory))

    def pareto(self) -> Any:
        """Accuracy, or R2, against epsilon; what has no finite epsilon stands in a panel of its own.

        Raises
        ------
        UsageError
            If no model has a score.
        """
        import altair as alt

        from trustml.report.figures import privacy_accuracy

        panels = privacy_accuracy(read_measures(self._directory))
        if not panels:
            raise UsageError(f"{self._directory.path.name}: no model has a score; `trustml show` says why")
        return panels[0] if len(panels) == 1 else alt.hconcat(*panels)

    def learning(self, of: Literal["score", "loss"] = "loss") -> Any:
        """Score or loss on held-out examples while models trained, a chart for each regime.

        Raises
        ------
        UsageError
            If nobody looked at a model in training.
        """
        import altair as alt

        from trustml.measures.evidence import Evidence
        from trustml.models.tasks import facts_of
        from trustml.report.accuracy.learning import learning_frame, learning_lines

        evidence = Evidence(self._directory)
        frame = learning_frame(evidence)
        if frame.empty:
            raise UsageError(f"{self._directory.path.name}: no model was looked at while it trained; train for longer")
        return alt.hconcat(*learning_lines(frame, of=of, score=facts_of(evidence.task).score))

    def attributions(
        self, *, example: int = 0, method: str | None = None, model: str | None = None, backend: str | None = None
    ) -> Any:
        """One example explained by one method: every model and library, or those that are named.

        Parameters
        ----------
        example : int
            Among the explained ones.
        method : str, optional
            Needed where there are several.
        model, backend : str, optional
            Train job, and whose library explained it.

        Raises
        ------
        UsageError
            If the run has no such explanation.
        """
        import altair as alt

        from trustml.plan.job import short_model
        from trustml.report.explanations.frames import explained_example
        from trustml.report.explanations.panels import panel_charts
        from trustml.report.explanations.selection import PanelRequest

        asked = PanelRequest(method=method, example=example, model=model, backend=backend)
        try:
            found = explained_example(self._directory, asked)
        except UsageError as error:  # what the command calls --method is an argument here
            raise UsageError(str(error).removeprefix("--")) from None
        several = len({panel.model for panel in found.panels}) > 1
        named = [
            (f"{short_model(panel.model)}, {panel.library}" if several else panel.library, panel)
            for panel in found.panels
        ]
        charts = [chart for _, chart in panel_charts(found, named)]
        for chart in charts:
            chart.autosize = alt.Undefined  # a chart of several may not ask for it
        return alt.concat(*charts, columns=_COLUMNS).resolve_scale(color="independent").properties(title=found.heading)

    def roc(self, model: str | None = None, *, attacks: tuple[str, ...] = ()) -> Any:
        """ROC curves of attacks on the membership of one model, on logarithmic axes.

        Parameters
        ----------
        model : str, optional
            Train job; the first that was attacked if left out.
        attacks : tuple of str
            By name; the strongest if left out.

        Raises
        ------
        UsageError
            If nothing was attacked, or not that model or by that attack.
        """
        from trustml.record.curves import read_curves
        from trustml.report.attacks.figures import DRAWN, roc_log_log
        from trustml.report.attacks.frames import roc_frame, thinned

        curves = read_curves(self._directory)
        models = list(dict.fromkeys(curve.subject for curve in curves))
        name = self._directory.path.name
        if not models:
            raise UsageError(f"{name}: no model was attacked; add attacks to the scenario")
        chosen = model or models[0]
        if chosen not in models:
            raise UsageError(f"{chosen}: no attack on it in {name}; choose among {', '.join(models)}")
        there = list(dict.fromkeys(curve.attack for curve in curves if curve.subject == chosen))
        if unknown := [one for one in attacks if one not in there]:
            raise UsageError(f"{unknown[0]}: no such attack on {chosen}; choose among {', '.join(there)}")
        wanted = attacks or [one for one in DRAWN if one in there] or there
        points = roc_frame([curve for curve in curves if curve.attack in wanted], subject=chosen)
        return roc_log_log(thinned(points, most=_ROC_POINTS)).properties(title=chosen)
