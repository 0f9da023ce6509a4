"""What the harness costs beside the frameworks that it starts.

``python benchmarks/overhead.py --jobs 500 --backends jax torch`` trains small plain models and explains each without
timing, a job each, and takes the processor seconds of all processes apart: the launcher; what each worker did for its
job; what a bare interpreter needs to start and to import the framework, once for every process that did so; and what
is left, which is ours. ``--cold`` measures the same without warm workers, too. Seconds are of processors, which others
on the machine lengthen less than the clock. Writes ``benchmarks/results/overhead.md``.

``python benchmarks/overhead.py --minutes 5 --backends jax torch`` does so with a run of each framework that takes about
five minutes: the digits scenario, plain, private and federated, trained for as many epochs as that takes by a run as it
is and one of four times as many. Writes ``benchmarks/results/overhead_minutes.md``.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

import trustml
from trustml.frameworks.table import entry_of
from trustml.launch.environments import find_environment
from trustml.models.layers import Architecture, Dense, Flatten
from trustml.plan.switches import switch_variables
from trustml.scenario.methods import Saliency
from trustml.scenario.optimizers import SGD
from trustml.scenario.read import overridden, read_scenario
from trustml.scenario.regimes import Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Execution, Explanations, Probes, Scenario

RESULTS = Path(__file__).resolve().parent / "results"
_SCENARIO = Path(__file__).resolve().parents[1] / "scenarios" / "digits.py"
_IMPORTS = 5
_TRIED = 4.0
_MOST_A_JOB, _MOST_RATIO, _MOST_SHARE = 1.0, 1.3, 0.05


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Processor seconds of one run, by who spent them; `clock` is what it took, `load` the machine's at its end.

    `between` is the part of the clock in which no job was at work.
    """

    backend: str
    jobs: int
    warm: int
    launcher: float
    workers: float
    work: float
    bare: float
    clock: float
    between: float
    load: float

    @property
    def ours(self) -> float:
        """Of one job: launcher and worker beyond the framework's own imports and the work."""
        return (self.launcher + self.workers - self.framework) / self.jobs

    @property
    def ratio(self) -> float:
        """All of it over what the framework needs."""
        return (self.launcher + self.workers) / self.framework

    @property
    def beside_scripts(self) -> float:
        """All of it over what the same would need as one script a job, each of which imports the framework."""
        return (self.launcher + self.workers) / (self.work + self.jobs * self.bare)

    @property
    def framework(self) -> float:
        """Work, and the import of each process that imports: of cold workers, and of the one that warm ones are of."""
        return self.work + (self.jobs - self.warm + bool(self.warm)) * self.bare


