"""What is run: groups of engines that live at the same time and take turns, so that their ratios can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trustml.errors import UsageError
from trustml_bench.bars import BARS, Bar
from trustml_bench.catalogue import ENGINES
from trustml_bench.engine import Engine
from trustml_bench.places import Allocator
from trustml_bench.workloads import Workload, WorkloadKind

_STEPS: tuple[WorkloadKind, ...] = ("plain_step", "private_step")
_LARGE_STEPS: tuple[WorkloadKind, ...] = ("plain_step", "noisy_step", "private_step")
_TABLES: tuple[WorkloadKind, ...] = ("noise", "private_step")
_EPOCHS: tuple[WorkloadKind, ...] = ("head_epoch", "feature_epoch")
_LARGE = 1024
"""Examples of a step that the short form leaves to engines which a bar needs."""


def _steps(network: str, size: int) -> tuple[Workload, ...]:
    return tuple(Workload(kind=kind, network=network, size=size) for kind in _STEPS)


def _large_steps(network: str) -> tuple[Workload, ...]:
    return tuple(Workload(kind=kind, network=network, size=64) for kind in _LARGE_STEPS)


def _round(network: str, clients: int, examples: int, batch_size: int) -> tuple[Workload, ...]:
    return (Workload(kind="round", network=network, size=clients, examples=examples, batch_size=batch_size),)


DEFAULT: tuple[tuple[Workload, ...], ...] = (
    _steps("cnn", 256),
    _steps("mlp", 256),
    _steps("cnn", 1024),
    _steps("mlp", 1024),
    (Workload(kind="integrated_gradients", network="cnn", size=64),),
    (Workload(kind="integrated_gradients", network="mlp", size=1024),),
    (Workload(kind="occlusion", network="cnn", size=64),),
    _round("small_cnn", 20, 75, 25),
    _round("small_cnn", 100, 18, 9),
    _round("small_mlp", 20, 64, 16),
)
"""Workloads of the short form; those in one tuple are measured together, as bars compare them."""

LARGE: tuple[tuple[Workload, ...], ...] = (
    _large_steps("resnet20"),
    _large_steps("encoder"),
    _large_steps("encoder_lora"),
    tuple(
        Workload(kind=kind, network=network, size=64) for network in ("encoder_8k", "encoder_64k") for kind in _TABLES
    ),
    tuple(Workload(kind=kind, network="resnet20_head", size=512, batch_size=64) for kind in _EPOCHS),
    (Workload(kind="integrated_gradients", network="resnet18_224", size=4),),
)
"""Workloads of networks of real size."""

FULL: tuple[tuple[Workload, ...], ...] = (
    *DEFAULT,
    *LARGE,
    _steps("cnn", 64),
    _steps("mlp", 64),
    (Workload(kind="smooth_grad", network="cnn", size=64),),
    _round("digits_mlp", 20, 75, 25),
    (Workload(kind="shadows", network="shadow_mlp", size=64, examples=900, batch_size=64),),
)
"""Workloads of the long form."""

ONLY_JUDGED = ("encoder_lora", "encoder_8k", "encoder_64k", "resnet20_head", "resnet18_224")
"""Networks that engines take whose times a bar compares: others cannot, or hold gigabytes."""


@dataclass(frozen=True, kw_only=True)
class Seat:
    """One engine's place in a group; `judged` where a bar needs it, and so all of its turns."""

    engine: Engine
    workload: Workload
    judged: bool


@dataclass(frozen=True, kw_only=True)
class Group:
    """Engines that are measured together under one setting of the allocator."""

    allocator: Allocator
    seats: tuple[Seat, ...]

    @property
    def name(self) -> str:
        """For people: ``private_step/cnn/256 (tuned)``."""
        return f"{self.seats[-1].workload.name} ({self.allocator})"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the user asked for; empty for all.

    Attributes
    ----------
    full, large : bool
        Everything, or the networks of real size; those that are named are found in either.
    kinds, networks : tuple of str
    engines : tuple of str
        Parts of engines' names, in any case.
    allocator : {"tuned", "default", "both", ""}
        Empty for what the bars ask for: everything tuned, and under the default what a bar compares there.
    """

    full: bool = False
    large: bool = False
    kinds: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    allocator: str = ""


def options_of(wanted: Selection) -> list[str]:
    """Options of the command line that mean the same, for the record."""
    found = ["--full"] if wanted.full else ["--large"] if wanted.large else []
    found += [f"--kind {kind}" for kind in wanted.kinds]
    found += [f"--network {network}" for network in wanted.networks]
    found += [f"--engine {engine!r}" for engine in wanted.engines]
    return found + ([f"--allocator {wanted.allocator}"] if wanted.allocator else [])


def choose_groups(wanted: Selection, engines: Sequence[Engine] = ENGINES, bars: Sequence[Bar] = BARS) -> list[Group]:
    """Choose what to run.

    Raises
    ------
    UsageError
        If nothing is left, naming what there is.
    """
    found = []
    for workloads in _workloads(wanted):
        tuned: list[Seat] = []
        default: list[Seat] = []
        for workload in workloads:
            for engine in engines:
                needed = {bar.allocator for bar in bars if (workload, engine.name) in bar.engines}
                if not _fits(engine, workload, wanted, judged=bool(needed)):
                    continue
                everything = wanted.full or wanted.engines or wanted.allocator
                if "tuned" in needed or everything or not _is_long(engine, workload):
                    tuned.append(Seat(engine=engine, workload=workload, judged="tuned" in needed))
                if wanted.allocator or "default" in needed:
                    default.append(Seat(engine=engine, workload=workload, judged="default" in needed))
        if tuned and wanted.allocator != "default":
            found.append(Group(allocator="tuned", seats=tuple(tuned)))
        if default and wanted.allocator != "tuned":
            found.append(Group(allocator="default", seats=tuple(default)))
    if not found:
        raise UsageError(f"nothing to measure is left; {_what_there_is(wanted, engines)}")
    return found


def _is_long(engine: Engine, workload: Workload) -> bool:
    """Whether a peer's large steps, which it takes at other sizes too, would make the short form long."""
    return engine.role == "peer" and workload.kind == "private_step" and workload.size >= _LARGE


def _workloads(wanted: Selection) -> tuple[tuple[Workload, ...], ...]:
    if wanted.full:
        return FULL
    if wanted.large:
        return LARGE
    return DEFAULT + LARGE if wanted.networks else DEFAULT


def _fits(engine: Engine, workload: Workload, wanted: Selection, *, judged: bool) -> bool:
    return (
        workload.kind in engine.kinds
        and (judged if workload.network in ONLY_JUDGED else wanted.full or not engine.full)
        and (not wanted.kinds or workload.kind in wanted.kinds)
        and (not wanted.networks or workload.network in wanted.networks)
        and (not wanted.engines or any(text.casefold() in engine.name.casefold() for text in wanted.engines))
    )


def _what_there_is(wanted: Selection, engines: Sequence[Engine]) -> str:
    workloads = [workload for group in _workloads(wanted) for workload in group]
    networks = sorted({workload.network for workload in workloads})
    kinds = sorted({workload.kind for workload in workloads})
    names = sorted({engine.name for engine in engines})
    more = "" if wanted.full else "; more with --large and --full"
    return f"kinds: {', '.join(kinds)}; networks: {', '.join(networks)}; engines: {', '.join(names)}{more}"
