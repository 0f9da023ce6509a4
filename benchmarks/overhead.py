"""What the harness costs beside the frameworks that it starts.

``python benchmarks/overhead.py --jobs 500 --backends jax torch`` trains many small plain models, a job each, and takes
the processor seconds of all processes apart: the launcher; what each worker did for its job; what a bare interpreter
needs to start and to import the framework; and what is left, which is ours. Seconds are of processors, which others on
the machine lengthen less than the clock. Writes ``benchmarks/results/overhead.md``.
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

import trustml
from trustml.frameworks.table import entry_of
from trustml.launch.environments import find_environment
from trustml.models.layers import Architecture, Dense, Flatten
from trustml.plan.switches import switch_variables
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import Plain
from trustml.scenario.sources import Digits
from trustml.scenario.spec import Execution, Scenario

RESULTS = Path(__file__).resolve().parent / "results" / "overhead.md"
_IMPORTS = 5
_MOST_A_JOB, _MOST_RATIO = 1.0, 1.3


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Processor seconds of one run, by who spent them; `clock` is what it took, `load` the machine's at its end."""

    backend: str
    jobs: int
    launcher: float
    workers: float
    work: float
    bare: float
    clock: float
    load: float

    @property
    def ours(self) -> float:
        """Of one job: launcher and worker beyond the framework's own import and the work."""
        return (self.launcher + self.workers - self.work) / self.jobs - self.bare

    @property
    def ratio(self) -> float:
        """All of it over what the framework needs: its import in each process, and the work."""
        return (self.launcher + self.workers) / (self.work + self.jobs * self.bare)


def costs(backend: str, *, jobs: int) -> Costs:
    """Run that many jobs of one framework and take what they cost apart."""
    bare = bare_import(backend)
    scenario = Scenario(
        name="overhead",
        data=Digits(),
        model=Architecture(layers=(Flatten(), Dense(units=10))),
        training=(Plain(epochs=1, batch_size=256, optimizer=SGD(learning_rate=0.1)),),
        backends=(backend,),
        seeds=tuple(range(jobs)),
        execution=Execution(threads=1),
    )
    with tempfile.TemporaryDirectory() as folder:
        own, children, began = _own(), _children(), time.perf_counter()
        run = trustml.run(scenario, out=folder, progress=False)
        clock = time.perf_counter() - began
        if run.status != "success":
            raise SystemExit(f"{backend}: the run ended {run.status}")
        work = sum(one.result.details["cpu_seconds"] for one in run.manifest.jobs if one.result)
    return Costs(
        backend=backend,
        jobs=jobs,
        launcher=_own() - own,
        workers=_children() - children,
        work=work,
        bare=bare,
        clock=clock,
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
        f"{platform.python_version()}. Processor seconds, of a job where nothing else is said. *Framework* is a bare "
        "interpreter that imports it; *work* what a worker did for its job once it had imported; *ours* all that is "
        f"left: at most {_MOST_A_JOB:g} s is asked. *Ratio* is everything over framework and work: at most "
        f"{_MOST_RATIO:g}.",
        "",
        "| framework | jobs | framework | work | launcher | ours | ratio | clock of the run | load |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        each = (one.bare, one.work / one.jobs, one.launcher / one.jobs, one.ours, one.ratio, one.clock)
        cells = " | ".join(f"{value:.2f}" for value in each)
        lines.append(f"| {one.backend} | {one.jobs} | {cells} | {one.load:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure each framework and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--backends", nargs="+", default=["jax", "torch"])
    options = parser.parse_args()
    found = [costs(backend, jobs=options.jobs) for backend in options.backends]
    RESULTS.write_text(page(found), encoding="utf-8")
    print(page(found))


if __name__ == "__main__":
    main()
