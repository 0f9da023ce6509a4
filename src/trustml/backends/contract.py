"""What a backend offers, in numpy and plain values.

Shapes: ``n`` examples, ``c`` classes, ``*x`` the shape of one input (channels last). All floats are float32.
A backend converts layouts at its door: what goes in and comes out is canonical (:mod:`trustml.models.weights`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy.typing as npt

from trustml.attribution.passes import MOST_ROWS
from trustml.backends.settings import (
    Clipped,
    EngineChoice,
    FederatedSettings,
    InversionSettings,
    PrivateSettings,
    RoundOutcome,
    StockSettings,
)
from trustml.backends.shadows import ShadowSettings, ShadowTrainer
from trustml.data.dataset import Examples, Floats, Ints, LabelArray
from trustml.models.exported import Quantised
from trustml.models.layers import Architecture, NativeModule
from trustml.models.native import OwnNetwork
from trustml.models.shapes import layer_shapes
from trustml.models.tasks import DEFAULT_TASK, Task, label_shape
from trustml.models.weights import Weights
from trustml.scenario.methods import Method
from trustml.scenario.regimes import Plain


class Network(Protocol):
    """A trained model, for reading only."""

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c), or (n, steps, c) where the task asks for them at each step."""
        ...

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Gradient of each example's target logit with respect to that example's input; shape (n, *x)."""
        ...


@dataclass(frozen=True, kw_only=True)
class FileRequest:
    """A file for deployment that is wanted.

    Attributes
    ----------
    model : Model
    path : Path
        Where it goes; a folder for targets that are one.
    statement : str
        What travels inside.
    quantised : {"", "dynamic", "int8"}
        Weights as 8-bit whole numbers; weights and values.
    calibration : float32 array of shape (n, *x), optional
        Inputs whose values say how values are rounded; for ``int8``.
    """

    model: Model
    path: Path
    statement: str
    quantised: Quantised = ""
    calibration: Floats | None = None


class Deployed(Protocol):
    """A model read back from a file that was made for deployment, in the target's own runtime."""

    statement: str
    """What travels inside (:mod:`trustml.models.exported`); empty where nothing does."""
    gradients: bool
    """Whether the runtime computes any, or the file itself does."""
    rounded: bool
    """Whether weights are kept in 8 bits: read off the file's own numbers, whatever it says of itself."""

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c), for inputs laid out channels-last; as the file takes them if it was opened so."""
        ...

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """See :meth:`Network.input_gradients`; NotImplementedError where the target has no gradients."""
        ...


@runtime_checkable
class Shuffled(Protocol):
    """A :class:`Deployed` whose weights can be shuffled."""

    def randomised(self, seed: int) -> AbstractContextManager[Deployed]:
        """Give it with the values of every trained array shuffled, for as long as the context lasts."""
        ...


class LiveModel(Protocol):
    """Somebody else's model of this framework, in memory: inputs and outputs are laid out as its owner has them."""

    def outputs(self, inputs: npt.NDArray[Any]) -> Floats:
        """What the model returns in evaluation mode, (n, ...)."""
        ...

    def input_gradients(self, inputs: Floats, columns: Ints) -> Floats:
        """Gradient of one output of each example, its column in (n, c), with respect to its input; (n, *x)."""
        ...

    def randomised(self, seed: int) -> AbstractContextManager[LiveModel]:
        """Give the model with the values of every trained array shuffled, for as long as the context lasts."""
        ...

    def digest(self) -> str:
        """Identify the model by its arrays: :func:`trustml.record.files.arrays_digest`."""
        ...

    def library_attributions(
        self, inputs: Floats, columns: Ints, *, baseline: Floats, n_steps: int, rows: int = 256
    ) -> dict[str, Floats]:
        """Integrated gradients by Gauss-Legendre quadrature as libraries of the framework compute them, by name.

        About `rows` points of the path may go through the model at once.
        """
        ...


