"""Where time and memory of networks of real size go: parts of a piece of work, and their section of the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from trustml.errors import RecordError
from trustml.record.files import UNREADABLE
from trustml_bench.bars import JAX, TENSORFLOW, TORCH
from trustml_bench.judge import Judged
from trustml_bench.results import commit_text
from trustml_bench.workloads import ALIKE

Unit: TypeAlias = Literal["ms", "MiB"]
Framework: TypeAlias = Literal["torch", "jax", "tensorflow"]
_LEAST_SHARE = 0.005
"""Of what is shown."""
_OWN: dict[Framework, str] = {"torch": TORCH, "jax": JAX, "tensorflow": TENSORFLOW}


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a piece of work.

    Attributes
    ----------
    network : str
    work : str
        What it is a part of, for people.
    name : str
    unit : str
        Milliseconds by the clock of a call, or mebibytes.
    values : tuple of float
        Of each turn; one where it is the same in all.
    whole : bool
        Whether it is all of the work, which shares are of.
    """

    network: str
    work: str
    name: str
    unit: Unit
    values: tuple[float, ...]
    whole: bool = False

    @property
    def median(self) -> float:
        """Over the turns."""
        return float(np.median(self.values))


class MeasuredParts(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of one framework, and what they were measured on.

    Attributes
    ----------
    created : str
        ISO time in UTC.
    revision : dict
        Commit, and how many files were changed.
    machine : str
    load : float
        Before it was measured, of one minute.
    parts : tuple of Part
    """

    created: str
    revision: dict[str, str]
    machine: str
    load: float
    parts: tuple[Part, ...]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Parts by framework, each measured by itself."""

    frameworks: dict[Framework, MeasuredParts]


def read_profile(path: Path) -> Profile:
    """Read what ``benchmarks/large_step_parts.py`` wrote.

    Raises
    ------
    RecordError
        If it is no such file.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Profile)
    except UNREADABLE as error:
        why = f"{path}: cannot be read ({error}); make it anew by benchmarks/large_step_parts.py"
        raise RecordError(why) from None


def profile_section(profile: Profile, judged: Sequence[Judged]) -> str:
    """Bars that are not met, each group of them above the parts of what they are about."""
    lines = [
        "## Where the time and the memory of bars that are not met go",
        "",
        "Made by `benchmarks/large_step_parts.py`: medians of calls in one process for each framework, in turns, with "
        "quartiles; operators of PyTorch by its own profiler, which slows small ones. *Share* is of the whole; "
        "what is below half a percent of it is left out.",
        "",
        *(f"* {framework}: {_about(found)}" for framework, found in profile.frameworks.items()),
        "",
    ]
    for framework, found in profile.frameworks.items():
        for network in dict.fromkeys(part.network for part in found.parts):
            own = [part for part in found.parts if part.network == network]
            lines += [f"### {framework}, {network}", "", *_missed(framework, network, judged)]
            for unit in dict.fromkeys(part.unit for part in own):
                lines += [*_table([part for part in own if part.unit == unit], unit), ""]
    return "\n".join(lines)


def _about(found: MeasuredParts) -> str:
    """Say when, of what and on what parts were measured."""
    return (
        f"measured {found.created} at commit {commit_text(found.revision)}, on {found.machine} at a load of "
        f"{found.load:.1f}."
    )


def _missed(framework: Framework, network: str, judged: Sequence[Judged]) -> list[str]:
    """Bars of that framework and network that are not met."""
    found = []
    for one in judged:
        engines = " ".join([*one.bar.above.engines, *one.bar.below.engines])
        about = one.bar.above.workload.network
        alike = network in (about, ALIKE.get(about)) and about != "encoder_lora"
        if one.verdict == "not met" and alike and _OWN[framework] in engines and one.ratio is not None:
            bound = f"<= {one.bar.at_most:g}" if one.bar.at_most is not None else f">= {one.bar.at_least:g}"
            found.append(f"- Not met: {one.bar.what} ({about}): {one.ratio.value:.3g}, bar {bound}.")
    return [*found, ""] if found else []


def _table(parts: Sequence[Part], unit: Unit) -> list[str]:
    wholes = {part.work: part.median for part in parts if part.whole}
    lines = [f"| work | part | {unit} | quartiles | share |", "|---|---|---|---|---|"]
    for part in parts:
        if part.median < _LEAST_SHARE * wholes.get(part.work, 0.0) or part.median <= 0:
            continue
        low, high = np.quantile(part.values, [0.25, 0.75])
        share = f"{part.median / wholes[part.work]:.0%}" if wholes.get(part.work) else ""
        spread = f"{low:.1f}-{high:.1f}" if len(part.values) > 1 else ""
        lines.append(f"| {part.work} | {part.name} | {part.median:.1f} | {spread} | {share} |")
    return lines
