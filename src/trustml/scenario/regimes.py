"""How a model is trained: the regimes, as data."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec


class SGD(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stochastic gradient descent.

    Parameters
    ----------
    learning_rate : float
    momentum : float
        In [0, 1): ``v = momentum * v + g`` and ``w = w - learning_rate * v``.
    """

    learning_rate: float = 0.1
    momentum: float = 0.0


class RegimeSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all regimes share.

    Parameters
    ----------
    name : str
        How the run calls this regime; empty means its kind. Two regimes of one kind need two names.
    """

    name: str = ""

    @property
    def title(self) -> str:
        """The name, or the kind where there is none."""
        return self.name or type(self).__name__


class Plain(RegimeSpec, frozen=True, kw_only=True, tag="Plain"):
    """Mini-batch training without privacy: every example once an epoch, in a public shuffled order."""

    epochs: int = 20
    batch_size: int = 32
    optimizer: SGD = SGD()


class DPSGD(RegimeSpec, frozen=True, kw_only=True, tag="DPSGD"):
    """Differentially private SGD with flat per-example clipping (Abadi et al., CCS 2016, arXiv 1607.00133).

    Parameters
    ----------
    epsilon : float, optional
        Target; the noise multiplier is calibrated to it. Give this or `noise_multiplier`.
    noise_multiplier : float, optional
        Standard deviation of the noise on the clipped sum, over `clipping_norm`.
    delta : float
    clipping_norm : float
        Largest L2 norm of one example's gradient.
    epochs : int
        ``epochs * n / batch_size`` steps, rounded up.
    batch_size : int
        *Expected* size of a Poisson batch; ``sample_rate = batch_size / n``. The noisy sum is divided by it.
    sampling : {"poisson"}
        Every example joins every batch on its own with probability ``sample_rate``.
    sampling_seed : int, optional
        Leave it out: batches then come from operating-system entropy and stay secret. A fixed seed makes a
        run repeatable and loses the amplification by sampling; the statement says so.
    """

    epsilon: float | None = None
    noise_multiplier: float | None = None
    delta: float = 1e-5
    clipping_norm: float = 1.0
    epochs: int = 20
    batch_size: int = 64
    optimizer: SGD = SGD()
    sampling: Literal["poisson"] = "poisson"
    sampling_seed: int | None = None


class FedAvg(RegimeSpec, frozen=True, kw_only=True, tag="FedAvg"):
    """Federated averaging, weighted by examples (McMahan et al., AISTATS 2017, arXiv 1602.05629).

    Every client takes part in every round; the split over clients is uniform at random.
    """

    clients: int = 20
    rounds: int = 20
    local_epochs: int = 1
    batch_size: int = 16
    client_optimizer: SGD = SGD()
    server_learning_rate: float = 1.0


Regime: TypeAlias = Plain | DPSGD | FedAvg