class Trainer(Protocol):
    """A model in training, one step at a time."""

    def step(self, inputs: Floats, labels: LabelArray, *, learning_rate: float) -> None:
        """Take one step on the mean loss of one batch of any size but zero."""
        ...

    def weights(self) -> Weights:
        """Present weights, canonical."""
        ...

    def state(self) -> Weights:
        """Give what the optimizer remembers, each array shaped like its weight.

        Names begin with ``momentum``, or for Adam with ``mean`` or ``variance``, as in ``momentum/0.kernel``; Adam's
        ``count`` is a single number.
        """
        ...

    def restore(self, weights: Weights, state: Weights) -> None:
        """Go back to weights and state that were read before, from this backend or another; {} is before a step."""
        ...


class PrivateTrainer(Protocol):
    """DP-SGD, in two halves, so that a batch may come in several microbatches and noise is added once.

    The core calls :meth:`accumulate` for each microbatch and then :meth:`update`. A step without any example is an
    update alone.
    """

    @property
    def choice(self) -> EngineChoice:
        """Which of the library's ways to clip is used, and what the others took."""
        ...

    def accumulate(self, inputs: Floats, labels: LabelArray, *, clipping_norm: float) -> Clipped:
        """Clip the gradient of each example and add it to the sum; inputs are (b, k, *x) with k copies of each.

        Of users, labels are (b, k, ...): see :class:`trustml.backends.settings.PrivateSettings`.
        If anything in the microbatch is not finite, nothing is added.
        """
        ...

    def plant(self, gradients: Weights, *, clipping_norm: float) -> None:
        """Clip finite gradients from elsewhere as if they were examples' own, and add them to the sum; for audits.

        Arrays are canonical behind a leading axis of k gradients. They are not counted as unclipped.
        """
        ...

    def clipped_sum(self) -> Weights:
        """Sum so far, without noise, canonical."""
        ...

    def update(self, *, clipping_norm: float, noise_multiplier: float, learning_rate: float) -> None:
        """Add noise to the sum once, divide by the declared batch size, take the optimizer's step, begin anew.

        The noise has standard deviation ``noise_multiplier * clipping_norm`` in every coordinate; a noise
        multiplier of 0 turns it off, for tests.
        """
        ...

    def gradient(self) -> Weights:
        """Noisy mean gradient of the last update, canonical."""
        ...

    def weights(self) -> Weights:
        """Present weights, canonical."""
        ...

    def state(self) -> Weights:
        """See :meth:`Trainer.state`."""
        ...

    def restore(self, weights: Weights, state: Weights) -> None:
        """See :meth:`Trainer.restore`."""
        ...


class StockTrainer(Protocol):
    """Private training as the library's own documentation drives it: its loader, its batches, its loop."""

    def epoch(self) -> list[int]:
        """Train one epoch and give the size of every batch."""
        ...

    def weights(self) -> Weights:
        """Present weights, canonical."""
        ...


Client: TypeAlias = Sequence[tuple[Floats, LabelArray]]
"""The batches of one client in one round, all its local epochs, in their order."""


class Federation(Protocol):
    """A federated training, one round at a time.

    Every client starts from the global weights and goes through its batches by the regime's client optimizer.
    Its update is the change of its weights. A client without batches answers zero.
    """

    @property
    def choice(self) -> EngineChoice | None:
        """How clients are simulated, where there was a choice."""
        ...

    def round(self, clients: Sequence[Client]) -> RoundOutcome:
        """Train the clients, aggregate their updates by the regime's rule, take the server's step.

        Under privacy: clip each update, sum, add noise once, divide by the declared number of clients. A round
        without clients still adds noise. An update that is not finite counts as zero.
        """
        ...

    def plant(self, updates: Weights) -> None:
        """Add k clients to the next private round whose updates, (k, *shape), are given; for audits.

        Each is clipped as any. Raises NotImplementedError where the library takes no update from outside.
        """
        ...

    def weights(self) -> Weights:
        """Present global weights, canonical."""
        ...

    def clipping_norm(self) -> float:
        """Clipping norm of the next round; 0 where nothing is clipped."""
        ...


