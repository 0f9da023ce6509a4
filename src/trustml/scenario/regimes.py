"""How a model is trained: the regimes, as data."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

import msgspec

from trustml.ranges import Count, CountOrNone, Delta, Inside, Positive
from trustml.scenario.clipping import Clipping, Flat
from trustml.scenario.federated import DPFedAvg, FederatedRegime, IndependentNoise, NoiseMechanism, PrivateClients
from trustml.scenario.optimizers import SGD, Optimizer, Schedule
from trustml.scenario.regime import RegimeSpec
from trustml.scenario.trainable import Trainable

Sampling: TypeAlias = Annotated[
    Literal["poisson", "shuffle", "fixed", "in turn", "cyclic poisson"],
    msgspec.Meta(
        extra={
            "fix": "choose one of poisson, shuffle, fixed, in turn, cyclic poisson; none is weighted, as examples that "
            "are drawn more often would lose more privacy: use task.class_weights"
        }
    ),
]
Engine: TypeAlias = Literal["core", "stock", "stock_optimizer"]

Unit: TypeAlias = Literal["example", "user"]
Kept: TypeAlias = Literal["schedule", "clipping", "noise"]


class Ablation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The steps of a private regime, of whose clipping and noise at most one is left: the other tells what it does.

    Nothing that comes of it is private. Batches are drawn by the same rule but from a public stream: those of the
    private model stay secret, unless it has a `sampling_seed`, whose batches are public and are taken.

    Parameters
    ----------
    of : str
        Title of a regime `DPSGD`, whose batches, divisor, optimizer and number of steps are taken.
    keeps : {"schedule", "clipping", "noise"}
        ``"schedule"``: neither clipping nor noise. ``"clipping"``: each example's gradient is clipped, and no noise
        is added. ``"noise"``: as much noise as the private model gets, in absolute size, on gradients that are not
        clipped.
    """

    of: str
    keeps: Kept = "schedule"


MOST_OF_ONE = 1024
"""Copies of an example, or rows of a user, that make one gradient at the most: they go through a network together."""


