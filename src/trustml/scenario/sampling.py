"""Settings drawn from ranges of fields: by a Sobol sequence, which fills them evenly, or at random."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from trustml.errors import UsageError

MOST_DRAWN = 4096
NO_TOML = (ValueError, RecursionError)
"""What reading TOML raises: also for a whole number of thousands of digits, and for lists within lists without end."""
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(:log)?")
_MOST_DIGITS = 15  # of a whole number: a float holds each of those
_LONGEST = 40  # characters of a number
_LARGEST = 1e300  # and the reciprocal of the smallest: what is computed of both ends has room
_DIGITS = 6  # significant ones of a drawn number: a setting is to be read, and written again


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """From where to where a field is drawn.

    Parameters
    ----------
    low, high : float or int
        Both may be drawn; whole numbers are drawn where both are.
    log : bool
        Whether evenly in the logarithm.
    """

    low: float | int
    high: float | int
    log: bool = False


Domain: TypeAlias = Range | tuple[float | int | str | bool | None, ...]
"""Whence a field's values are drawn: a range, or some values of which each is as likely."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """How many settings of each regime are drawn, and how.

    Parameters
    ----------
    count : int
    by : {"sobol", "random"}
    seed : int
        Of a seed, the first settings of a larger sample are those of a smaller one.
    """

    count: int
    by: Literal["sobol", "random"] = "sobol"
    seed: int = 0


def sample_of(override: str) -> Sample | None:
    """Read ``sample=64``, ``sample=random:64`` or ``sample=sobol:64:7``, whose last number is a seed; None for others.

    Raises
    ------
    UsageError
    """
    path, _, text = override.partition("=")
    if path.strip() != "sample":
        return None
    found = re.fullmatch(r"(?:(sobol|random):)?(\d{1,6})(?::(\d{1,9}))?", text.strip())
    if found is None or not 2 <= int(found[2]) <= MOST_DRAWN:
        fix = f"write a number from 2 to {MOST_DRAWN:,}, or sobol:64, random:64, random:64:SEED"
        raise UsageError(f"--sample {text!r}: is no sample; {fix}")
    by: Literal["sobol", "random"] = "random" if found[1] == "random" else "sobol"
    return Sample(count=int(found[2]), by=by, seed=int(found[3] or 0))


def range_of(override: str) -> tuple[str, Range] | None:
    """Read ``training.1.optimizer.learning_rate=0.01..1:log`` as a field of regimes and its range; None for others.

    Raises
    ------
    UsageError
        If there is nothing between its ends, or no logarithm of them.
    """
    path, _, text = override.partition("=")
    found = _RANGE.fullmatch(text.strip())
    if found is None or not path.strip().startswith("training."):
        return None
    low, high = (_number(end, override=override) for end in found.group(1, 2))
    if not low < high:
        raise UsageError(f"{override}: its lower end is not below its upper one; write 0.01..1, the smaller first")
    if found[3] and low <= 0:
        raise UsageError(f"{override}: only positive numbers have logarithms; begin above 0, or leave :log out")
    return path.strip(), Range(low=low, high=high, log=bool(found[3]))


def _number(text: str, *, override: str) -> float | int:
    whole = re.fullmatch(r"[-+]?0*(\d+)", text)
    if len(text) <= _LONGEST and (whole is None or len(whole[1]) <= _MOST_DIGITS):
        value = float(text)
        if 1 / _LARGEST <= abs(value) <= _LARGEST or not re.search("[1-9]", re.split("[eE]", text)[0]):
            return value if whole is None else int(text)
    shown = text if len(text) <= _LONGEST else f"{text[:10]}..."
    whole_ones, others = f"a whole number of at most {_MOST_DIGITS} digits", f"{1 / _LARGEST:g} to {_LARGEST:g}"
    field = override.partition("=")[0].strip()
    raise UsageError(f"{field}: {shown} is no end of a range; write {whole_ones}, or another from {others}")


def drawn(domains: Mapping[str, Domain], sample: Sample) -> list[tuple[float | int | str | bool | None, ...]]:
    """Draw settings, each a value for every field in order; those that come out alike are there once.

    A Sobol sequence is scrambled by the seed. Its evenness is that of powers of two.
    """
    import numpy as np
    from scipy.stats import qmc

    if sample.by == "sobol":
        whole = 2 ** math.ceil(math.log2(sample.count))
        points = qmc.Sobol(len(domains), scramble=True, seed=sample.seed).random(whole)[: sample.count]
    else:
        points = np.random.default_rng(sample.seed).random((sample.count, len(domains)))
    found = [
        tuple(_value(domain, float(at)) for domain, at in zip(domains.values(), point, strict=True)) for point in points
    ]
    return list(dict.fromkeys(found))


def _value(domain: Domain, at: float) -> float | int | str | bool | None:
    """The value that lies at a point of [0, 1)."""
    if not isinstance(domain, Range):
        return domain[min(int(at * len(domain)), len(domain) - 1)]
    low, high = domain.low, domain.high
    whole = isinstance(low, int) and isinstance(high, int)
    if whole:
        low, high = (low, high + 1) if not domain.log else (low - 0.5, high + 0.5)  # each whole number has its share
    if domain.log:  # by logarithms throughout: the quotient of the ends may be no number
        value = math.exp(math.log(low) + (math.log(high) - math.log(low)) * at)
    else:
        value = low + (high - low) * at
    if whole:
        rounded = math.floor(value) if not domain.log else round(value)
        return int(min(max(rounded, domain.low), domain.high))
    return min(max(float(f"{value:.{_DIGITS}g}"), float(domain.low)), float(domain.high))
