"""How long commands take over a folder of 10,000 runs, with the index and without.

``python benchmarks/index.py`` measures small stored runs anew, copies them until there are 10,000 (manifests are
written, other files linked), makes the index, times each command as a user would call it, and writes
``benchmarks/results/index.md``. Times are of the whole process, interpreter and imports included: the median of several
calls by the clock, and of their processor time.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
APP = HERE.parent / "apps" / "dashboard.py"
RESULTS = HERE / "results" / "index.md"
COPIED = ("private", "evidence", "twice", "federated")
REPEATS = 5
ASKED = (
    "SELECT backend, regime, count(*) AS models, avg(value) AS mean FROM measures "
    "WHERE measure = 'accuracy' GROUP BY ALL ORDER BY mean DESC"
)
PAGE = (
    "import sys\nfrom streamlit.testing.v1 import AppTest\n"
    "app = AppTest.from_file(sys.argv[1], default_timeout=300)\n"
    "if len(sys.argv) > 2: app.run(); app.switch_page(sys.argv[2])\n"
    "app.run()\nassert not app.exception, app.exception\n"
)


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One command: the median of what it took by the clock and of processors, and the most by the clock."""

    title: str
    wall: float
    processor: float
    most: float


def make_runs(root: Path, *, runs: int) -> None:
    """Fill a folder with copies of stored runs, each with a name and a time of its own."""
    from tests.records import measured_anew

    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        stored = [measured_anew(name, Path(scratch)).path for name in COPIED]
        root.mkdir(parents=True)
        began = datetime(2026, 1, 1, tzinfo=UTC)
        for number in range(runs):
            source = stored[number % len(stored)]
            scenario = source.name.rsplit("-", 3)[0]
            made = began + timedelta(minutes=number)
            name = f"{scenario}-{made:%Y%m%d-%H%M%S}-{number % 65536:04x}"
            shutil.copytree(source, root / name, copy_function=os.link, ignore=shutil.ignore_patterns("manifest.json"))
            manifest = (source / "manifest.json").read_text(encoding="utf-8").replace(source.name, name)
            (root / name / "manifest.json").write_text(manifest, encoding="utf-8")


def timed(title: str, arguments: list[str], environment: dict[str, str], *, repeats: int = REPEATS) -> Timed:
    """Call a command several times; refuse one that fails."""
    walls, processors = [], []
    for _ in range(repeats):
        before, began = _children(), time.perf_counter()
        subprocess.run(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        walls.append(time.perf_counter() - began)
        processors.append(_children() - before)
    return Timed(title=title, wall=statistics.median(walls), processor=statistics.median(processors), most=max(walls))


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def all_timed(root: Path, environment: dict[str, str]) -> list[Timed]:
    """Time what makes the index, then what asks it."""
    called = [sys.executable, "-m", "trustml.cli"]
    here = ["--runs", str(root)]
    two = sorted(path.name for path in root.iterdir())[:2]
    read = {**environment, "TRUSTML_INDEX": "/nonexistent/index"}
    found = [
        timed("`list`, no index: every record is opened", [*called, "list", *here], read),
        timed("`list`, the first time", [*called, "list", *here], environment, repeats=1),
        timed("`list`", [*called, "list", *here], environment),
        timed("`list --status success --regime DPSGD --json`",
              [*called, "list", *here, "--status", "success", "--regime", "DPSGD", "--json"], environment),
        timed("`query`, the first time: every table is read", [*called, "query", ASKED, *here], environment, repeats=1),
        timed("`query`: mean accuracy by framework and regime", [*called, "query", ASKED, *here], environment),
        timed("`list --epsilon-below 3`", [*called, "list", *here, "--epsilon-below", "3"], environment),
        timed("`compare` of two runs by name", [*called, "compare", *two, *here], environment),
        timed("`compare` of the latest and another", [*called, "compare", "latest", two[0], *here], environment),
    ]  # fmt: skip
    page = [sys.executable, "-c", PAGE, str(APP)]
    shown = {**environment, "TRUSTML_RUNS": str(root)}
    few = Path(environment["TRUSTML_INDEX"]).parent / "few"
    few.mkdir()
    for name in two:
        (few / name).symlink_to(root / name)
    fewer = timed("dashboard of two of them, the process and its first page", page, {**shown, "TRUSTML_RUNS": str(few)})
    first = timed("dashboard, the process and its first page", page, shown)
    every = timed("dashboard, that and the page of all runs", [*page, "views/runs.py"], shown)
    return [*found, fewer, first, every]


def page_of(found: list[Timed], *, runs: int, rows: int) -> str:
    """Write what was found as Markdown."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    lines = [
        f"# {runs:,} runs in one folder",
        "",
        f"Made by `python benchmarks/index.py --runs {runs}` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, load at the end {load}. {rows:,} rows of measures. Seconds of whole "
        f"processes, imports included: medians of {REPEATS} calls. Where the clock says much more than the processor, "
        "others used the machine.",
        "",
        "| | processor, s | clock, s | clock, most |",
        "|---|---:|---:|---:|",
        *(f"| {one.title} | {one.processor:.2f} | {one.wall:.2f} | {one.most:.2f} |" for one in found),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make the runs, time the commands, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where such runs are already, or are to be kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = options.folder or Path(scratch) / "runs"
        if not root.is_dir():
            make_runs(root.resolve(), runs=options.runs)
        environment = {**os.environ, "TRUSTML_INDEX": str(Path(scratch) / "index")}
        os.environ["TRUSTML_INDEX"] = environment["TRUSTML_INDEX"]
        found = all_timed(root, environment)
        from trustml.compare.indexed import query

        ((rows,),) = query(root, "SELECT count(*) FROM measures").rows
    RESULTS.write_text(page_of(found, runs=options.runs, rows=rows), encoding="utf-8")
    print(RESULTS.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
