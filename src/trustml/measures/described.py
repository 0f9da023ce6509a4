"""What every measure says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a measure is.

    Attributes
    ----------
    unit : str
    better : {"higher", "lower", "neither"}
    title : str
        For headings.
    meaning : str
        One sentence, with the source where there is one.
    """

    unit: str
    better: Literal["higher", "lower", "neither"]
    title: str
    meaning: str