def many_jobs(backend: str, *, jobs: int, warm: bool) -> Scenario:
    """Half of them train small plain models, the others explain these without timing."""
    return Scenario(
        name="overhead",
        data=Digits(),
        model=Architecture(layers=(Flatten(), Dense(units=10))),
        training=(Plain(epochs=1, batch_size=256, optimizer=SGD(learning_rate=0.1)),),
        backends=(backend,),
        seeds=tuple(range(jobs // 2)),
        explanations=Explanations(methods=(Saliency(),), examples=16, probes=Probes(faithfulness=False), timing=False),
        execution=Execution(threads=1, warm_workers=warm),
    )


def longer(backend: str, times: float) -> Scenario:
    """Give the digits scenario for one framework, trained that many times as long."""
    found = read_scenario(_SCENARIO)
    lengths = [
        f"training.{number}.{name}={max(1, round(times * getattr(one, name)))}"
        for number, one in enumerate(found.training)
        for name in ("epochs", "rounds")
        if getattr(one, name, None)
    ]
    found = overridden(found, lengths)
    return replace(found, backends=(backend,), execution=Execution(threads=1, parallel_jobs=1))


def minutes(backend: str, wanted: float) -> Costs:
    """Run the digits scenario as it is, four times as long, and for about so many minutes; give the costs of the last.

    Two runs tell what grows with the length of training from what does not: starts, compilation, explanations.
    """
    first, second = (costs(longer(backend, times)).clock for times in (1.0, _TRIED))
    grows = (second - first) / (_TRIED - 1)
    return costs(longer(backend, 1.0 + max(0.0, 60 * wanted - first) / grows))


def costs(scenario: Scenario) -> Costs:
    """Run a scenario of one framework and take what it costs apart."""
    (backend,) = scenario.backends
    bare = bare_import(backend)
    with tempfile.TemporaryDirectory() as folder:
        own, children, began = _own(), _children(), time.perf_counter()
        run = trustml.run(scenario, out=folder, progress=False)
        clock = time.perf_counter() - began
        if run.status != "success":
            raise SystemExit(f"{backend}: the run ended {run.status}")
        done = run.manifest.jobs
        work = sum(one.result.details["cpu_seconds"] for one in done if one.result)
    return Costs(
        backend=backend,
        jobs=len(done),
        warm=sum(one.warm for one in done),
        launcher=_own() - own,
        workers=_children() - children,
        work=work,
        bare=bare,
        clock=clock,
        between=clock - sum(one.seconds for one in done),
        load=os.getloadavg()[0],
    )


def bare_import(backend: str) -> float:
    """Median processor seconds in which a bare interpreter starts and imports the framework."""
    environment = find_environment(backend)
    variables = {**os.environ, **environment.variables, **switch_variables(Execution(threads=1))}
    found = []
    for _ in range(_IMPORTS):
        before = _children()
        command = [str(environment.require()), "-c", f"import {entry_of(backend).name}"]
        subprocess.run(command, env=variables, check=True, stderr=subprocess.DEVNULL)
        found.append(_children() - before)
    return sorted(found)[_IMPORTS // 2]


def _own() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def page(found: list[Costs]) -> str:
    """Write what was found as Markdown."""
    lines = [
        "# What the harness costs",
        "",
        f"Made by `python benchmarks/overhead.py` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, Python "
        f"{platform.python_version()}. Half of the jobs train, the others explain. Processor seconds, of a job where "
        "nothing else is said. *Import* is a bare interpreter that imports the framework; *work* what a worker did for "
        "its job once it had imported; *launcher* also prepares the run and measures it; *ours* is all but work and "
        f"one import for each process that imports: at most {_MOST_A_JOB:g} s is asked. *Ratio* is everything over "
        f"work and those imports, *scripts* over work and an import for every "
        f"job, as of one script a job: at most {_MOST_RATIO:g} is asked. Warm workers are forked and import nothing.",
        "",
        "| framework | jobs | of them warm | import | work | launcher | ours | ratio | scripts | seconds a job | clock "
        "| load |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        whole = (one.launcher + one.workers) / one.jobs
        each = (
            one.bare,
            one.work / one.jobs,
            one.launcher / one.jobs,
            one.ours,
            one.ratio,
            one.beside_scripts,
            whole,
            one.clock,
        )
        cells = " | ".join(f"{value:.2f}" for value in each)
        lines.append(f"| {one.backend} | {one.jobs} | {one.warm} | {cells} | {one.load:.1f} |")
    return "\n".join(lines) + "\n"


def page_of_minutes(found: list[Costs], wanted: float) -> str:
    """Write what was found of long runs as Markdown."""
    lines = [
        "# What the harness costs in a run of minutes",
        "",
        f"Made by `python benchmarks/overhead.py --minutes {wanted:g}` on {datetime.now(UTC):%Y-%m-%d}: "
        f"{os.cpu_count()} cores, Python {platform.python_version()}. The digits scenario in one framework, one job at "
        "a time, trained for longer. Processor seconds of the whole run, where nothing else is said. *Framework* is "
        "what workers did for their jobs, and an import for each that imports; *ours* is all else, as a share of that: "
        f"at most {_MOST_SHARE:.0%} is asked. *Between* is the part of the clock in which no job was at work: the run "
        "was prepared, measured and recorded.",
        "",
        "| framework | jobs | framework | launcher | ours | share | clock | between | load |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        seconds = f"{one.framework:.1f} | {one.launcher:.1f} | {one.ours * one.jobs:.1f} | {one.ratio - 1:.1%}"
        lines.append(
            f"| {one.backend} | {one.jobs} | {seconds} | {one.clock:.0f} | {one.between:.1f} | {one.load:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure each framework and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--backends", nargs="+", default=["jax", "torch"])
    parser.add_argument("--cold", action="store_true", help="measure the same without warm workers, too")
    parser.add_argument("--minutes", type=float, help="measure a run of about so many minutes instead")
    options = parser.parse_args()
    if options.minutes:
        of_minutes = [minutes(backend, options.minutes) for backend in options.backends]
        name, text = "overhead_minutes.md", page_of_minutes(of_minutes, options.minutes)
    else:
        found = [
            costs(many_jobs(backend, jobs=options.jobs, warm=warm))
            for backend in options.backends
            for warm in ((True, False) if options.cold else (True,))
        ]
        name, text = "overhead.md", page(found)
    (RESULTS / name).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
