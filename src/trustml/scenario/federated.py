"""Federated regimes, as data: a model that travels, examples that stay."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from trustml.ranges import AboveNone, BelowOne, Count, CountOrNone, Delta, NotNegative, Positive
from trustml.scenario.clipping import Adaptive, Flat
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import IID, Cohort, Everyone, Partition
from trustml.scenario.regime import RegimeSpec

Weighting: TypeAlias = Literal["examples", "uniform"]
Aggregation: TypeAlias = Literal["mean", "masked", "robust", "compressed", "secure"]


class FederatedSpec(RegimeSpec, frozen=True, kw_only=True):
    """What all federated regimes share.

    Parameters
    ----------
    partition : Partition
        Who holds which examples.
    cohort : Cohort
        Who takes part in a round.
    rounds : int
    server_learning_rate : float
    evaluate_every : int
        Rounds between two looks at the held-out examples; the last round is always looked at.
    target_accuracy : float
        For the measure ``rounds_to_target``.
    """

    partition: Partition = IID()
    cohort: Cohort = Everyone()
    rounds: Count = 20
    server_learning_rate: Positive = 1.0
    evaluate_every: Count = 1
    target_accuracy: AboveNone = 0.9


class LocalSpec(FederatedSpec, frozen=True, kw_only=True):
    """Clients that train on their own before they answer.

    Parameters
    ----------
    local_epochs, batch_size : int
    client_optimizer : SGD
    weighting : {"examples", "uniform"}
        What a client's update weighs in the average: its examples, or as much as any other's.
    """

    local_epochs: Count = 1
    batch_size: Count = 16
    client_optimizer: SGD = SGD()
    weighting: Weighting = "examples"


class FedAvg(LocalSpec, frozen=True, kw_only=True, tag="FedAvg"):
    """Federated averaging (McMahan et al., AISTATS 2017, arXiv 1602.05629).

    Parameters
    ----------
    server_momentum : float
        FedAvgM (Hsu et al. 2019) where it is not 0.
    aggregation : {"mean", "masked", "robust", "compressed", "secure"}
        ``"mean"``; ``"masked"``, secure aggregation with real masks, in which the server learns the sum of those who
        stay and no update (:mod:`trustml.privacy.secure_aggregation`); or one of TFF's own aggregators: ``"robust"``
        zeroes and clips outliers by adaptive norms, ``"compressed"`` does the same and quantises weight tensors of more
        than 20,000 values to 8 bits, ``"secure"`` does the same and sums in fixed point as secure aggregation would.
        The last is a simulation of the numbers alone: nothing is hidden from anybody.
    clipping_norm : float, optional
        With ``aggregation="masked"``, where it must be given: largest L2 norm of an update that is sent, as masked
        words have a range. Nobody sees who is clipped, so leave room above the updates of ``aggregation="mean"``.
    """

    server_momentum: BelowOne = 0.0
    aggregation: Aggregation = "mean"
    clipping_norm: Positive | None = None


class FedProx(LocalSpec, frozen=True, kw_only=True, tag="FedProx"):
    """FedAvg with ``proximal / 2 * ||w - w_global||**2`` added to each client's loss (Li et al., MLSys 2020).

    Parameters
    ----------
    proximal : float
        Called mu in the paper, arXiv 1812.06127.
    """

    proximal: NotNegative = 0.01


class FedAdam(LocalSpec, frozen=True, kw_only=True, tag="FedAdam"):
    """Adam at the server, on the average update as a gradient (Reddi et al., ICLR 2021, arXiv 2003.00295).

    The step is ``learning_rate * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + stabilizer)``: with bias
    correction, as TFF does it (the paper has none, and PyTorch adds the stabilizer to the corrected root).

    Parameters
    ----------
    beta1, beta2, stabilizer : float
        The paper calls the last one tau, the degree of adaptivity.
    """

    server_learning_rate: Positive = 0.01
    beta1: BelowOne = 0.9
    beta2: BelowOne = 0.99
    stabilizer: Positive = 1e-3


class FedYogi(LocalSpec, frozen=True, kw_only=True, tag="FedYogi"):
    """Yogi at the server: as FedAdam, but ``v -= (1 - beta2) * g**2 * sign(v - g**2)`` (Reddi et al. 2021).

    Parameters
    ----------
    beta1, beta2, stabilizer : float
    initial_accumulator : float
        First ``v``.
    """

    server_learning_rate: Positive = 0.01
    beta1: BelowOne = 0.9
    beta2: BelowOne = 0.99
    stabilizer: Positive = 1e-3
    initial_accumulator: NotNegative = 1e-6


class FedAdagrad(LocalSpec, frozen=True, kw_only=True, tag="FedAdagrad"):
    """Adagrad at the server: ``v += g**2``, ``w -= learning_rate * g / sqrt(v + stabilizer)`` (Reddi et al. 2021).

    The stabilizer is inside the root, as in TFF; PyTorch has it outside.

    Parameters
    ----------
    stabilizer, initial_accumulator : float
    """

    server_learning_rate: Positive = 0.01
    stabilizer: Positive = 1e-7
    initial_accumulator: NotNegative = 0.1


class FedSGD(FederatedSpec, frozen=True, kw_only=True, tag="FedSGD"):
    """One gradient of each client on all its examples, averaged by examples (McMahan et al. 2017).

    Parameters
    ----------
    server_momentum : float
    """

    server_learning_rate: Positive = 0.1
    server_momentum: BelowOne = 0.0


class MechanismSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """How the server's noise hangs together over rounds."""


