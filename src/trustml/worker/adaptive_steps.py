"""A library's own integrated gradients with as many points as the completeness error asked for takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import numpy as np

from trustml.attribution.asking import Doubles
from trustml.attribution.subdivision import relative_errors
from trustml.backends.contract import Attributions, Backend, ExplainRequest
from trustml.scenario.methods import IntegratedGradients

_FEWEST = 4


@dataclass(frozen=True, kw_only=True)
class Enough:
    """What was asked of the library last, and all that was tried.

    Attributes
    ----------
    request : ExplainRequest
        With the number of points that is enough, or the most allowed.
    attributions : Attributions
    tried : tuple of int
        Numbers of points, in order. No rule of these libraries holds the points of a smaller one, so that each
        example took the sum of all in forward and backward passes.
    """

    request: ExplainRequest
    attributions: Attributions
    tried: tuple[int, ...]


def explain_to_error(
    backend: Backend, request: ExplainRequest, method: IntegratedGradients, changes: Doubles
) -> Enough:
    """Double the points until the worst example is good enough; `changes` is as in the common lane."""
    tried: list[int] = []
    while True:
        n_steps = min(method.n_steps, tried[-1] * 2 if tried else _FEWEST)
        asked = replace(request, method=msgspec.structs.replace(method, n_steps=n_steps))
        found = backend.explain(asked)
        tried.append(n_steps)
        errors = relative_errors(found.get("completed", found["native"]), changes)
        if n_steps == method.n_steps or np.max(errors) <= method.max_completeness_error:
            return Enough(request=asked, attributions=found, tried=tuple(tried))
