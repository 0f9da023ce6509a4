"""What a secure aggregation agrees on: how vectors become whole numbers, and how many clients must stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from trustml.errors import UsageError

Bits: TypeAlias = Literal[16, 32, 64]
Words: TypeAlias = npt.NDArray[np.unsignedinteger]
Vector: TypeAlias = npt.NDArray[np.float64]

_SLACK = 2.0**-40  # more than float64 rounds a norm and its products up


@dataclass(frozen=True, kw_only=True)
class SecureAggregation:
    """What clients and server agree on before a round.

    A vector is clipped to an L2 norm, divided by :attr:`step`, rounded towards zero and taken modulo ``2**bits``. With
    this step the sum over all clients cannot wrap around, and rounding towards zero makes no norm larger:
    `clipping_norm` is the sensitivity of the sum, for whoever adds noise to it.

    Parameters
    ----------
    clients : int
        Those that are asked; each is a number from 0.
    threshold : int
        So many must stay to the end: more than half, so that a server that tells clients of different survivors finds
        too few for both accounts.
    clipping_norm : float
    bits : {16, 32, 64}
        Of each number that is sent.

    Raises
    ------
    UsageError
        Where a sum could wrap around, or half of the clients were enough.
    """

    clients: int
    threshold: int
    clipping_norm: float
    bits: Bits = 32

    def __post_init__(self) -> None:
        if self.bits not in (16, 32, 64):
            raise UsageError(f"bits: {self.bits!r} is no size of a word; choose 16, 32 or 64")
        if not 2 <= self.clients < 2 ** (self.bits - 1):
            raise UsageError(f"clients: {self.clients} in {self.bits} bits; give at least 2, or more bits for more")
        if not self.clients < 2 * self.threshold <= 2 * self.clients:
            least = self.clients // 2 + 1
            raise UsageError(f"threshold: {self.threshold} of {self.clients} clients; give {least} to {self.clients}")
        if not 0 < self.clipping_norm < float("inf"):
            raise UsageError(f"clipping_norm: {self.clipping_norm} is no norm; give a number above 0")

    @property
    def levels(self) -> int:
        """Largest whole number that one client sends, by sign."""
        return int((2 ** (self.bits - 1) - 1) // self.clients)

    @property
    def step(self) -> float:
        """What one unit stands for."""
        return self.clipping_norm / self.levels

    @property
    def colluders(self) -> int:
        """Clients that may tell the server all they know, while it keeps to the protocol."""
        return self.threshold - 1

    @property
    def colluders_with_a_liar(self) -> int:
        """Clients that may tell all to a server that lies about who shared and who dropped out.

        Each client answers to one account alone, and to one that `threshold` clients confirm: for two accounts the
        others would have to be ``2 * (threshold - colluders)``, which is more than there are.
        """
        return 2 * self.threshold - self.clients - 1

    def error(self, survivors: int) -> float:
        """Bound of how far each number of a decoded sum is from the sum of the clipped vectors."""
        return survivors * (self.step + 2 * _SLACK * self.clipping_norm)

    def quantised(self, vector: npt.ArrayLike) -> Words:
        """Clip a vector and write it modulo ``2**bits``; one that is not finite counts as zero."""
        given = np.asarray(vector, np.float64).ravel()
        largest = float(np.abs(given).max(initial=0.0))
        if not np.isfinite(largest):
            given, largest = np.zeros_like(given), 0.0
        unit = max(largest, self.clipping_norm)  # keeps squares of large numbers finite
        norm = max(float(np.linalg.norm(given / unit)), self.clipping_norm / unit)
        whole = np.trunc(given / unit * (self.levels / norm * (1 - _SLACK)))
        return whole.astype(np.int64).astype(f"<u{self.bits // 8}")

    def decoded(self, total: Words) -> Vector:
        """Read a sum modulo ``2**bits`` as numbers between minus and plus half of that."""
        return total.view(f"<i{self.bits // 8}").astype(np.float64) * self.step


def protection(settings: SecureAggregation) -> tuple[str, ...]:
    """Say what a round with these settings protects, and what not."""
    return (
        f"A server that keeps to the protocol learns the sum alone, also with {settings.colluders} of the "
        f"{settings.clients} clients on its side; from them it then knows the sum of all others.",
        f"A server that lies about who dropped out learns one sum too, of {settings.threshold} clients at the least, "
        f"with {settings.colluders_with_a_liar} of them on its side; one that hands out keys of its own reads "
        "everything, because nothing vouches for the clients' keys.",
        "A sum is no private release: without noise it may tell of each client, and epsilon counts as if the server "
        "had summed in the clear. Its noise is added by the server, which is trusted with the exact sum.",
        f"Vectors are clipped to norm {settings.clipping_norm:g}, which is the sum's sensitivity, and each number of a "
        f"sum of all clients is within {settings.error(settings.clients):.2g}.",
    )