class IndependentNoise(MechanismSpec, frozen=True, kw_only=True, tag="independent"):
    """Fresh Gaussian noise in every round (McMahan et al., ICLR 2018, arXiv 1710.06963)."""


class TreeAggregation(MechanismSpec, frozen=True, kw_only=True, tag="tree"):
    """DP-FTRL by tree aggregation (Kairouz et al., ICML 2021, arXiv 2103.00039): noise on the nodes of a tree.

    Needs no sampling at all; clients or batches come in turn. TFF has it for clients. It is *not* the mechanism of
    `BandedMatrix`.
    """


class BandedMatrix(MechanismSpec, frozen=True, kw_only=True, tag="banded"):
    """DP-FTRL by banded matrix factorisation (Choquette-Choo et al., NeurIPS 2023, arXiv 2306.08153).

    Clients or batches come in turn, and noise is correlated over no more rounds than lie between two visits of one; or
    batches are drawn by ``sampling="cyclic poisson"``, which amplifies. pfl optimises a matrix of its own for clients;
    all else has the best banded Toeplitz matrix (McKenna, 2024, arXiv 2405.15913). It is *not* the mechanism of
    `TreeAggregation`.

    Parameters
    ----------
    bands : int, optional
        Rounds over which noise is correlated; one less vectors of the model's size are kept. Neither more than lie
        between two visits nor, left out, more than 16; pfl's own matrix takes as many as it can, and is asked only
        where this is left out. With ``sampling="cyclic poisson"`` it is the number of groups, too; left out, it is
        doubled from 1, which is DP-SGD, to 16 as long as running sums err less at the same epsilon.
    """

    bands: Count | None = None


class BufferedToeplitz(MechanismSpec, frozen=True, kw_only=True, tag="blt"):
    """DP-FTRL by buffered linear Toeplitz matrices, BLT (McMahan, Xu and Zhang, 2024, arXiv 2408.08868).

    Clients or batches come in turn, and noise is correlated over all rounds by a few buffers that decay.

    Parameters
    ----------
    buffers : int
        Vectors of the model's size that are kept.
    """

    buffers: Count = 4


NoiseMechanism: TypeAlias = IndependentNoise | TreeAggregation | BandedMatrix | BufferedToeplitz


