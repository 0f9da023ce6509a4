"""What private trainers are told, and what they answer, as plain values."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Floats, LabelArray
from trustml.models.layer_types import LAYER_TYPES
from trustml.models.layers import (
    GRU,
    LSTM,
    Architecture,
    Dense,
    Node,
)
from trustml.models.shapes import Shape, value_shapes
from trustml.models.token_layers import (
    Attention,
    Embedding,
    Unembedding,
)
from trustml.models.weights import Weights
from trustml.privacy.noise_strategy import NoiseStrategy, noise_strategy
from trustml.privacy.rounding import drawn_noise
from trustml.scenario.federated import FederatedRegime, IndependentNoise, NoiseMechanism
from trustml.scenario.optimizers import Optimizer
from trustml.scenario.spec import GradSampleMode


@dataclass(frozen=True, kw_only=True)
class Clipped:
    """What became of one microbatch.

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
    """Which way to clip was chosen, among the library's own and book-keeping of ours.

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


def filled_up(rows: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Give rows of zeros after these, until there are `count`."""
    if len(rows) == count:
        return rows
    filled = np.zeros((count, *rows.shape[1:]), rows.dtype)
    filled[: len(rows)] = rows
    return filled


def written_numbers(
    architecture: Architecture, input_shape: tuple[int, ...], *, copies: int, frozen: Collection[str] = ()
) -> int:
    """Numbers of one example's gradients that book-keeping writes out, and what attention keeps for them.

    Those of a dense layer at one position are not, and of a table of tokens only the rows that are taken.

    Parameters
    ----------
    architecture : Architecture
    input_shape : tuple of int
    copies : int
        Rows that make one example.
    frozen : collection of str
        Weights by which there are no gradients.
    """
    shapes = value_shapes(architecture, input_shape)
    tied = {node.layer.of for node in architecture.nodes if isinstance(node.layer, Unembedding)}
    total = 0
    for node in architecture.nodes:
        layer, before, after = node.layer, shapes[node.inputs[0]], shapes[node.name]
        if isinstance(layer, Attention):  # scores, shares, and what comes back by either
            total += 4 * copies * layer.heads * before[0] * shapes[node.inputs[1]][0]
        elif _is_frozen(node, before, frozen):
            continue
        elif isinstance(layer, Embedding) and node.name not in tied:
            total += copies * math.prod(after)
        elif isinstance(layer, GRU | LSTM):
            total += sum(map(math.prod, LAYER_TYPES[type(layer)].weights(layer, before).values()))
        elif LAYER_TYPES[type(layer)].has_weights and not (isinstance(layer, Dense) and copies * len(after) == 1):
            total += math.prod(next(iter(LAYER_TYPES[type(layer)].weights(layer, before).values())))
    return total


def _is_frozen(node: Node, before: Shape, frozen: Collection[str]) -> bool:
    """Whether nothing of a node is trained."""
    parts = LAYER_TYPES[type(node.layer)].weights(node.layer, before)
    return all(f"{node.name}.{part}" in frozen for part in parts)


