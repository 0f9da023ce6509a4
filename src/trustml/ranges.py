"""Ranges of values as types: what reads a scenario refuses the rest, and its JSON schema names them."""

from __future__ import annotations

import sys
from typing import Annotated, TypeAlias

from msgspec import Meta

_LARGEST = sys.float_info.max  # so that infinity is none, and no number of JSON is beyond

Count: TypeAlias = Annotated[int, Meta(ge=1)]
"""At least one."""
CountOrNone: TypeAlias = Annotated[int, Meta(ge=0)]
"""None or more; a seed too."""
Several: TypeAlias = Annotated[int, Meta(ge=2)]
Positive: TypeAlias = Annotated[float, Meta(gt=0, le=_LARGEST)]
NotNegative: TypeAlias = Annotated[float, Meta(ge=0, le=_LARGEST)]
Inside: TypeAlias = Annotated[float, Meta(gt=0, lt=1)]
"""Between 0 and 1, and neither."""
BelowOne: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
"""From 0, below 1."""
AboveNone: TypeAlias = Annotated[float, Meta(gt=0, le=1)]
"""Above 0, up to 1."""
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
"""From 0 to 1."""
Confidence: TypeAlias = Annotated[float, Meta(ge=0.5, lt=1, extra={"fix": "use 0.95 or 0.99"})]
Delta: TypeAlias = Annotated[float, Meta(gt=0, lt=1, extra={"fix": "use 0 < delta < 1/n"})]
MeanRuns: TypeAlias = Annotated[float, Meta(ge=1, le=1000)]
"""Mean of a random number of runs: below 1 nothing is known of its cost, and nobody waits for more than 1000."""
Sides: TypeAlias = tuple[Count, Count]
"""Rows and columns."""
AT_LEAST_ONE = Meta(min_length=1)
"""For what must not be empty."""
