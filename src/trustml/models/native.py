"""Networks of somebody's own code, that cannot be imported: named as data, and run by one backend alone.

The one module of the core that imports a stranger's code does so in :func:`load_callable`, and only where
:func:`trusting_code` or ``TRUSTML_TRUST_CODE=1`` says that whoever runs the process named that code themselves.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import importlib
import itertools
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.errors import ScenarioError, UsageError
from trustml.models.code_files import files_beside, find_file, read_source_alone
from trustml.models.layers import Architecture, NativeModule
from trustml.models.tasks import Task

TRUST_VARIABLE = "TRUSTML_TRUST_CODE"
_Shape: TypeAlias = tuple[int, ...]
REQUEST, ANSWER = "request.json", "answer.json"
_trusted = contextvars.ContextVar("trusted", default=False)
_numbers = itertools.count()
_lent: dict[str, Callable[[], Any]] = {}
"""Models in memory, by the names that stand for them in architectures for a while; see :func:`lending`."""


@dataclass(frozen=True, kw_only=True)
class OwnNetwork:
    """A network of somebody's own code, looked at before anything is trained.

    Attributes
    ----------
    weights : tuple of dict of array
        As the code draws them, by the network's own names; one for each seed.
    outputs : tuple of int
        Shape of the outputs of one example.
    mixes : str
        Layer by which one example changes the outputs of another, in training or without; empty where none does.
    moves : tuple of str
        What is no weight and changes while it trains, such as running statistics.
    draws : bool
        Whether it gives something else each time while it trains, as by dropout.
    """

    weights: tuple[dict[str, npt.NDArray[np.float32]], ...]
    outputs: tuple[int, ...]
    mixes: str = ""
    moves: tuple[str, ...] = ()
    draws: bool = False


@dataclass(frozen=True, kw_only=True)
class Lent:
    """A live model in the form in which a backend builds networks of somebody's own code.

    Attributes
    ----------
    make : callable
        Gives the network, as the callable of a :class:`NativeModule` does.
    weights : dict of array
        What is an argument of the network; empty where it keeps its weights itself.
    name : str
        The same for the same network, of which what was compiled is used again; a new one where it is left out.
    """

    make: Callable[[], Any]
    weights: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    name: str = ""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be looked at, in a process of the backend's environment.

    Attributes
    ----------
    network : NativeModule
    input_shape : tuple of int
    task : Task
    seeds : tuple of int
    private : bool
        Whether a regime promises privacy, so that no example may change what comes of another.
    """

    network: NativeModule
    input_shape: tuple[int, ...]
    task: Task
    seeds: tuple[int, ...]
    private: bool


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a network turned out to be: as it goes into jobs, or why it cannot be trained."""

    network: NativeModule | None = None
    problem: str = ""


def start_file(seed: int) -> str:
    """File beside the answer with the weights that the code draws for a seed."""
    return f"start.s{seed}.safetensors"


def Native(*, backend: str, module: str, folder: str = ".", weights: str = "") -> Architecture:
    """Give a network of your own code as the model of a scenario; see :class:`NativeModule`.

    Parameters
    ----------
    backend : str
        The one that trains and explains it.
    module : str
        As in ``"my_model:make"``: a module, and what in it is called, without arguments, to make the network.
    folder : str
        Where the module lies, and what it imports beside it.
    weights : str
        File of safetensors with the network's own names, from which every training starts; no epsilon covers what they
        were made from. Without it the code draws them.

    Examples
    --------
    >>> import trustml
    >>> trustml.Native(backend="torch", module="my_model:make").layers[0].module
    'my_model:make'
    """
    return Architecture(layers=(NativeModule(backend=backend, module=module, folder=folder, weights=weights),))


def native_of(architecture: Architecture) -> NativeModule | None:
    """Give the network of somebody's own code that an architecture is, if it is one."""
    first = architecture.nodes[0].layer if architecture.layers else None
    return first if isinstance(first, NativeModule) else None


def check_native(architecture: Architecture) -> None:
    """Refuse own code beside layers, and what names none.

    Raises
    ------
    ScenarioError
    """
    from trustml.frameworks.table import names_module

    for index, node in enumerate(architecture.nodes):
        if not isinstance(node.layer, NativeModule):
            continue
        if len(architecture.layers) > 1:
            problem = "is a whole network, and other layers are beside it"
            raise ScenarioError(f"model.layers.{index}", problem, fix="name no other layer, or write all in the module")
        if not names_module(node.layer.module):
            problem = f"{node.layer.module!r} names nothing to call"
            raise ScenarioError(f"model.layers.{index}.module", problem, fix="write module:callable")


