"""What a backend offers, in numpy and plain values.

Shapes: ``n`` examples, ``c`` classes, ``*x`` the shape of one input (channels last). All floats are float32.
A backend converts layouts at its door: what goes in and comes out is canonical (:mod:`trustml.models.weights`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from trustml.data.dataset import Floats, Ints
from trustml.models.layers import Architecture
from trustml.models.weights import Weights
from trustml.scenario.regimes import FedAvg, Plain
from trustml.scenario.spec import IntegratedGradients


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

    def step(self, inputs: Floats, labels: Ints) -> None:
        """Take one step on one batch of any size; a private trainer takes an empty one too."""
        ...

    def weights(self) -> Weights:
        """Present weights, canonical."""
        ...


class PrivateTrainer(Trainer, Protocol):
    """DP-SGD: clip each example's gradient, sum, add noise once, divide by the declared batch size, step."""

    def clipped_sum(self, inputs: Floats, labels: Ints) -> Weights:
        """Sum of the clipped per-example gradients, without noise, canonical. Takes no step."""
        ...


class Federation(Protocol):
    """A federated training, one round at a time."""

    def round(self, clients: Sequence[Sequence[tuple[Floats, Ints]]]) -> None:
        """Train every client on its batches from the global weights, and average by examples."""
        ...

    def weights(self) -> Weights:
        """Present global weights, canonical."""
        ...


@dataclass(frozen=True, kw_only=True)
class DPStep:
    """The numbers of one DP-SGD step.

    Attributes
    ----------
    learning_rate, momentum : float
    clipping_norm : float
    noise_multiplier : float
        0 turns the noise off, for tests.
    expected_batch_size : int
    noise_seed : tuple of int
        Four 32-bit words of operating-system entropy; a test may fix them.
    """

    learning_rate: float
    momentum: float
    clipping_norm: float
    noise_multiplier: float
    expected_batch_size: int
    noise_seed: tuple[int, int, int, int]


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
    network, plain, private, federated : callable
        Make the objects above; None where the backend has no such regime. The integer seeds dropout masks.
    explain : callable
        The native lane: the library's own attributions.
    """

    open_device: Callable[[str, int], Device]
    network: Callable[[Model], Network]
    plain: Callable[[Model, Plain, int], Trainer]
    private: Callable[[Model, DPStep, int], PrivateTrainer] | None
    federated: Callable[[Model, FedAvg], Federation] | None
    explain: Callable[[ExplainRequest], Attributions]
