"""Which model was audited: a hash of its weights, of its file, or of its answers to a probe that anybody can make."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trustml.auditing.models import Array, Target
from trustml.auditing.result import ModelIdentity
from trustml.errors import DataError
from trustml.record.files import arrays_digest

PROBE_EXAMPLES = 8
DECIMALS = 3
_EMPTY = arrays_digest(())


def identity_of(
    target: Target,
    *,
    shape: tuple[int, ...] = (),
    dtype: str = "",
    parts: tuple[str, ...] = (),
    columns: tuple[str, ...] = (),
) -> ModelIdentity:
    """Identify a model.

    Parameters
    ----------
    target : Target
    shape, dtype : tuple of int and str
        Of one input, for models whose arrays cannot be reached and which are asked; empty where there is no example.
    parts : tuple of str
        Names of the parts that inputs are a stack of, which the target was made for.
    columns : tuple of str
        Names of the columns of the tables that the target was made for.

    Raises
    ------
    DataError
        If the model would have to be asked and cannot be, or does not answer twice alike.
    Exception
        Whatever a stranger's model raises.
    """
    if target.file_digest:
        return ModelIdentity(kind="file", sha256=target.file_digest, source=target.source)
    if target.live is not None:
        digest = target.live.digest()
        if digest != _EMPTY:  # a module may hold its arrays elsewhere, and all such would be one model
            return ModelIdentity(kind="weights", sha256=digest, parts=parts)
    if not shape:
        raise DataError("model: has no arrays to hash, and no example says what its inputs look like")
    probe = probe_of((PROBE_EXAMPLES, *shape), dtype)
    first, again = (_answers_digest(target, probe) for _ in range(2))
    if first != again:
        raise DataError("model: does not give the same answers twice, so that they do not identify it")
    return ModelIdentity(
        kind="answers",
        sha256=first,
        source=target.source,
        shape=probe.shape,
        dtype=dtype,
        parts=parts,
        columns=columns,
    )


def probe_of(shape: tuple[int, ...], dtype: str) -> Array:
    """Draw the probe: numbers between 0 and 1, or zeros and ones for whole numbers.

    Raises
    ------
    DataError
        If inputs of this type are no numbers.
    """
    kind = np.dtype(dtype)
    generator = np.random.default_rng(0)
    if kind.kind == "f":
        return generator.random(shape).astype(kind)
    if kind.kind in "iub":
        return generator.integers(0, 2, shape).astype(kind)
    raise DataError(f"model: inputs of type {dtype} are no numbers that a probe could be drawn of")


def _answers_digest(target: Target, probe: Array) -> str:
    # One float32 more or less must not make another model; adding 0 turns -0 into 0.
    parts = [target.ask(probe[start : start + target.batch_size]) for start in range(0, len(probe), target.batch_size)]
    answers: npt.NDArray[np.float64] = np.concatenate([np.asarray(part) for part in parts]).astype(np.float64)
    return arrays_digest([("answers", answers.round(DECIMALS) + 0.0)])
