"""A second opinion on epsilon, by another library's accountant, and whether it can be true."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from trustml.privacy.bounds import epsilon_bounds, epsilon_upper
from trustml.privacy.events import NoiseEvent, mechanisms_of
from trustml.privacy.ledger import Charge
from trustml.privacy.renyi import renyi_epsilon
from trustml.processes import module_command

_TIMEOUT = 120.0
_MOST_POINTS = 4e6
"""Of the accountant's grid: it takes some hundred bytes for each."""
_LARGEST_ERROR = 0.5  # its choice of a grid is said to hold for errors below 1
_DELTA_ERROR = 1e-3  # what Opacus's accountant allows itself by default, relative to delta


@dataclass(frozen=True, kw_only=True)
class SecondOpinion:
    """What another accountant says of a model.

    Attributes
    ----------
    value : float, optional
        Its upper bound; None where there is none, and `why` says why.
    error : float
        How far its estimate may be off, by its own account; the bound is its estimate and this.
    agrees : bool, optional
        Whether the value can be right: not below what is proved from below, nor above what is proved from above by
        more than twice its error.
    why : str
    """

    value: float | None = None
    error: float = 0.0
    agrees: bool | None = None
    why: str = ""


def prv_epsilons(models: Sequence[tuple[Sequence[Charge], float]]) -> list[SecondOpinion]:
    """Ask Opacus's PRV accountant for the epsilon of each model.

    It knows only the Gaussian mechanism on Poisson batches, so give it no others. It is asked for an error of 2 % of
    epsilon, at most 0.01, where a grid of a bounded size can give it; its size is worked out before it is made.

    Parameters
    ----------
    models : sequence of (charges, delta)

    Returns
    -------
    list of SecondOpinion
        One for each model.
    """
    found: list[SecondOpinion | None] = []
    questions, asked = [], []
    for place, (charges, delta) in enumerate(models):
        mechanisms = mechanisms_of([charges])
        error = prv_error(mechanisms, delta=delta)
        if error is None:
            found.append(SecondOpinion(why="Opacus's accountant would need too large a grid for these figures"))
            continue
        found.append(None)
        history = [[m.noise_multiplier, m.sample_rate, m.count] for m in mechanisms]
        questions.append({"delta": delta, "error": error, "history": history})
        asked.append((place, mechanisms, delta, error))
    answers = _asked(questions)
    for number, (place, mechanisms, delta, error) in enumerate(asked):
        if isinstance(answers, str):
            found[place] = SecondOpinion(why=answers)
            continue
        value = answers[number]
        agrees = can_be_right(value, mechanisms, delta=delta, error=error)
        found[place] = SecondOpinion(value=value, error=error, agrees=agrees)
    return [one for one in found if one is not None]


def prv_error(mechanisms: Sequence[NoiseEvent], *, delta: float) -> float | None:
    """Error to ask Opacus's accountant for; None where its grid would be too large to be of use.

    Its grid reaches to an epsilon by Renyi DP at a small part of delta; its interval falls with the root of the steps.
    """
    epsilon = epsilon_upper(mechanisms, delta=delta)[0]
    steps = sum(m.count for m in mechanisms)
    part = delta * _DELTA_ERROR
    single = max(renyi_epsilon([replace(m, count=1)], delta=part / (8 * steps)) for m in mechanisms)
    reach = 3 + max(renyi_epsilon(mechanisms, delta=part / 4), single)
    least = 2 * reach * math.sqrt(steps * math.log(12 / part) / 2) / _MOST_POINTS
    error = max(min(0.01, 0.02 * epsilon), least)
    return error if error <= min(_LARGEST_ERROR, max(0.01, 0.01 * epsilon)) else None


def can_be_right(value: float, mechanisms: Sequence[NoiseEvent], *, delta: float, error: float) -> bool:
    """Whether an accountant's upper bound with this error fits what is proved of epsilon from both sides."""
    low = epsilon_bounds(mechanisms, delta=delta).low
    high = epsilon_upper(mechanisms, delta=delta * (1 - 2 * _DELTA_ERROR))[0]
    return low <= value <= high + 2 * error


def _asked(questions: Sequence[dict[str, object]]) -> list[float] | str:
    if not questions:
        return []
    command = module_command(Path(sys.executable), "trustml.backends.torch.prv")
    try:
        done = subprocess.run(
            command.arguments,
            pass_fds=command.inherited,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            input=msgspec.json.encode(questions),
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"Opacus's accountant did not answer within {_TIMEOUT:.0f} s"
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return f"Opacus's accountant failed: {lines[-1] if lines else 'no message'}"[:300]
    answers: list[float] = msgspec.json.decode(done.stdout, type=list[float])
    return answers
