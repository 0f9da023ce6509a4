"""By what an epsilon is proved: names alone, for records that are read without computing any."""

from __future__ import annotations

from typing import Literal, TypeAlias

BoundKind: TypeAlias = Literal[
    "closed form of the Gaussian mechanism",
    "closed form over the number of batches an example is in",
    "PLD on a grid, every truncation and rounding charged",
    "RDP",
    "nothing was released",
]
CLOSED_FORM: BoundKind = "closed form of the Gaussian mechanism"
PARTICIPATION: BoundKind = "closed form over the number of batches an example is in"
GRID: BoundKind = "PLD on a grid, every truncation and rounding charged"
RENYI: BoundKind = "RDP"
NOTHING: BoundKind = "nothing was released"