def usual_batch_size(expected: int) -> int:
    """Size that 98 of 100 Poisson batches do not pass."""
    return expected + 2 * math.isqrt(expected)


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
    summed : int
        Examples whose sum is to be expected where somebody's batches are larger than that: the noise covers how so
        many are rounded as they are added up. 0 means that none are.
    multiplicity : int
        Copies of each example, whose gradients are averaged before clipping.
    rows_of_users : bool
        Whether an example is a user and its copies are some of that user's rows, each with a label of its own: labels
        are (b, k, ...), and a row whose label is negative, or not a number, is not there. The gradient of a user is
        the mean over the rows that are.
    noise_seed : tuple of int
        Four 32-bit words of operating-system entropy; a test may fix them.
    noise : NoiseStrategy, optional
        Of what vectors the noise of each step is made, and for how many steps there is any; left out, of a fresh one.
        What it keeps lives as long as the trainer, and nowhere else.
    micro_batch_size : int
        Largest microbatch that comes at once; 0 leaves it open.
    grad_sample_mode : str
        For Opacus.
    devices : int
        Over how many a batch is dealt out; 0 leaves it to the backend.
    planted_alone : bool
        Whether nothing but gradients from elsewhere is clipped, so that no way to clip examples has to be chosen.
    """

    optimizer: Optimizer
    per_layer: bool = False
    count_unclipped: bool = False
    expected_batch_size: int
    summed: int = 0
    multiplicity: int = 1
    rows_of_users: bool = False
    noise_seed: tuple[int, int, int, int]
    noise: NoiseStrategy | None = None
    micro_batch_size: int = 0
    grad_sample_mode: GradSampleMode = "auto"
    devices: int = 0
    planted_alone: bool = False

    def block_rows(self, *, most: int | None = None, multiple: int = 1) -> int:
        """Rows of the blocks in which all examples go through the network, whatever the size of their batch.

        Libraries choose how to add up by the size of a batch. Where an example's gradient is mostly rounding, as of a
        normalised image far from zero, it would change with each example that joins it, by up to twice the
        clipping norm; so every block has the same size, filled up with zeros.

        Parameters
        ----------
        most : int, optional
            Largest block that fits into memory, or that is as fast for each example as a larger one. Where a batch
            takes several, they are as even as a batch of the expected size lets them be, and little of that is filling.
        multiple : int
            Rows come in multiples of this, where a library adds up the last rows of a block differently.
        """
        whole = self.micro_batch_size or usual_batch_size(self.expected_batch_size)
        rows = whole
        if most is not None and most < whole:
            usual = self.micro_batch_size or self.expected_batch_size
            rows = -(-usual // -(-usual // max(1, most)))
        return -(-rows // multiple) * multiple

    def deviation(self, *, noise_multiplier: float, clipping_norm: float) -> float:
        """Standard deviation of the noise, for a sum that is rounded as it is added up."""
        return clipping_norm * drawn_noise(noise_multiplier, terms=self.summed or self.expected_batch_size)


@dataclass(frozen=True, kw_only=True)
class StockSettings:
    """What a user of the library's own training loop would write.

    Attributes
    ----------
    optimizer : SGD or Adam
    keras_optimizer : bool
        Whether to use TF Privacy's optimizer instead of its model.
    clipping_norm, noise_multiplier : float
    batch_size : int
    seed : int
        From operating-system entropy: the libraries' own loops draw batches and noise from one global generator.
    """

    optimizer: Optimizer
    keras_optimizer: bool
    clipping_norm: float
    noise_multiplier: float
    batch_size: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class UserPrivacy:
    """The numbers of a federated mechanism whose unit of privacy is a client.

    Attributes
    ----------
    mechanism : IndependentNoise, TreeAggregation, BandedMatrix or BufferedToeplitz
    noise_multiplier : float
        Standard deviation of the noise on the sum of clipped updates, over the clipping norm; 0 for tests.
    clipping_norm : float
        Of the first round.
    quantile, clip_learning_rate, count_noise : float
        With adaptive clipping: the share of clients that should not be clipped, the step towards it, and the
        standard deviation of the noise on the number of unclipped clients, each counted as +1/2 or -1/2. A
        `clip_learning_rate` of 0 means fixed clipping.
    expected_clients : int
        What the noisy sum is divided by.
    separation : int
        Rounds from one visit of a client to its next, at the least; for correlated noise.
    """

    mechanism: NoiseMechanism
    noise_multiplier: float
    clipping_norm: float
    quantile: float = 0.5
    clip_learning_rate: float = 0.0
    count_noise: float = 0.0
    expected_clients: int
    separation: int = 1

    @property
    def drawn_noise_multiplier(self) -> float:
        """What noise is drawn with, for a sum that is rounded as it is added up."""
        return drawn_noise(self.noise_multiplier, terms=self.expected_clients)

    def strategy(self, *, rounds: int) -> NoiseStrategy:
        """Of what vectors the noise of so many rounds is made, where a library has no such mechanism of its own.

        Raises
        ------
        NotImplementedError
            If the clipping norm is to move, which correlated noise was not made for.
        """
        if self.clip_learning_rate and not isinstance(self.mechanism, IndependentNoise):
            raise NotImplementedError("correlated noise has a fixed clipping norm; use Flat()")
        return noise_strategy(self.mechanism, steps=rounds, separation=self.separation)


@dataclass(frozen=True, kw_only=True)
class FederatedSettings:
    """What is fixed for a whole federated training.

    Attributes
    ----------
    regime : FederatedRegime
    privacy : UserPrivacy, optional
    noise_seed : tuple of int
        Four 32-bit words of operating-system entropy; a test may fix them.
    batch_size : int
        Largest batch of any client.
    """

    regime: FederatedRegime
    privacy: UserPrivacy | None = None
    noise_seed: tuple[int, int, int, int]
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class RoundOutcome:
    """What a library tells of a round beside the new weights. Under privacy it stays private.

    Attributes
    ----------
    update_norm : float, optional
        Mean over the clients of the L2 norm of their updates, before clipping.
    left_out : int
        Clients whose update was not finite and counted as zero, as far as the library tells.
    summed : bool
        Whether enough clients came for a sum.
    bytes_up, bytes_down : int
        Of the messages of secure aggregation, all clients together; 0 where there are none.
    """

    update_norm: float | None = None
    left_out: int = 0
    summed: bool = True
    bytes_up: int = 0
    bytes_down: int = 0


@dataclass(frozen=True, kw_only=True)
class InversionSettings:
    """Gradients of somebody's mean loss, of which the inputs are to be made again (Geiping et al. 2020).

    Attributes
    ----------
    gradients : dict of str to float32 array of shape (k, *shape)
        Of k batches; their lengths do not matter.
    labels : array of shape (k, r) or (k, r, ...)
    start : float32 array of shape (k, r, *x)
    low, high : float32 array of shape (*x)
        Between which inputs lie.
    steps : int
        Of Adam by the sign of the slope.
    total_variation : float
        Weight of the mean difference of neighbouring pixels.
    """

    gradients: Weights
    labels: LabelArray
    start: Floats
    low: Floats
    high: Floats
    steps: int
    total_variation: float
