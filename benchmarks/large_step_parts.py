"""Where time and memory of networks of real size go, in three frameworks: why some bars are not met.

``python benchmarks/large_step_parts.py`` measures each framework in a process of its own and writes
``benchmarks/results/large_parts.json``, which ``trustml bench --parts`` shows in the page (``make bench-large``).
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import msgspec

from trustml.record.provenance import source_revision
from trustml_bench.parts import Framework, MeasuredParts, Part, Profile, read_profile
from trustml_bench.places import NoPlace, find_place
from trustml_bench.process import PACKAGE

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "large_parts.json"


def main() -> None:
    """Measure those frameworks that are named, and keep what was measured of others."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("frameworks", nargs="*", metavar="FRAMEWORK", help="by default all three")
    parser.add_argument("--turns", type=int, default=5)
    asked = parser.parse_args()
    every = get_args(Framework)
    found = dict(read_profile(RESULT).frameworks) if asked.frameworks and RESULT.is_file() else {}
    for framework in asked.frameworks or every:
        found[framework] = measured(framework, asked.turns)
    profile = Profile(frameworks={framework: found[framework] for framework in every if framework in found})
    RESULT.write_bytes(msgspec.json.format(msgspec.json.encode(profile), indent=1) + b"\n")


def measured(framework: Framework, turns: int) -> MeasuredParts:
    """Measure one framework, and put down when, of what and on what."""
    load = os.getloadavg()[0]
    return MeasuredParts(
        created=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        revision=source_revision(also=PACKAGE),
        machine=f"{len(os.sched_getaffinity(0))} cores",
        load=load,
        parts=measured_parts(framework, turns),
    )


def measured_parts(framework: Framework, turns: int) -> tuple[Part, ...]:
    """Parts of one framework, by an interpreter that has it, with the allocator as workers run."""
    place = find_place(framework, "tuned")
    if isinstance(place, NoPlace):
        raise SystemExit(f"{framework}: {place.reason}")
    search = os.pathsep.join([str(HERE.parent / "src"), str(HERE)])
    command = [str(place.python), "-W", "ignore", "-m", f"trustml_bench.engines.{framework}_parts", str(turns)]
    environment = {**os.environ, **place.variables, "PYTHONPATH": search}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    print(f"{framework} is measured", file=sys.stderr)
    return msgspec.json.decode(done.stdout, type=tuple[Part, ...])


if __name__ == "__main__":
    main()
