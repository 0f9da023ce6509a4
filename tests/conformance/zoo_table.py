"""Search every network of the zoo in every backend by every way to clip, and write the table of what was found.

``python -m tests.conformance.zoo_table [BACKEND MODE [NAME ...]]`` from the root of the checkout. A network on which
not one example was tried in :data:`LIMIT` seconds of processor says so. What is not searched stays as it was. Writes
``benchmarks/results/sensitivity_zoo.json`` and the end of ``sensitivity.md``.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.conformance.zoo_networks import WAYS, ZOO
from trustml.launch.environments import find_environment
from trustml.plan.switches import switch_variables
from trustml.scenario.spec import Execution

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "sensitivity_zoo.json"
PAGE = ROOT / "benchmarks" / "results" / "sensitivity.md"
TRIALS, SECONDS, LIMIT = 12, 60, 420
_HEADING = "## The networks of the zoo"
_HEAD = f"""{_HEADING}

`python -m tests.conformance.zoo_table` takes the published networks themselves, on small inputs
(`tests/conformance/zoo_networks.py`: all of `models/zoo`, `residual`, `sequences` and `transformers`), with batches of
up to eight, compiled as users get it. Up to {TRIALS} examples are tried on each, half of them drawn and half near the
worst so far, as many as {SECONDS} seconds of processor allow; compilation is in the seconds that are told. Why a way is
refused, its backend says.
The long form of `tests/conformance/test_sensitivity.py` does the same and fails where one moves too far.

"""


def searched(backend: str, mode: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What the search of each network by one way came to."""
    environment = {
        **{key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "OMP_NUM_THREADS")},
        **switch_variables(Execution(threads=1)),
        "PYTHONPATH": f"{ROOT}/src:{ROOT}",
    }
    environment.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)
    command = [str(find_environment(backend).require()), "-W", "ignore", "-m", "tests.conformance.zoo_search"]
    command += [backend, mode, str(TRIALS), str(SECONDS), str(LIMIT)]
    about = {"backend": backend, "mode": mode, "date": datetime.date.today().isoformat()}
    waiting = list(names)
    while waiting:
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                [*command, *waiting], env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("{"):
                    waiting.pop(0)
                    yield about | json.loads(line)
            code = process.wait()
            errors.seek(0)
            if code and code != -signal.SIGXCPU:
                raise SystemExit(f"{backend} {mode} {waiting[:1]}: {errors.read()[-2000:]}")
        if code:
            yield about | {"network": waiting.pop(0), "unfinished": f"not one example in {LIMIT} seconds of processor"}


def search_all(asked: Sequence[str]) -> None:
    """Search, and write after each what is known."""
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    found = {(one["backend"], one["mode"], one["network"]): one for one in known}
    for backend, mode in all_ways():
        if not all(given in (backend, mode) for given in asked[:2]):
            continue
        for one in searched(backend, mode, asked[2:] or list(ZOO)):
            print(one, flush=True)
            found[backend, mode, one["network"]] = one
            write([found[*way, name] for way in all_ways() for name in ZOO if (*way, name) in found])


def write(every: list[dict[str, Any]]) -> None:
    """Write the file and the end of the page."""
    RESULTS.write_text("[\n" + ",\n".join(json.dumps(one) for one in every) + "\n]\n")
    PAGE.write_text(PAGE.read_text().partition(_HEADING)[0] + _HEAD + table(every))


def all_ways() -> list[tuple[str, str]]:
    """Every way of every backend."""
    return [(backend, mode) for backend, modes in WAYS.items() for mode in modes]


def table(every: list[dict[str, Any]]) -> str:
    """A row for each network and way, after one for each way."""
    lines = ["| backend | way to clip | searched | refused | not searched | largest move less what is allowed there |"]
    lines.append("|---|---|---|---|---|---|")
    for backend, mode in all_ways():
        here = [one for one in every if (one["backend"], one["mode"]) == (backend, mode)]
        moves = [one["moved"] - one["allowed"] for one in here if "moved" in one]
        refused = sum(bool(one.get("refused")) for one in here)
        rest = len(ZOO) - len(moves) - refused
        worst = f"{max(moves):+.1e}" if moves else ""
        lines.append(f"| {backend} | {mode} | {len(moves)} | {refused} | {rest} | {worst} |")
    lines += ["", "| network | backend | way to clip | largest move | allowed there | examples | seconds |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name in ZOO:
        lines += [_row(one) for one in every if one["network"] == name]
    return "\n".join(lines) + "\n"


def _row(one: dict[str, Any]) -> str:
    start = f"| {one['network']} | {one['backend']} | {one['mode']} |"
    if "moved" not in one:
        return f"{start} {'refused: ' + one['refused'] if one.get('refused') else one['unfinished']} | | | |"
    return f"{start} {one['moved']:.7f} | {one['allowed']:.7f} | {one['trials']} | {one['seconds']:.0f} |"


if __name__ == "__main__":
    search_all(sys.argv[1:])
