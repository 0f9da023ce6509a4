"""One example of a run, explained by one method: every model, every library."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.table import Table
from rich.text import Text

from trustml.attribution.sharing import Combine, feature_values
from trustml.attribution.similarity import spearman
from trustml.errors import UsageError
from trustml.frameworks.implementation import CONTROL_LIBRARY
from trustml.models.answers import answers, in_unit, label_words, probabilities
from trustml.models.tasks import Binary, Quantity, Regression, Task, explained_task, facts_of
from trustml.models.tasks import Classes as TaskClasses
from trustml.plan.job import explain_id, short_model
from trustml.record.array_names import arrays_below
from trustml.record.explained import explained_model, methods_done, read_probes, variants_of
from trustml.record.schema import JobRecord, Manifest, MethodRecord, task_of
from trustml.record.store import HELDOUT, RunDirectory, job_record
from trustml.report.explanations.selection import (
    PanelRequest,
    attributed,
    combine_in,
    explained_by,
    method_title,
)

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float32]

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Which class, label or number is explained, and what the model that is explained says.

    Attributes
    ----------
    explained, predicted : str
    explained_probability, predicted_probability, true_probability : float, optional
        Of several labels, the predicted and the true ones together. None for a regression.
    unit : float
        What an attribution of 1 is worth in the unit of a regression's target.
    """

    explained: str
    explained_probability: float | None
    predicted: str
    predicted_probability: float | None
    true_probability: float | None
    unit: float = 1.0

    @property
    def words(self) -> str:
        """For tables and titles."""
        if self.explained_probability is None or self.predicted_probability is None:
            scale = f" (an attribution of 1 is {self.unit:g})" if self.unit != 1 else ""
            return f"{self.explained}{scale}; predicted {self.predicted}"
        of_explained = f"{self.explained} (p {self.explained_probability:.2f})"
        if self.explained == self.predicted:
            return f"{of_explained}, predicted"
        return f"{of_explained}; predicted {self.predicted} (p {self.predicted_probability:.2f})"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One explanation.

    Attributes
    ----------
    model : str
        Train job.
    library : str
        With the variant, such as ``tf-explain (completed)``.
    variant : {"native", "completed", "common"}
    values : float array of the shape of the input, or of a layer
    in_logits : bool
        Whether it can share a scale with the others.
    combine : {"sum", "mean"}
        How the attributions of the columns of a feature, or of the channels of a pixel, make one.
    classes : Classes
    """

    model: str
    library: str
    variant: str
    values: Floats
    in_logits: bool
    combine: Combine
    classes: Classes


@dataclass(frozen=True, kw_only=True)
class ExplainedExample:
    """One example and its explanations.

    Attributes
    ----------
    run, method : str
    example : int
    target, truth : str
        Its true class, labels or number, and what that is called; what is explained says every panel.
    input : float array of shape (*x)
    feature_names : tuple of str
        Of a table; empty for images.
    feature_groups : tuple of int
        Feature of every column of a table.
    panels : tuple of Panel
    quantity : {"logit", "probability", "loss"}
        What of the class, label or number is explained.
    tokens : tuple of str
        Of a text, its words or bytes; empty of others, and in records of before.
    """

    run: str
    method: str
    example: int
    target: str
    input: Floats
    feature_names: tuple[str, ...]
    feature_groups: tuple[int, ...]
    panels: tuple[Panel, ...]
    truth: str = "true class"
    quantity: Quantity = "logit"
    tokens: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """Method, example, and every class that is explained beside the true one."""
        explained = " or ".join(dict.fromkeys(panel.classes.explained for panel in self.panels))
        what = explained if self.quantity == "logit" else f"the {self.quantity} of {explained}"
        return f"{self.method}, example {self.example}: explains {what}; {self.truth} {self.target}"

    @property
    def unit(self) -> str:
        """Whose scale panels share."""
        return {"logit": "logits", "probability": "probabilities", "loss": "losses"}[self.quantity]

    @property
    def colours(self) -> str:
        """What blue and red stand for."""
        if self.quantity == "loss":
            return "blue for a larger loss, red for a smaller"
        if self.panels[0].classes.explained_probability is None:
            return "blue for a larger number, red for a smaller"
        return "blue for the explained class, red against"

    def by_feature(self, panel: Panel) -> Floats:
        """Attribution of each feature of a table; an image stays what it is."""
        values = panel.values
        if not self.feature_groups or values.shape != self.input.shape:
            return values
        found = feature_values(values[None], features=np.array(self.feature_groups), combine=panel.combine)
        return found[0].astype(np.float32)

    def drawn(self, panel: Panel) -> Floats:
        """What is drawn of an explanation: a bar a feature of a table, or a colour a pixel or step."""
        values = self.by_feature(panel)
        if values.ndim != 3:
            return values.T if self.input.ndim == 2 else values  # a series lies on its side
        return values.sum(axis=-1) if panel.combine == "sum" else values.mean(axis=-1)

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "run": self.run,
            "method": self.method,
            "example": self.example,
            "target": self.target,
            "true_class": self.target,
            "feature_names": list(self.feature_names),
            **({"tokens": list(self.tokens)} if self.tokens else {}),
            "explanations": [
                {
                    "model": p.model,
                    "library": p.library,
                    "explained_class": p.classes.explained,
                    "explained_probability": p.classes.explained_probability,
                    "predicted_class": p.classes.predicted,
                    "predicted_probability": p.classes.predicted_probability,
                    "true_probability": p.classes.true_probability,
                    "attributions": self.by_feature(p).tolist(),
                }
                for p in self.panels
            ],
        }


def explained_example(run: RunDirectory, wanted: PanelRequest) -> ExplainedExample:
    """Collect the explanations of one example.

    Raises
    ------
    UsageError
        If the run has no such method, example, model or backend.
    """
    manifest = run.manifest()
    title = method_title(run, wanted.method)
    heldout = run.mapped(HELDOUT)
    inputs = heldout["inputs"]
    if not 0 <= wanted.example < len(inputs):
        raise UsageError(
            f"--example: {wanted.example} is none of the {len(inputs)} explained; use 0 to {len(inputs) - 1}"
        )
    true = heldout["targets"][wanted.example : wanted.example + 1]
    return ExplainedExample(
        run=manifest.run,
        method=title,
        example=wanted.example,
        target=label_words(explained_task(task_of(manifest)), true, manifest.data.class_names)[0],
        truth=facts_of(task_of(manifest)).truth,
        quantity=manifest.scenario.get("explanations", {}).get("quantity", "logit"),
        input=inputs[wanted.example].astype(np.float32),
        feature_names=manifest.data.feature_names,
        feature_groups=manifest.data.feature_groups,
        tokens=tuple(map(str, heldout["tokens"][wanted.example])) if "tokens" in heldout else (),
        panels=tuple(
            panel
            for record, done in explained_by(run, wanted)
            for panel in _panels(
                run, record, done, wanted.example, classes=_classes(run, manifest, record, wanted.example, true)
            )
        ),
    )


def method_agreement(run: RunDirectory, *, model: str, backend: str) -> pd.DataFrame:
    """Rank agreement of every two methods on one model, over features; the random control is among them.

    Returns
    -------
    DataFrame
        Columns ``first``, ``second``, ``value``; the mean over examples of Spearman's correlation.
    """
    import pandas as pd

    manifest = run.manifest()
    record, groups = job_record(manifest, explain_id(backend, model)), np.array(manifest.data.feature_groups, np.int64)
    shape = run.mapped(HELDOUT)["inputs"].shape
    arrays: dict[str, npt.NDArray[np.floating[Any]]] = {}
    for done in methods_done(record):
        found = variants_of(run, record, done.method)
        array = found.get("completed", found["native"])
        if array.shape == shape:
            combine = combine_in(run, record, done.method)
            arrays[done.method] = feature_values(array, features=groups, combine=combine) if len(groups) else array
    cells = []
    for one, other in itertools.combinations_with_replacement(arrays, 2):
        values = spearman(arrays[one], arrays[other])
        value = float(np.nanmean(values)) if np.isfinite(values).any() else None
        cells += [{"first": one, "second": other, "value": value}, {"first": other, "second": one, "value": value}]
    return pd.DataFrame(cells).drop_duplicates(["first", "second"]) if cells else pd.DataFrame(cells)


def removal_curves_of(run: RunDirectory, model: str) -> dict[str, pd.DataFrame] | None:
    """Mean deletion and insertion curves of one model, by the library of its own framework.

    Returns
    -------
    dict of str to DataFrame, or None
        For ``deletion`` and ``insertion``: columns ``method``, ``share``, ``probability``, ``control``.
    """
    import pandas as pd

    manifest = run.manifest()
    backend = job_record(manifest, model).backend
    record = next((r for r in manifest.jobs if r.id == explain_id(backend, model)), None)
    if record is None or not methods_done(record):
        return None
    arrays = read_probes(run, model, backend=backend)
    points: dict[str, list[dict[str, object]]] = {"deletion": [], "insertion": []}
    for done in methods_done(record):
        own = arrays_below(arrays, done.method, "completed")
        if "deletion" not in own:
            own = arrays_below(arrays, done.method, "native")
        for kind, found in points.items():
            if kind not in own:
                continue
            curve = own[kind].mean(axis=0)
            control = done.library == CONTROL_LIBRARY
            found += [
                {"method": done.method, "share": float(x), "probability": float(y), "control": control}
                for x, y in zip(own["fractions"], curve, strict=True)
            ]
    return {kind: pd.DataFrame(found) for kind, found in points.items()} if points["deletion"] else None


def features_table(found: ExplainedExample) -> Table:
    """Tabulate the features that count most in every explanation."""
    table = Table(title=Text(found.heading), title_justify="left")
    for column in ("model", "library", "explained", "largest attributions"):
        table.add_column(column, overflow="fold")
    for panel in found.panels:
        values = found.by_feature(panel)
        flat = values.ravel()
        top = np.argsort(-np.abs(flat), kind="stable")[:_SHOWN]
        named = bool(found.feature_names) and values.ndim == 1 and len(values) == len(found.feature_names)
        words = [f" {token!r}" for token in found.tokens] if named and found.tokens else [""] * len(flat)
        cells = [
            f"{found.feature_names[i] if named else list(map(int, np.unravel_index(i, values.shape)))}{words[i]} "
            f"{flat[i]:+.3g}"
            for i in top
        ]
        table.add_row(short_model(panel.model), panel.library, Text(panel.classes.words), ", ".join(cells))
    return table


def _classes(run: RunDirectory, manifest: Manifest, record: JobRecord, example: int, true: npt.NDArray[Any]) -> Classes:
    """Say what is explained; `true` is the label behind an axis of one example."""
    task, names = explained_task(task_of(manifest)), manifest.data.class_names
    arrays = run.mapped(f"jobs/{record.id}/attributions.npz", names=("logits", "targets"))
    outputs, explained = arrays["logits"][example : example + 1], int(arrays["targets"][example])
    said = answers(task, outputs)
    predicted = label_words(task, said, names)[0]
    if isinstance(task, Regression):
        zero, one = in_unit(task, np.array([0.0, 1.0]))
        return Classes(
            explained=names[explained],
            explained_probability=None,
            predicted=predicted,
            predicted_probability=None,
            true_probability=None,
            unit=float(one - zero),
        )
    shares = probabilities(task, outputs)[0]
    if isinstance(task, Binary):
        explained = 1  # the output speaks for the second class
    return Classes(
        explained=names[explained],
        explained_probability=float(shares[-1] if isinstance(task, Binary) else shares[explained]),
        predicted=predicted,
        predicted_probability=_together(task, shares, said[0]),
        true_probability=_together(task, shares, true[0]),
    )


def _together(task: Task, shares: npt.NDArray[np.float64], label: Any) -> float:
    """Probability of a class, or of several labels together."""
    if isinstance(task, TaskClasses):
        return float(shares[int(label)])
    return float(np.where(label > 0, shares, 1 - shares).prod())


def _panels(run: RunDirectory, record: JobRecord, done: MethodRecord, example: int, *, classes: Classes) -> list[Panel]:
    return [
        Panel(
            model=explained_model(run, record),
            library=one.library,
            variant=one.variant,
            values=one.values[example],
            in_logits=one.in_logits,
            combine=one.combine,
            classes=classes,
        )
        for one in attributed(run, record, done)
    ]
