"""What an engine is: a way to do a workload, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from trustml.data.dataset import Floats
from trustml_bench.workloads import Workload, WorkloadKind

Role: TypeAlias = Literal["ours", "floor", "peer"]
Unit: TypeAlias = Callable[[], object]
"""Does one unit of the workload and returns when the result is there. The first call may compile."""
Maker: TypeAlias = Callable[[Workload], Unit]
"""Makes all that is made once, and gives the unit. Raises NotImplementedError, with why, where it cannot."""

DEVICE = "TRUSTML_BENCH_DEVICE"


def device() -> str:
    """What engines of this process compute on: ``cpu``, or ``cuda`` where :data:`DEVICE` says so."""
    return os.environ.get(DEVICE, "cpu")


@dataclass(frozen=True, kw_only=True)
class Work:
    """A :data:`Unit` whose result can be looked at. The makers of :mod:`trustml_bench.engines` give these.

    Attributes
    ----------
    unit : Unit
    outcome : callable
        What the units so far came to, by name: canonical ``weights`` after steps, rounds and epochs;
        ``attributions`` (n, *x); input ``gradients`` (n, *x) of floors; ``logits`` (m, p, c) of shadow models.
        Not part of the work: for checks that engines do the same.
    note : str
        Which way was taken where the maker tried several, and kept the fastest.
    """

    unit: Unit
    outcome: Callable[[], dict[str, Floats]]
    note: str = ""

    def __call__(self) -> object:
        """Do one unit."""
        return self.unit()


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """One way to do some kinds of work.

    Attributes
    ----------
    name : str
        As shown; unique within a kind.
    environment : str
        ``torch``, ``jax``, ``tensorflow``, or an extra one: ``fedjax``, ``flower``.
    maker : str
        ``module:function`` of a :data:`Maker`, the module below ``trustml_bench.engines``; ``module:function:word``
        where the function takes a word before the workload.
    kinds : tuple of str
    role : str
        ``ours`` for trustml as its users run it, ``floor`` for the best that the framework can do for work without
        privacy or explanations, ``peer`` for another library as its documentation drives it.
    full : bool
        Whether only the long form of the benchmark runs it.
    tries : bool
        Whether it tries several ways when it is made and keeps the fastest, and so must start alone.
    """

    name: str
    environment: str
    maker: str
    kinds: tuple[WorkloadKind, ...]
    role: Role
    full: bool = False
    tries: bool = False
