"""``trustml.explain``: one model in memory, explained by one method, without a scenario or a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trustml.attribution.passes import MOST_ROWS
from trustml.backends.contract import Attributions
from trustml.catalogue.methods import METHODS
from trustml.data.dataset import Floats, Ints
from trustml.explanation.given import (
    Prepared,
    broadcast_baseline,
    inputs_of,
    method_of,
    prepared,
    require_held,
    targets_of,
)
from trustml.explanation.subject import Subject, subject_of
from trustml.scenario import methods as m

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What one method says of one model's outputs.

    Attributes
    ----------
    attributions : float32 array of shape (n, *x)
        By the method's definition, laid out as the inputs; of methods of a layer that layer's shape, channels last.
    method : Method
        With all its settings.
    library : str
        Whose code computed them.
    targets : int64 array of shape (n,)
        Column of the outputs, laid flat, that each example was explained for.
    outputs : float32 array of shape (n,)
        That output.
    baseline : float32 array of shape (n, *x), optional
        What stands for an absent input, of methods that have one.
    baseline_outputs : float32 array of shape (n,), optional
        The same output there.
    variants : dict of str to array
        ``native`` is what the library returns; ``completed`` is there where that is not the definition.
    channels_first : bool
        Whether images are laid out so.
    """

    attributions: Floats
    method: m.Method
    library: str
    targets: Ints
    outputs: Floats
    baseline: Floats | None = None
    baseline_outputs: Floats | None = None
    variants: Attributions
    channels_first: bool = False

    @property
    def residual(self) -> npt.NDArray[np.float64] | None:
        """Sum of the attributions less the change of the output from the baseline, (n,).

        Methods that are *complete* by their axiom leave 0 but for quadrature and rounding; None for all others.
        """
        method = self.method
        if not METHODS[type(method)].complete or self.baseline_outputs is None:
            return None
        totals = self.attributions.reshape(len(self.attributions), -1).sum(axis=1, dtype=np.float64)
        return totals - (self.outputs.astype(np.float64) - self.baseline_outputs)

    def chart(self, example: int = 0, *, names: Sequence[str] = ()) -> alt.Chart:
        """Draw one example: a bar for each column of a table, else a map of rows and columns, summed over channels.

        Parameters
        ----------
        example : int
        names : sequence of str
            Of the columns.
        """
        from trustml.report.explanations.figures import feature_bars, heat_map

        values = self.attributions[example]
        title = f"{self.method.title}, output {self.targets[example]}"
        if values.ndim == 1:
            return feature_bars(values, title=title, limit=float(np.abs(values).max()) or 1.0, names=names)
        if values.ndim == 3:
            values = values.sum(axis=0 if self.channels_first else -1)
        return heat_map(values, title=title, limit=float(np.abs(values).max()) or 1.0)

    def _repr_html_(self) -> str:
        """For notebooks: who explained what, and how far a complete method is from adding up."""
        from trustml.report.notebook import explanation_html

        residual = self.residual
        return explanation_html(
            self.method.title,
            library=self.library,
            shape=self.attributions.shape,
            strongest=np.abs(self.attributions).max(axis=0) if self.attributions.ndim == 2 else None,
            residual=None if residual is None else float(np.abs(residual).max()),
        )


def explain(
    model: Any,
    inputs: Any,
    *,
    method: m.Method | str = "IntegratedGradients",
    target: int | Sequence[int] | Ints | None = None,
    baseline: Any = None,
    background: Any = None,
    features: Any = None,
    backend: str | None = None,
    channels_first: bool | None = None,
    seed: int = 0,
    rows: int = MOST_ROWS,
) -> Explanation:
    """Explain a model in memory by one method of the catalogue.

    Who explains it is told in ``docs/how_to/explain_a_model.md``. What can only be asked (estimators, callables,
    endpoints, inputs of whole numbers) is explained by methods that need outputs alone. Rules inside of layers, such
    as DeepLIFT, LRP and Grad-CAM, need a model that :func:`trustml.import_model` has read.

    Parameters
    ----------
    model : torch.nn.Module, Keras model, JaxModel or (function, params), estimator, callable, Endpoint or ImportedModel
        Whatever :func:`trustml.audit` takes. It is left as it was.
    inputs : array of shape (n, *x)
        Or a DataFrame. Floats of any width are computed in float32.
    method : Method or str
        Such as ``trustml.IntegratedGradients(n_steps=100)`` or ``"SmoothGrad"``.
    target : int or array of int of shape (n,), optional
        Column of the outputs, laid flat; the largest where it is left out.
    baseline : float or array that broadcasts to (n, *x), optional
        What stands for an absent input; the method's own where it is left out.
    background : array of shape (b, *x), optional
        Several baselines, for methods that need them.
    features : int array of shape (*x), optional
        Feature that each value belongs to, from 0 without gaps, for methods that switch features; columns of a table,
        pixels and steps by default, joined by the method's `patch`.
    backend : str, optional
        Which framework explains an imported model; by default the first that is installed.
    channels_first : bool, optional
        Whether images are (channels, rows, columns). By default they are for torch modules, and for nothing else.
    seed, rows : int
        Of all random numbers; and how many rows go through the network at once, at the most.

    Returns
    -------
    Explanation

    Raises
    ------
    UsageError, EnvironmentMissingError
        If the method cannot explain such a model, an argument does not fit, or a library is not installed.

    Examples
    --------
    >>> import trustml
    >>> trustml.explain(lambda x: 2 * x, [[1.0, 5.0]], method="FeatureAblation", target=0).attributions.tolist()
    [[2.0, 0.0]]
    """
    wanted = method_of(method)
    given, names = inputs_of(inputs)
    subject = subject_of(model, given, names, backend=backend, channels_first=channels_first)
    inside = subject.inside(given).astype(np.float32)
    parts = {"background": background, "features": features}
    parts["baseline"] = broadcast_baseline(baseline, given.shape)
    arrays = prepared(wanted, inside, {name: subject.inside_of(part) for name, part in parts.items()})
    require_held(arrays.baseline, given.dtype)
    return _explanation(subject, wanted, arrays, target=target, seed=seed, rows=rows)


def _explanation(
    subject: Subject, method: m.Method, arrays: Prepared, *, target: Any, seed: int, rows: int
) -> Explanation:
    outputs = subject.outputs(arrays.inputs)
    targets = targets_of(target, outputs)
    found, library = subject.attributions(method, arrays, targets, outputs=outputs.shape[1], seed=seed, rows=rows)
    based, at = m.baseline_of(method) is not None, np.arange(len(targets))
    return Explanation(
        attributions=subject.outside(found.get("completed", found["native"]), method),
        method=method,
        library=library,
        targets=targets,
        outputs=outputs[at, targets],
        baseline=subject.outside(arrays.baseline, method) if based else None,
        baseline_outputs=subject.outputs(arrays.baseline)[at, targets] if based else None,
        variants={name: subject.outside(array, method) for name, array in found.items()},
        channels_first=subject.channels_first,
    )