class Augmentation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shifted and mirrored copies of images, in place of each image of a batch; held-out images stay as they are.

    The copies' gradients are averaged, under privacy *before* clipping, so that privacy is that of one copy (De et al.,
    2022, arXiv 2204.13650, section 3.2). What is drawn follows from the seed of the run, and for a private regime from
    the same source as its batches; it is the same in all backends, and for an image whoever else is in the batch.

    Parameters
    ----------
    multiplicity : int
        Copies of each example in a batch, 1024 at the most. Of several the first is the example itself; a single one
        is shifted and mirrored as is usual without privacy.
    shift : int
        Largest shift of an image in pixels, up, down, left and right: as padding it by so many, and a random crop.
    flip : bool
        Whether images are mirrored left to right half of the time.
    border : {"zeros", "reflect"}
        What comes in from outside: zeros of the inputs as they are trained on, whatever they mean after a scaling; or
        the image mirrored at its edge, which is the same before and after a scaling.
    """

    multiplicity: Count = 4
    shift: CountOrNone = 1
    flip: bool = False
    border: Literal["zeros", "reflect"] = "zeros"


class Plain(RegimeSpec, frozen=True, kw_only=True, tag="Plain"):
    """Mini-batch training without privacy: every example once an epoch, in a public shuffled order.

    Parameters
    ----------
    epochs, batch_size : int
    optimizer : SGD or Adam
    schedule : Schedule
    stop_at : str
        Title of another regime: training ends as soon as the held-out accuracy is that of its model, of the
        same backend and seed. The control that tells privacy from low accuracy.
    random_labels : bool
        Train on permuted labels: the data randomisation test (Adebayo et al., NeurIPS 2018, arXiv 1810.03292).
    augmentation : Augmentation, optional
    trainable : tuple of Head, NormsAndBiases, Named or LoRA
        What is trained; everything by default. All other weights keep their starting values.
    from_seed : bool
        Start from weights of the seed, whatever the scenario's `start`.
    ablation : Ablation, optional
        Take the steps of a private regime without its noise, its clipping, or both. All other fields are left out.
    """

    epochs: Count = 20
    batch_size: Count = 32
    optimizer: Optimizer = SGD()
    schedule: Schedule = Schedule()
    stop_at: str = ""
    random_labels: bool = False
    augmentation: Augmentation | None = None
    trainable: tuple[Trainable, ...] = ()
    from_seed: bool = False
    ablation: Ablation | None = None

    @property
    def title(self) -> str:
        """The name, or the kind where there is none; of an ablation what it keeps of which regime."""
        if self.ablation is None or self.name:
            return super().title
        return f"{self.ablation.of}-{self.ablation.keeps}"

    @property
    def is_control(self) -> bool:
        """Whether it is trained otherwise than a plain model would be, to be compared with one."""
        return bool(self.stop_at or self.random_labels or self.ablation)


class DPSGD(RegimeSpec, frozen=True, kw_only=True, tag="DPSGD"):
    """Differentially private SGD (Abadi et al., CCS 2016, arXiv 1607.00133).

    Parameters
    ----------
    epsilon : float, optional
        Target; the noise multiplier is calibrated to it. Give this or `noise_multiplier`.
    noise_multiplier : float, optional
        Standard deviation of the noise on the clipped sum, over `clipping_norm`.
    delta : float
    clipping_norm : float
        Largest L2 norm of one example's gradient; with adaptive clipping, the norm of the first step.
    clipping : Flat, PerLayer or Adaptive
    epochs, steps : int, optional
        Give one of them; an epoch is ``n / batch_size`` steps, rounded up over all epochs. Neither means
        20 epochs.
    batch_size : int
        *Expected* size of a batch; ``sample_rate = batch_size / n``. The noisy sum is divided by it, however
        many examples were drawn.
    sampling : {"poisson", "shuffle", "fixed", "in turn", "cyclic poisson"}
        ``"poisson"``: every example joins every batch on its own with probability ``sample_rate``.
        ``"shuffle"``: a fresh order each epoch, cut into batches; no amplification is claimed for it.
        ``"fixed"``: every batch is a fresh uniform subset of `batch_size` examples.
        ``"in turn"``: one random order, cut into batches that come in the same order every epoch.
        ``"cyclic poisson"``: every example is put in one of as many groups as the noise has bands, at random and for
        good; each step draws from the next group as ``"poisson"`` does from all, so many times as often.
    mechanism : IndependentNoise, TreeAggregation, BandedMatrix or BufferedToeplitz
        How the noise of the steps hangs together. All but the first need ``sampling="in turn"``; `BandedMatrix` also
        takes ``sampling="cyclic poisson"``, which amplifies it.
    sampling_seed : int, optional
        Leave it out: batches then come from operating-system entropy and stay secret. A seed
        publishes them, which loses the amplification by sampling, as the statement says. It does not make a run
        repeatable: noise is drawn anew.
    optimizer : SGD or Adam
    schedule : Schedule
    ema_decay : float, optional
        The result is an exponential moving average of the weights with this decay (0.999, say).
    augmentation : Augmentation, optional
    trainable : tuple of Head, NormsAndBiases, Named or LoRA
        What is trained; everything by default. All other weights keep their starting values, and get neither a share of
        the clipping norm nor noise.
    from_seed : bool
        Start from weights of the seed, whatever the scenario's `start`.
    engine : {"core", "stock", "stock_optimizer"}
        ``"core"``: the library's clipping and noise on batches that the core draws, so that all backends do
        the same. ``"stock"``: the library as its documentation drives it (``make_private`` with its own
        loader; ``DPSequential.fit``), to see what the defaults give. ``"stock_optimizer"``: TF Privacy's
        ``DPKerasSGDOptimizer``.
    unit : {"example", "user"}
        What is protected. Of users, `batch_size`, `epochs` and batches count users, and a user's gradient is the mean
        over at most `rows_per_user` of its rows, clipped as one.
    key : str or tuple of str
        Column of the data, or columns, whose values tell users apart; each must be named in ``data.keys``. With
        ``unit="example"`` it adds what epsilon is for all rows of a user together (group privacy).
    rows_per_user : int
        Rows of a user that go into one step, 1024 at the most; of a user with more a subset is drawn anew each time.
    """

    epsilon: Positive | None = None
    noise_multiplier: Positive | None = None
    delta: Delta = 1e-5
    clipping_norm: Positive = 1.0
    clipping: Clipping = Flat()
    epochs: Count | None = None
    steps: Count | None = None
    batch_size: Count = 64
    sampling: Sampling = "poisson"
    mechanism: NoiseMechanism = IndependentNoise()
    sampling_seed: CountOrNone | None = None
    optimizer: Optimizer = SGD()
    schedule: Schedule = Schedule()
    ema_decay: Inside | None = None
    augmentation: Augmentation | None = None
    trainable: tuple[Trainable, ...] = ()
    from_seed: bool = False
    engine: Engine = "core"
    unit: Unit = "example"
    key: str | tuple[str, ...] = ()
    rows_per_user: Count = 8

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Columns that tell users apart; empty where none are named."""
        return ((self.key,) if self.key else ()) if isinstance(self.key, str) else tuple(self.key)

    def total_steps(self, examples: int) -> int:
        """Steps over `examples` training examples, or over so many users where the unit is one."""
        if self.steps is not None:
            return self.steps
        epochs = 20 if self.epochs is None else self.epochs
        if self.sampling in ("shuffle", "in turn"):
            return epochs * math.ceil(examples / self.batch_size)
        return math.ceil(epochs * examples / self.batch_size)

    def differs_in_noise_alone(self, other: DPSGD) -> bool:
        """Whether another regime takes the same steps with more noise, or less."""
        guarantee = dict.fromkeys(("epsilon", "noise_multiplier", "sampling_seed"), None) | {"name": "", "delta": 1e-5}
        return msgspec.structs.replace(self, **guarantee) == msgspec.structs.replace(other, **guarantee)


PrivateRegime: TypeAlias = DPSGD | PrivateClients | DPFedAvg
Regime: TypeAlias = Plain | DPSGD | PrivateClients | FederatedRegime
