"""What a backend offers, in numpy and plain values.

Shapes: ``n`` examples, ``c`` classes, ``*x`` the shape of one input (channels last). All floats are float32.
A backend converts layouts at its door: what goes in and comes out is canonical (:mod:`trustml.models.weights`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from trustml.data.dataset import Examples, Floats, Ints
from trustml.models.layers import Architecture
from trustml.models.weights import Weights
from trustml.scenario.optimizers import Optimizer
from trustml.scenario.regimes import FedAvg, Plain
from trustml.scenario.spec import GradSampleMode, IntegratedGradients


class Network(Protocol):
    """A trained model, for reading only."""

    def logits(self, inputs: Floats) -> Floats:
        """Logits of shape (n, c)."""
        ...

    def input_gradients(self, inputs: Floats, targets: Ints) -> Floats:
        """Gradient of each example's target logit with respect to that example's input; shape (n, *x)."""
        ...


class Trainer(Protocol):
    """A model in training, one step at a time."""

    def step(self, inputs: Floats, labels: Ints, *, learning_rate: float) -> None:
        """Take one step on the mean loss of one batch of any size but zero."""
        ...

    def weights(self) -> Weights:
        """Present weights, canonical."""
        ...

    def state(self) -> Weights:
        """Give what the optimizer remembers, each array shaped like its weight; names of :data:`OPTIMIZER_STATE`."""
        ...

    def restore(self, weights: Weights, state: Weights) -> None:
        """Go back to weights and state that were read before, from this backend or another."""
        ...


class PrivateTrainer(Protocol):
    """DP-SGD, in two halves, so that a batch may come in several pieces and noise is added once.

    The core calls :meth:`accumulate` for each piece and then :meth:`update`. A step without any example is an
    update alone.
    """

    @property
    def choice(self) -> EngineChoice:
        """Which of the library's ways to clip is used, and what the others took."""
        ...

    def accumulate(self, inputs: Floats, labels: Ints, *, clipping_norm: float) -> Clipped:
        """Clip the gradient of each example and add it to the sum; inputs are (b, k, *x) with k copies of each.

        If anything in the piece is not finite, nothing is added.
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


class Federation(Protocol):
    """A federated training, one round at a time."""

    def round(self, clients: Sequence[Sequence[tuple[Floats, Ints]]]) -> None:
        """Train every client on its batches from the global weights, and average by examples."""
        ...

    def weights(self) -> Weights:
        """Present global weights, canonical."""
        ...


OPTIMIZER_STATE = {"SGD": ("momentum",), "Adam": ("mean", "variance", "count")}
"""Prefixes of the names in an optimizer's state: ``momentum/0.kernel``. ``count`` is a single number."""


@dataclass(frozen=True, kw_only=True)
class Clipped:
    """What became of one piece of a batch.

    Attributes
    ----------
    finite : bool
        Whether every clipped gradient was finite; if not, nothing was added to the sum.
    unclipped : int
        Examples whose gradient was no longer than the clipping norm; 0 unless they are to be counted.
    """

    finite: bool
    unclipped: int


@dataclass(frozen=True, kw_only=True)
class EngineChoice:
    """Which way to clip was chosen among the library's own.

    Attributes
    ----------
    name : str
    seconds : dict of str to float
        Median time of a clipped sum on synthetic data for each way that was measured; empty where there was
        no choice.
    refused : dict of str to str
        Ways that were left out, and why.
    """

    name: str
    seconds: dict[str, float]
    refused: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class PrivateSettings:
    """What is fixed for a whole private training.

    Attributes
    ----------
    optimizer : SGD or Adam
    per_layer : bool
        Clip each weight tensor to ``clipping_norm / sqrt(number of tensors)``, instead of all together.
    count_unclipped : bool
    expected_batch_size : int
        What the noisy sum is divided by.
    multiplicity : int
        Copies of each example, whose gradients are averaged before clipping.
    noise_seed : tuple of int
        Four 32-bit words of operating-system entropy; a test may fix them.
    micro_batch_size : int
        Largest piece that comes at once; 0 leaves it open.
    grad_sample_mode : str
        For Opacus.
    """

    optimizer: Optimizer
    per_layer: bool = False
    count_unclipped: bool = False
    expected_batch_size: int
    multiplicity: int = 1
    noise_seed: tuple[int, int, int, int]
    micro_batch_size: int = 0
    grad_sample_mode: GradSampleMode = "auto"


@dataclass(frozen=True, kw_only=True)
class StockSettings:
    """What a user of the stock engine would write.

    Attributes
    ----------
    optimizer : SGD or Adam
    keras_optimizer : bool
        Whether to use TF Privacy's optimizer instead of its model.
    clipping_norm, noise_multiplier : float
    batch_size : int
    seed : int
        From operating-system entropy: stock engines draw batches and noise from one global generator.
    """

    optimizer: Optimizer
    keras_optimizer: bool
    clipping_norm: float
    noise_multiplier: float
    batch_size: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Model:
    """An architecture with its input shape and weights."""

    architecture: Architecture
    input_shape: tuple[int, ...]
    weights: Weights


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """What to explain.

    Attributes
    ----------
    model : Model
    inputs : float32 array of shape (n, *x)
    targets : int64 array of shape (n,)
    method : IntegratedGradients
    """

    model: Model
    inputs: Floats
    targets: Ints
    method: IntegratedGradients


Attributions: TypeAlias = dict[str, Floats]
"""Variant to attributions of shape (n, *x), signed: ``native`` is what the library returns; ``completed`` is
there where the library's own output is not the method's definition, and says what it becomes when it is."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where a backend computes.

    Attributes
    ----------
    describe : callable
        One line on the device in use.
    synchronize : callable
        Wait until all work given to the device is done.
    packages : tuple of str
        Distributions whose versions belong into the record.
    switches : dict
        Numeric settings in force, such as TF32.
    """

    describe: Callable[[], str]
    synchronize: Callable[[], None]
    packages: tuple[str, ...]
    switches: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One framework, seen through numpy.

    Attributes
    ----------
    open_device : callable
        Choose the device (``auto``, ``cpu`` or ``cuda``) and the number of threads, before anything else.
        Raises UsageError if it is not there.
    network, plain, private, stock, federated : callable
        Make the objects above; None where the backend has no such regime. The integer seeds dropout masks.
    explain : callable
        The native lane: the library's own attributions.
    """

    open_device: Callable[[str, int], Device]
    network: Callable[[Model], Network]
    plain: Callable[[Model, Plain, int], Trainer]
    private: Callable[[Model, PrivateSettings, int], PrivateTrainer]
    stock: Callable[[Model, StockSettings, Examples], StockTrainer] | None
    federated: Callable[[Model, FedAvg], Federation] | None
    explain: Callable[[ExplainRequest], Attributions]
