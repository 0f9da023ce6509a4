"""A model in memory as what explains it sees it: something to ask, and an architecture where a backend takes it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from trustml.attribution.perturbation import AskedScores
from trustml.auditing.models import AskedModel, target_of
from trustml.auditing.recognised import descends
from trustml.backends.contract import Attributions, ExplainRequest, Model
from trustml.backends.table import load_backend
from trustml.catalogue.available import attributed_layer, library_of, why_unfit
from trustml.catalogue.methods import METHODS
from trustml.data.dataset import Floats, Ints
from trustml.errors import EnvironmentMissingError, UsageError
from trustml.explanation.given import Array, Prepared
from trustml.frameworks.table import backend_names, entry_of
from trustml.importing.model import ImportedModel
from trustml.models.native import Lent, lending, native_of
from trustml.scenario import methods as m

OURS = "trustml"
"""Whose code explains what can only be asked for outputs."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model, and who explains it.

    Attributes
    ----------
    ask : callable
        Inputs, channels last, to outputs (n, ...).
    channels_first : bool
        Whether its owner's images are.
    backend : str
        Whose libraries explain it; empty where it can only be asked.
    lend : callable, optional
        Gives it as an architecture with weights, for as long as a context lasts.
    only_asked : str
        Why it can only be asked, where it can.
    """

    ask: Callable[[Floats], Array]
    channels_first: bool
    backend: str = ""
    lend: Callable[[tuple[int, ...], int], AbstractContextManager[Model]] | None = None
    only_asked: str = ""

    def inside(self, array: Array) -> Array:
        """Lay images out channels last."""
        return np.moveaxis(array, -3, -1) if self.channels_first and array.ndim >= 3 else array

    def inside_of(self, array: Any) -> Any:
        """Lay out what may be left out, or be one number."""
        return array if array is None or np.ndim(array) < 3 else self.inside(np.asarray(array))

    def outside(self, array: Floats, method: m.Method) -> Floats:
        """Lay what is attributed to inputs out as they came."""
        if not self.channels_first or METHODS[type(method)].returns != "input":
            return array
        return np.ascontiguousarray(np.moveaxis(array, -1, -3))

    def outputs(self, inputs: Floats) -> Floats:
        """Outputs, (n, c)."""
        found = np.asarray(self.ask(inputs), np.float32)
        return found.reshape(len(inputs), -1)

    def attributions(
        self, method: m.Method, prepared: Prepared, targets: Ints, *, outputs: int, seed: int, rows: int
    ) -> tuple[Attributions, str]:
        """Attributions by variant, and whose code computed them."""
        if self.lend is None:
            return {"native": self._by_asking(method, prepared, targets, outputs=outputs, seed=seed)}, OURS
        shape = prepared.inputs.shape[1:]
        with self.lend(shape, outputs) as model:
            if why := why_unfit(method, model.architecture, shape):
                own = native_of(model.architecture) is not None and METHODS[type(method)].needs == "layers"
                way = ", or give the result of trustml.import_model" if own else ""
                raise UsageError(f"method: {method.title} {why}{way}")
            request = ExplainRequest(
                model=model,
                inputs=prepared.inputs,
                targets=targets,
                method=method,
                baseline=prepared.baseline,
                background=prepared.background,
                features=prepared.features,
                layer=attributed_layer(method, model.architecture, shape),
                seed=seed,
                rows=rows,
            )
            try:
                found = load_backend(self.backend).explain(request)
            except NotImplementedError as error:
                raise UsageError(f"method: {method.title} on {self.backend}: {error}") from None
            return found, library_of(self.backend, method)

    def _by_asking(self, method: m.Method, prepared: Prepared, targets: Ints, *, outputs: int, seed: int) -> Floats:
        by_asking = METHODS[type(method)].by_asking
        if by_asking is None:
            names = ", ".join(kind.__name__ for kind, entry in METHODS.items() if entry.by_asking is not None)
            needs = "gradients" if METHODS[type(method)].needs == "gradients" else "more than outputs"
            raise UsageError(f"method: {method.title} needs {needs}, and {self.only_asked}; use one of {names}")
        with lending(OURS, Lent(make=lambda: None), outputs=(outputs,)) as architecture:
            if why := why_unfit(method, architecture, prepared.inputs.shape[1:]):
                raise UsageError(f"method: {method.title} {why}")
        scores = AskedScores(
            self.outputs,
            inputs=prepared.inputs,
            targets=targets,
            baseline=prepared.baseline,
            features=prepared.features,
            seed=seed,
        )
        return by_asking(scores, method)


def subject_of(
    model: Any, given: Array, names: tuple[str, ...], *, backend: str | None, channels_first: bool | None
) -> Subject:
    """Recognise a model, and find who explains it.

    Raises
    ------
    UsageError
    EnvironmentMissingError
        If the framework that is to explain an imported model is not installed.
    """
    if isinstance(model, ImportedModel):
        if channels_first and given.ndim == 4:
            given = np.moveaxis(given, 1, -1)
        if given.shape[1:] != model.input_shape:
            shape = ", ".join(map(str, model.input_shape))
            raise UsageError(f"inputs: have shape {given.shape}; the imported model takes (n, {shape}), channels last")
        return _imported(model, _framework(backend), channels_first=bool(channels_first) and given.ndim == 4)
    if backend is not None:
        raise UsageError("backend: is for imported models; whatever else is explained by what it was made with")
    asked = target_of(model, columns=names)
    images = given.ndim == 4
    laid_first = (
        bool(asked.backend) and entry_of(asked.backend).channels_first and not descends(asked.given, "keras", "Model")
    )
    first = images and (laid_first if channels_first is None else channels_first)
    whole = AskedModel(asked)

    def ask(inputs: Floats) -> Floats:
        laid_out = np.moveaxis(inputs, -1, -3) if first else inputs
        return whole.outputs(laid_out.astype(given.dtype) if given.dtype.kind in "iub" else laid_out)

    if not asked.backend or given.dtype.kind != "f":
        why = "inputs of whole numbers have none" if asked.backend else asked.without_gradients
        return Subject(ask=ask, channels_first=first, only_asked=why)

    @contextlib.contextmanager
    def lend(shape: tuple[int, ...], outputs: int) -> Iterator[Model]:
        adapter = importlib.import_module(f"{entry_of(asked.backend).module}.model_adapter")
        lent = adapter.lent_model(asked.given, channels_first=first)
        with lending(asked.backend, lent, outputs=(outputs,)) as architecture:
            yield Model(architecture=architecture, input_shape=shape, weights=lent.weights)

    return Subject(ask=ask, channels_first=first, backend=asked.backend, lend=lend)


def _imported(model: ImportedModel, backend: str, *, channels_first: bool) -> Subject:
    @contextlib.contextmanager
    def lend(shape: tuple[int, ...], outputs: int) -> Iterator[Model]:
        yield Model(architecture=model.architecture, input_shape=shape, weights=model.weights)

    network = load_backend(backend).network
    built = network(Model(architecture=model.architecture, input_shape=model.input_shape, weights=model.weights))
    return Subject(ask=built.logits, channels_first=channels_first, backend=backend, lend=lend)


def _framework(name: str | None) -> str:
    """Name the backend that explains an imported model."""
    for known in backend_names() if name is None else (name,):
        entry = entry_of(known)
        if all(importlib.util.find_spec(package) for package in entry.packages):
            return known
    what = "no framework is" if name is None else f"{name} is not"
    raise EnvironmentMissingError(f"backend: {what} installed beside trustml; {entry.fix}")