class DPFedAvg(FederatedSpec, frozen=True, kw_only=True, tag="DPFedAvg"):
    """Federated averaging that is differentially private for users (McMahan et al., ICLR 2018, arXiv 1710.06963).

    Each client's update is clipped, the server adds noise to their sum once and divides by the *expected*
    number of clients. Clients weigh alike.

    Parameters
    ----------
    epsilon : float, optional
        Target; the noise multiplier is calibrated to it. Give this or `noise_multiplier`.
    noise_multiplier : float, optional
        Standard deviation of the noise on the sum of clipped updates, over `clipping_norm`.
    delta : float
    clipping_norm : float
        Largest L2 norm of one client's update; with adaptive clipping, that of the first round.
    clipping : Flat or Adaptive
    mechanism : IndependentNoise, TreeAggregation, BandedMatrix or BufferedToeplitz
    local_epochs, batch_size : int
    client_optimizer : SGD
    server_momentum : float
    sampling_seed : int, optional
        Leave it out: cohorts are then drawn from operating-system entropy and stay secret. A seed publishes them,
        which loses the amplification by sampling, and does not make a run repeatable: noise is drawn anew.
    """

    epsilon: Positive | None = None
    noise_multiplier: Positive | None = None
    delta: Delta = 1e-5
    clipping_norm: Positive = 1.0
    clipping: Flat | Adaptive = Flat()
    mechanism: NoiseMechanism = IndependentNoise()
    local_epochs: Count = 1
    batch_size: Count = 16
    client_optimizer: SGD = SGD()
    server_momentum: BelowOne = 0.0
    sampling_seed: CountOrNone | None = None


class PrivateClientsSpec(FederatedSpec, frozen=True, kw_only=True):
    """Clients whose updates are private before they leave: nobody else is trusted, the server least of all.

    Who takes part follows from a public seed, as the server sees it. The server adds up what it is sent and divides by
    the number of clients that sent something; clients weigh alike.

    Parameters
    ----------
    epsilon : float, optional
        Target for the client that takes part most; the noise multiplier is calibrated to it. Give this or
        `noise_multiplier`.
    noise_multiplier : float, optional
        Standard deviation of the noise over `clipping_norm`.
    delta : float
    clipping_norm : float
    batch_size : int
    client_optimizer : SGD
    server_momentum : float
    """

    epsilon: Positive | None = None
    noise_multiplier: Positive | None = None
    delta: Delta = 1e-5
    clipping_norm: Positive = 1.0
    batch_size: Count = 16
    client_optimizer: SGD = SGD()
    server_momentum: BelowOne = 0.0


class SiloDPFedAvg(PrivateClientsSpec, frozen=True, kw_only=True, tag="SiloDPFedAvg"):
    """Federated averaging of clients that take steps of DP-SGD: record-level privacy in each silo.

    Called inter-silo record-level DP, or silo-specific example-level DP (Lowy and Razaviyayn, ICLR 2023,
    arXiv 2106.09779; Liu et al., NeurIPS 2022, arXiv 2206.07902; Noble et al., AISTATS 2022, arXiv 2111.09278). An
    example is protected from everybody but its own client. All that a client does but its draws is public and the same
    for every client, whatever it holds: steps, sample rate, and the divisor.

    Parameters
    ----------
    clipping_norm : float
        Largest L2 norm of one example's gradient.
    local_steps : int
        Steps of a client in a round.
    batch_size : int
        Expected size of a batch of a client of mean size, n examples over their clients, rounded down; every example
        joins every batch of its client with probability ``batch_size / mean size``, and every noisy sum is divided by
        `batch_size`. So whoever holds more moves further.
    """

    local_steps: Count = 10


class LocalDPFedAvg(PrivateClientsSpec, frozen=True, kw_only=True, tag="LocalDPFedAvg"):
    """Federated averaging under local privacy: each client clips its update and adds noise before it is sent.

    The unit is a client, as in `DPFedAvg`, but every client adds as much noise by itself as the server adds to the sum
    there (Geyer et al. 2017; Flower's ``LocalDpMod`` is of this kind). Over rounds it adds up: the server sees who
    takes part, so nothing is amplified.

    Parameters
    ----------
    clipping_norm : float
        Largest L2 norm of one client's update.
    local_epochs : int
    """

    local_epochs: Count = 1


PrivateClients: TypeAlias = SiloDPFedAvg | LocalDPFedAvg
FederatedRegime: TypeAlias = FedAvg | FedProx | FedAdam | FedYogi | FedAdagrad | FedSGD | DPFedAvg
