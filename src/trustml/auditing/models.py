"""Anybody's model as the checks see it: arrays in, outputs out, and gradients where they can be had.

Frameworks are told apart by the names of a class's modules, so that nothing is imported that the model's owner has
not imported already.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.auditing.endpoints import Endpoint, ask_endpoint
from trustml.auditing.framework_worker import FrameworkWorker
from trustml.auditing.model_files import refuse_model_file
from trustml.auditing.named import as_given, as_table, in_parts
from trustml.auditing.recognised import (
    Booster,
    Function,
    booster_of,
    descends,
    function_of,
    is_regressor,
    keras_3_backend,
    keras_function,
    keras_kind,
    named_columns,
    padding_of,
    refuse_unfinished,
)
from trustml.backends.contract import LiveModel
from trustml.data.dataset import Floats, Ints
from trustml.errors import DataError, UsageError
from trustml.frameworks.entry import BackendEntry
from trustml.frameworks.table import backend_names, entry_of

Array: TypeAlias = npt.NDArray[Any]
Tell: TypeAlias = Callable[[str, int, int], None]
"""Told of progress: what is being done, how much of it is done, and of how much."""

BATCH = 256
"""Examples that a model gets at once, unless it says otherwise."""


@dataclass(frozen=True)
class JaxModel:
    """A JAX function with its parameters.

    Parameters
    ----------
    function : callable
        ``function(params, inputs)`` to logits or probabilities (n, classes), such as Flax's ``module.apply``.
        Compile it (``jax.jit``) if the time of predictions is to be measured.
    params : pytree of arrays
    """

    function: Callable[[Any, Any], Any]
    params: Any


@dataclass(frozen=True, kw_only=True)
class Target:
    """A model under audit.

    Attributes
    ----------
    kind : str
        In words.
    ask : callable
        Inputs (n, *x), n at most `batch_size`, to outputs (n, ...).
    live : LiveModel, optional
        The same with gradients.
    shuffles : LiveModel, optional
        The same, if only its weights can be shuffled.
    without_gradients : str
        Why there are none.
    classes : array of shape (c,), optional
        Label that each column stands for, where the model says so.
    regression : bool
        Whether the model says that it gives values of a regression.
    columns : tuple of str
        Names of the columns of a table that the model was fitted on, where it says so.
    batch_size : int
    padding : int, optional
        Token that pads its inputs, where it takes an attention mask beside them.
    backend : str
        Whose ``model_adapter`` it is given to, where there is one; empty for all others.
    given : object
        The model as that takes it.
    source, file_digest : str
        Name of the file it was loaded from and the file's SHA-256, or the address it is served at.
    """

    kind: str
    ask: Callable[[Array], Array]
    live: LiveModel | None = None
    shuffles: LiveModel | None = None
    without_gradients: str = ""
    classes: Array | None = None
    regression: bool = False
    columns: tuple[str, ...] = ()
    batch_size: int = BATCH
    padding: int | None = None
    backend: str = ""
    given: Any = None
    source: str = ""
    file_digest: str = ""


@dataclass(frozen=True)
class AskedModel:
    """A model that can only be asked, as a :class:`trustml.backends.contract.LiveModel` that refuses all else."""

    target: Target

    def outputs(self, inputs: Array) -> Floats:
        """See :class:`trustml.backends.contract.LiveModel`."""
        size = self.target.batch_size
        parts = [np.asarray(self.target.ask(inputs[at : at + size])) for at in range(0, len(inputs), size)]
        return np.concatenate(parts).astype(np.float32)

    def input_gradients(self, inputs: Floats, columns: Ints) -> Floats:
        """Refuse: there are none."""
        raise NotImplementedError(self.target.without_gradients)

    @contextmanager
    def randomised(self, seed: int) -> Iterator[LiveModel]:
        """Give it with shuffled weights where what is asked can do so; else refuse."""
        if self.target.shuffles is None:
            raise NotImplementedError("its weights cannot be reached")
        with self.target.shuffles.randomised(seed):  # its answers are then those of shuffled weights
            yield self

    def digest(self) -> str:
        """Refuse: its weights cannot be reached."""
        raise NotImplementedError("its weights cannot be reached")

    def library_attributions(
        self, inputs: Floats, columns: Ints, *, baseline: Floats, n_steps: int, rows: int = 256
    ) -> dict[str, Floats]:
        """None: libraries of gradients do not explain it."""
        return {}


def target_of(
    model: Any, *, parts: tuple[str, ...] = (), columns: tuple[str, ...] = (), batch_size: int | None = None
) -> Target:
    """Recognise a model.

    Parameters
    ----------
    model : torch.nn.Module, Keras model, JaxModel or (function, params), estimator, booster, callable or Endpoint
        Also what libraries of JAX make: a module of Equinox or Flax NNX, and one of Flax or a transform of Haiku
        together with its parameters.
    parts : tuple of str
        Names of the parts of an input, which then is (n, parts, ...): a torch module gets them by name, a callable,
        a Keras model and a function of JAX as a mapping.
    columns : tuple of str
        Names of the columns of the tables that it is asked for: a callable gets a DataFrame then.
    batch_size : int, optional
        Examples that it gets at once.

    Returns
    -------
    Target

    Raises
    ------
    UsageError
        If it is none of them, or its framework is not installed here.
    """
    if isinstance(model, str | Path):
        refuse_model_file(Path(model))
        raise UsageError(f"model: {model}: no such file or folder; load the model, and give that")
    found = _recognised(model, parts, columns)
    return found if batch_size is None else replace(found, batch_size=batch_size)


def _recognised(model: Any, parts: tuple[str, ...], columns: tuple[str, ...]) -> Target:
    if isinstance(model, Endpoint | FrameworkWorker):
        return _elsewhere(model, parts)
    if parts and inspect.isroutine(model):
        return _callable(model, parts=parts)
    if (on := keras_3_backend(model)) and on not in backend_names():
        asked = functools.partial(model, training=False)
        return _callable(asked, kind=keras_kind(model), parts=parts)
    kind, model = _as_function(model, parts, keras_on=on)
    for name in backend_names():
        entry = entry_of(name)
        for known in entry.live:
            if any(descends(model, package, known.base) for package in known.packages):
                return _live(entry, model, kind=kind or known.kind.format(type(model).__name__), parts=parts)
    if parts:
        raise _not_by_parts(model, parts)
    if callable(getattr(model, "predict_proba", None)) or is_regressor(model):
        return _estimator(model)
    if (booster := booster_of(model)) is not None:
        return _booster(booster)
    if callable(model):
        return _callable(_evaluating(model), columns=columns)
    raise UsageError(
        f"model: {type(model).__name__} is no model that can be asked; give a torch module, a Keras model, "
        "trustml.JaxModel(function, params), an estimator with predict_proba or of a regression, a callable, "
        "trustml.Endpoint or a run"
    )


def ask_all(target: Target, inputs: Array, *, tell: Tell, what: str) -> Array:
    """Outputs of any number of examples, asked in batches.

    Raises
    ------
    DataError
        If the model gives another number of rows than it was asked for.
    """
    parts = []
    for start in range(0, len(inputs), target.batch_size):
        batch = inputs[start : start + target.batch_size]
        found = np.asarray(target.ask(batch))
        if found.ndim == 0 or len(found) != len(batch):
            raise DataError(
                f"model: {len(batch)} examples give an output of shape {found.shape}; it must have one row an example"
            )
        parts.append(found)
        tell(what, min(start + target.batch_size, len(inputs)), len(inputs))
    return np.concatenate(parts)


def aligned(outputs: Array, *, classes: Array | None, to: Array | None) -> Array:
    """Columns of an estimator that has not seen all classes, at their places among all; 0 for the others."""
    if classes is None or to is None or np.array_equal(classes, to):
        return outputs
    found = np.zeros((len(outputs), len(to)), outputs.dtype)
    found[:, np.searchsorted(to, classes)] = outputs
    return found


def _callable(
    model: Callable[[Any], Any], *, kind: str = "callable", parts: tuple[str, ...] = (), columns: tuple[str, ...] = ()
) -> Target:
    def ask(inputs: Array) -> Array:
        return np.asarray(model(as_given(inputs, parts=parts, columns=columns)))

    return Target(kind=kind, ask=ask, without_gradients="a plain callable gives no input gradients")


def _elsewhere(model: Endpoint | FrameworkWorker, parts: tuple[str, ...]) -> Target:
    """Ask a model in another process."""
    if parts:
        raise _not_by_parts(model, parts)
    if isinstance(model, FrameworkWorker):
        return Target(
            kind=model.kind,
            ask=model.outputs,
            live=model if model.gradients else None,
            shuffles=model if model.shuffles else None,
            without_gradients="" if model.gradients else "neither this file nor its runtime gives gradients of inputs",
            source=model.file,
            file_digest=model.file_digest,
        )
    return Target(
        kind=f"HTTP endpoint ({model.protocol})",
        ask=lambda inputs: ask_endpoint(model, inputs),
        without_gradients="an endpoint gives no input gradients",
        batch_size=model.batch_size,
        source=model.shown,
    )


def _as_function(model: Any, parts: tuple[str, ...], *, keras_on: str) -> tuple[str, Any]:
    """Give what is a function of arrays and inputs as one, with its kind; anything else as it is."""
    if keras_on and any(known.base == JaxModel.__name__ for known in entry_of(keras_on).live):
        found: Function | None = keras_function(model)
    elif descends(model, "flax.nnx", "Module"):
        found = function_of(_evaluating(model))
    else:
        found = function_of((model.function, model.params) if isinstance(model, JaxModel) else model)
    if found is not None:
        model = JaxModel(found.function, found.params)
    for one in (model, *(model if isinstance(model, tuple) else ())):
        refuse_unfinished(one)
    if isinstance(model, tuple) and len(model) == 2 and callable(model[0]):
        model = JaxModel(*model)
    if parts and isinstance(model, JaxModel):
        by_name = model.function
        model = JaxModel(lambda params, inputs: by_name(params, in_parts(inputs, parts)), model.params)
    return found.kind if found is not None else keras_kind(model) if keras_on else "", model


def _not_by_parts(model: Any, parts: tuple[str, ...]) -> UsageError:
    """Say that a model is not given parts by their names: none of them is left out instead."""
    return UsageError(
        f"model: inputs have the parts {', '.join(parts)}, which a {type(model).__name__} is not given; give a "
        "function of the mapping of them, such as `lambda parts: model.predict(parts)`"
    )


def _live(entry: BackendEntry, model: Any, *, kind: str, parts: tuple[str, ...]) -> Target:
    try:
        module = importlib.import_module(f"{entry.module}.model_adapter")
    except ImportError as error:
        raise UsageError(f"model: a {kind} needs {error.name or entry.name}, which cannot be imported here") from None
    if parts and not isinstance(model, JaxModel):
        if not hasattr(module, "by_parts"):
            raise _not_by_parts(model, parts)
        model = module.by_parts(model, parts)
    live: LiveModel = module.live_model(model)
    padding = None if parts else padding_of(model)
    return Target(kind=kind, ask=live.outputs, live=live, padding=padding, backend=entry.name, given=model)


def _evaluating(model: Any) -> Any:
    """Give a copy in evaluation mode of a network that has modes, such as Flax's NNX modules; any other as it is.

    In training mode it would answer with statistics of the batch, and asking it would move its running means.
    """
    if not (callable(getattr(model, "eval", None)) and callable(getattr(model, "train", None))):
        return model
    try:
        found = copy.deepcopy(model)
        found.eval()
    except Exception as error:  # whatever a stranger's model raises
        raise UsageError(
            f"model: a {type(model).__name__} could not be copied into evaluation mode ({type(error).__name__}); "
            "put it there, and give `lambda inputs: model(inputs)`"
        ) from None
    return found


def _booster(model: Booster) -> Target:
    found = _table_model(model.kind, lambda inputs: model.ask(inputs.reshape(len(inputs), -1)))
    return replace(found, columns=model.columns)


def _estimator(model: Any) -> Target:
    columns = named_columns(getattr(model, "feature_names_in_", ()))

    def ask(inputs: Array) -> Array:
        # Forests and neighbours take a table; images are laid flat as their owner must have done to fit them.
        flat = inputs.reshape(len(inputs), -1) if inputs.ndim != 2 and hasattr(model, "n_features_in_") else inputs
        named = len(columns) > 0 and flat.ndim == 2 and flat.shape[1] == len(columns)
        return np.asarray(answer(as_table(flat, columns) if named else flat))

    regression = is_regressor(model)
    answer = model.predict if regression else model.predict_proba
    classes = None if regression else getattr(model, "classes_", None)
    package = type(model).__module__.split(".")[0].replace("sklearn", "scikit-learn")
    found = _table_model(f"{package} {type(model).__name__}", ask)
    classes = None if classes is None else np.asarray(classes)
    return replace(found, classes=classes, columns=columns, regression=regression)


def _table_model(kind: str, ask: Callable[[Array], Array]) -> Target:
    return Target(kind=kind, ask=ask, without_gradients="an estimator gives no input gradients", batch_size=4096)
