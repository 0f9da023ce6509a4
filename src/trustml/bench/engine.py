"""What an engine is: a way to do a workload, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from trustml.bench.workloads import Kind, Workload

Role: TypeAlias = Literal["ours", "floor", "peer"]
Unit: TypeAlias = Callable[[], object]
"""Does one unit of the workload and returns when the result is there. The first call may compile."""
Maker: TypeAlias = Callable[[Workload], Unit]
"""Makes all that is made once, and gives the unit. Raises NotImplementedError, with why, where it cannot."""


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """One way to do some kinds of work.

    Attributes
    ----------
    name : str
        As shown; unique within a kind.
    environment : str
        ``torch``, ``jax``, ``tensorflow``, or an extra one: ``fedjax``, ``flower``.
    maker : str
        ``module:function`` of a :data:`Maker`, the module below ``trustml.bench.engines``.
    kinds : tuple of str
    role : str
        ``ours`` for trustml as its users run it, ``floor`` for the best that the framework can do for work without
        privacy or explanations, ``peer`` for another library as its documentation drives it.
    full : bool
        Whether only the long form of the benchmark runs it.
    """

    name: str
    environment: str
    maker: str
    kinds: tuple[Kind, ...]
    role: Role
    full: bool = False