def native_output(layer: NativeModule, shapes: Any, field: str) -> _Shape:
    """Shape of one example's outputs, once the code was asked."""
    if not layer.outputs:
        raise ScenarioError(field, f"{layer.module} was not asked for its shapes yet", fix="run the scenario")
    return layer.outputs


def native_weights(layer: NativeModule, shape: _Shape) -> dict[str, _Shape]:
    """Names of the network's own, and shapes, once the code was asked."""
    return dict(layer.parameters)


def randomised(shapes: dict[str, _Shape], generator: np.random.Generator) -> dict[str, npt.NDArray[np.float32]]:
    """Draw other weights, to see whether explanations depend on them; nothing is trained from these."""
    return {
        name: generator.normal(0.0, 1.0 / math.sqrt(max(1, math.prod(shape) // max(shape, default=1))), shape).astype(
            np.float32
        )
        for name, shape in shapes.items()
    }


@contextlib.contextmanager
def trusting_code() -> Iterator[None]:
    """Let code that is named by a record run in this process, for as long as the context lasts."""
    before = _trusted.set(True)
    try:
        yield
    finally:
        _trusted.reset(before)


@contextlib.contextmanager
def lending(backend: str, lent: Lent, *, outputs: tuple[int, ...]) -> Iterator[Architecture]:
    """Give a live model as an architecture that this process alone can build, for as long as the context lasts."""
    name = lent.name or f"lent:{next(_numbers)}"
    parameters = tuple((part, tuple(array.shape)) for part, array in lent.weights.items())
    _lent[name] = lent.make
    try:
        yield Architecture(layers=(NativeModule(backend=backend, module=name, outputs=outputs, parameters=parameters),))
    finally:
        _lent.pop(name, None)


def require_trust(architecture: Architecture, *, trust_code: bool) -> None:
    """Refuse to run a record's own code unless its reader asks for it.

    Raises
    ------
    UsageError
    """
    layer = native_of(architecture)
    if layer is not None and not trust_code:
        raise UsageError(
            f"{layer.module} is code that the record names, and would be run here; if you trust it, say so by "
            "--trust-code (trust_code=True in Python)"
        )


def code_digest(module: str, folder: str) -> str:
    """SHA-256 of a module's file and of what it imports from its folder; nothing is imported here.

    It is empty for a module that has no file, and that of the file where it imports nothing beside it. What code
    opens or imports by names that it makes up is not covered.

    Raises
    ------
    UsageError
        If there is no such module.
    """
    name = module.partition(":")[0]
    file = find_file(name, folder)
    if file is None:
        return ""
    files = dict.fromkeys(one.resolve() for one in (file, *files_beside(name, folder)))
    digests = [hashlib.sha256(one.read_bytes()).hexdigest() for one in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def load_callable(layer: NativeModule) -> Any:
    """Import the module and give what it names.

    Raises
    ------
    UsageError
        If nobody said that the code is trusted, it is not there, or it is no longer what it was when the run began.
    """
    if layer.module in _lent:
        return _lent[layer.module]
    if not (_trusted.get() or os.environ.get(TRUST_VARIABLE) == "1"):
        require_trust(Architecture(layers=(layer,)), trust_code=False)
    name, _, attribute = layer.module.partition(":")
    if layer.code and code_digest(layer.module, layer.folder) != layer.code:
        raise UsageError(f"model: {name} is no longer the code that the run was prepared with; start a new run")
    read_source_alone(name, layer.folder)
    if layer.folder not in sys.path:  # and it stays: a module may import what lies beside it later
        sys.path.insert(0, layer.folder)
    importlib.invalidate_caches()
    module = importlib.import_module(name)
    file, loaded = find_file(name, layer.folder), getattr(module, "__file__", None)
    if file is not None and (loaded is None or Path(loaded).resolve() != file.resolve()):
        raise UsageError(f"model.module: another {name} is imported already, from {loaded}; name yours otherwise")
    found = getattr(module, attribute, None)
    if not callable(found):
        raise UsageError(f"model.module: {name} has nothing to call that is named {attribute!r}; name its function")
    return found