@dataclass(frozen=True, kw_only=True)
class Model:
    """An architecture with its input shape and weights, and what it is asked: a trainer's loss is that of the task.

    Attributes
    ----------
    architecture : Architecture
    input_shape : tuple of int
    weights : Weights
    task : Task
    frozen : frozenset of str
        Names of weights that no trainer moves: there is no gradient by them, no noise on them, and no memory of them.
        Gradients, clipped sums and the optimizer's state are of the others alone.
    """

    architecture: Architecture
    input_shape: tuple[int, ...]
    weights: Weights
    task: Task = DEFAULT_TASK
    frozen: frozenset[str] = frozenset()

    @property
    def trained(self) -> Weights:
        """Weights that a trainer moves."""
        return {name: array for name, array in self.weights.items() if name not in self.frozen}

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return int(layer_shapes(self.architecture, self.input_shape)[-1][-1])

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of one example's label."""
        return label_shape(self.task, layer_shapes(self.architecture, self.input_shape)[-1])


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """What to explain, with everything that the core decides already decided.

    Attributes
    ----------
    model : Model
    inputs : float32 array of shape (n, *x)
    targets : int64 array of shape (n,)
    method : Method
    baseline : float32 array of shape (n, *x)
        For methods that take one baseline an example; zeros for all others.
    background : float32 array of shape (m, *x)
        For methods that take several baselines; empty (m = 0) for all others.
    features : int64 array of shape (*x)
        Feature that each value of an input belongs to, numbered from 0 without gaps: perturbation methods
        switch the values of a feature together and give each of them the feature's attribution.
    layer : int
        Layer whose output is attributed to; -1 for methods without one.
    seed : int
        All random numbers of a method follow from it.
    rows : int
        Rows that go through the network at once, at the most, where the method can do with fewer.
    """

    model: Model
    inputs: Floats
    targets: Ints
    method: Method
    baseline: Floats
    background: Floats
    features: Ints
    layer: int
    seed: int
    rows: int = MOST_ROWS


Attributions: TypeAlias = dict[str, Floats]
"""Variant to attributions, in logits. ``native`` is what the library returns (arrays, never pictures);
``completed`` is there where that is not the method's definition, and says what it becomes when it is.
Shape (n, *x), or (n, *layer) for methods of a layer, channels last; Grad-CAM gives (n, rows, columns)."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where a backend computes.

    Attributes
    ----------
    describe, synchronize : callable
        One line on the device in use; wait until all work given to it is done.
    packages : tuple of str
        Distributions whose versions belong into the record.
    switches : dict
        Numeric settings in force, such as TF32.
    reduced_precision : callable
        Names each switch now in force under which float32 is computed with fewer bits, with its value and how to
        turn it off, one line each. Private training is refused under them: an example's norm that is computed
        coarsely may be smaller than the gradient that is added, and epsilon assumes that it never is.
    """

    describe: Callable[[], str]
    synchronize: Callable[[], None]
    packages: tuple[str, ...]
    switches: dict[str, str]
    reduced_precision: Callable[[], tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One framework, seen through numpy.

    Attributes
    ----------
    open_device : callable
        Choose the device (``auto``, ``cpu`` or ``cuda``) and the number of threads, before anything else.
        Raises UsageError if it is not there.
    network, plain, private, stock, federated, shadows, invert : callable
        Make the objects above, the last inputs of gradients; None where there is none. The integer seeds dropout masks.
    explain : callable
        The native lane: the library's own attributions by one method. Called again and again with the same
        method, architecture and shapes, so what it compiles must be kept; the core never asks for what
        :mod:`trustml.catalogue` says is not there.
    native : callable, optional
        The model as users of the framework hold it, in evaluation mode.
    own : callable, optional
        Builds a network of somebody's own code once for each seed, and tries it on random inputs of a shape.
    """

    open_device: Callable[[str, int], Device]
    network: Callable[[Model], Network]
    plain: Callable[[Model, Plain, int], Trainer]
    private: Callable[[Model, PrivateSettings, int], PrivateTrainer]
    stock: Callable[[Model, StockSettings, Examples], StockTrainer] | None
    federated: Callable[[Model, FederatedSettings], Federation]
    shadows: Callable[[ShadowSettings], ShadowTrainer] | None
    explain: Callable[[ExplainRequest], Attributions]
    native: Callable[[Model], Any] | None = None
    own: Callable[[NativeModule, tuple[int, ...], Sequence[int]], OwnNetwork] | None = None
    invert: Callable[[Model, InversionSettings], Floats] | None = None
