"""``python -m tests.reliability.soak --minutes 120``: runs, kills and resumes beside a dashboard, and nothing grows.

The process that starts them all lives as long as the soak: it prepares, resumes, measures and reads runs itself, as a
notebook does, beside forks that are killed. Its memory, handles and children are looked at after every round, and those
of a running dashboard, whose first page is opened. What grows has a slope: it is told with its error, by least squares
over the second half, when all that is imported late is there.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.records import unasked_second_opinion
from tests.reliability import kills
from tests.reliability.kills import Disturbed, Figures
from tests.reliability.launched import fourth_backend, imported
from tests.reliability.results import write_result
from tests.reliability.scene import scenario

KEPT = 125.0
"""Seconds after which Streamlit keeps nothing of a page that was closed: its two minutes, and some."""
FEWEST = 8
"""Rounds before anything can be said of growth."""
QUANTITIES = ("MiB", "handles", "processes", "threads")
ALLOWED = {"MiB": 60.0, "handles": 6.0, "processes": 1.0, "threads": 2.0}
"""How much more there may be after another as long as the soak took, two standard errors included."""


@dataclass
class Watched:
    """What a process and those below it held, round by round; but for another that is watched itself."""

    name: str
    pid: int
    without: int = 0
    seconds: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in QUANTITIES})

    def look(self, since: float) -> None:
        """Look once."""
        process = psutil.Process(self.pid)
        own = [one for one in process.children() if one.pid != self.without]
        family = [process, *own, *(below for one in own for below in one.children(recursive=True))]
        self.seconds.append(time.monotonic() - since)
        self.values["MiB"].append(sum(one.memory_info().rss for one in family) / 2**20)
        self.values["handles"].append(sum(one.num_fds() for one in family))
        self.values["processes"].append(len(family))
        self.values["threads"].append(sum(one.num_threads() for one in family))

    def growth(self, quantity: str) -> dict[str, float]:
        """Slope of a quantity over the second half, times the length of the soak, and its standard error."""
        half = len(self.seconds) // 2
        when, what = np.array(self.seconds[half:]), np.array(self.values[quantity][half:])
        slope, error = slope_of(when, what)
        whole = self.seconds[-1]
        first, last, most = self.values[quantity][0], self.values[quantity][-1], max(self.values[quantity])
        return {
            "first": round(first, 1), "last": round(last, 1), "most": round(most, 1),
            "growth": round(slope * whole, 2), "error": round(error * whole, 2),
        }  # fmt: skip


def slope_of(when: np.ndarray, what: np.ndarray) -> tuple[float, float]:
    """Slope by least squares, and its standard error."""
    centred = when - when.mean()
    spread = float((centred**2).sum())
    if len(when) < 4 or spread == 0:
        return 0.0, float("inf")
    slope = float((centred * (what - what.mean())).sum()) / spread
    rest = what - what.mean() - slope * centred
    return slope, float(np.sqrt((rest**2).sum() / (len(when) - 2) / spread))


def is_flat(found: dict[str, float], allowed: float) -> bool:
    """Whether a growth is shown to be no more than is allowed, by enough looks to say so."""
    return bool(found["growth"] + 2 * found["error"] <= allowed)


@contextmanager
def dashboard(root: Path) -> Iterator[tuple[int, str]]:
    """A dashboard of a folder of runs; its process, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "trustml.cli", "dashboard", "--runs", str(root), "--port", str(port)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while not _answers(f"{address}/_stcore/health"):
            assert time.monotonic() < deadline and process.poll() is None, "the dashboard does not come up"
            time.sleep(0.2)
        yield process.pid, address
    finally:
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # under nohup, and then by the dashboard, too
        process.send_signal(signal.SIGTERM if ignored else signal.SIGHUP)  # else as of a terminal that is closed
        process.wait(30)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def open_page(address: str) -> int:
    """Open the first page as a browser does, until its script has run; give the number of parts that it sent."""
    return asyncio.run(_opened(address.replace("http", "ws", 1) + "/_stcore/stream"))


async def _opened(address: str) -> int:
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
    from websockets.asyncio.client import connect

    asked, parts = BackMsg(), 0
    asked.rerun_script.query_string = ""
    async with connect(address, subprotocols=["streamlit"], max_size=1 << 28, proxy=None) as connection:
        await connection.send(asked.SerializeToString())
        while True:
            told = ForwardMsg.FromString(await asyncio.wait_for(connection.recv(), timeout=120))
            parts += told.HasField("delta")
            if told.HasField("script_finished"):
                return parts


def rested(address: str, pid: int) -> dict[str, float]:
    """What a dashboard holds when all its pages have been closed for longer than Streamlit keeps them, and one opens.

    Streamlit keeps what a closed page held, so that a browser that lost its connection finds it again, and lets go of
    it only when another page is opened.
    """
    before = Watched("dashboard", pid)
    before.look(time.monotonic())
    time.sleep(KEPT)
    assert open_page(address) > 5, "the page is empty"
    after = Watched("dashboard", pid)
    after.look(time.monotonic())
    return {"seconds": KEPT, "before": before.values["handles"][-1], "after": after.values["handles"][-1]}


def in_this_process(folder: Path) -> None:
    """Run a scenario here, read it, and go on with it."""
    import trustml

    with unasked_second_opinion():
        run = trustml.run(scenario(steps=20, regimes=("DPSGD",)), out=folder, progress=False, listener=_heard)
        assert run.status == "success", [(one.id, one.reason) for one in run.manifest.jobs]
        again = trustml.resume(run.path, progress=False, listener=_heard)
    assert again.measures().equals(run.measures())
    again.summary()


def _heard(event: dict[str, Any]) -> None:
    """Listen."""


def soak(folder: Path, *, minutes: float, seed: int, told: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Go on for so long; give what was done and what grew, and tell it after each round."""
    generator, figures, rounds = random.Random(seed), Figures(), 0
    shown = folder / "shown"
    shown.mkdir()
    in_this_process(shown)
    since = time.monotonic()
    with dashboard(shown) as (pid, address):
        watched = [Watched("launcher", os.getpid(), without=pid), Watched("dashboard", pid)]
        while time.monotonic() - since < 60 * minutes:
            rounds += 1
            with tempfile.TemporaryDirectory(dir=folder) as place:
                mixed = scenario(regimes=(generator.choice(("Plain", "DPSGD", "DPFedAvg")),))
                disturbed = Disturbed(Path(place), generator=generator, figures=figures, of=mixed)
                for phase in sorted(generator.sample(kills.PHASES[1:-1], 2), key=kills.PHASES.index):
                    disturbed.disturb(phase, generator.choice(list(kills.DISTURBANCES)))
                disturbed.end()
                in_this_process(Path(place) / "own")
            assert _answers(f"{address}/") and open_page(address) > 5, "the page is empty"
            gc.collect()
            for one in watched:
                one.look(since)
            print(
                json.dumps({"round": rounds, **{w.name: {q: w.values[q][-1] for q in QUANTITIES} for w in watched}}),
                flush=True,
            )
            told(result_of(watched, figures, minutes=(time.monotonic() - since) / 60))
        found = result_of(watched, figures, minutes=(time.monotonic() - since) / 60)
        found["handles after a rest"] = rested(address, pid)
        told(found)
    return found


def result_of(watched: list[Watched], figures: Figures, *, minutes: float) -> dict[str, Any]:
    """The figures as they are written."""
    rounds = len(watched[0].seconds)
    growth = {one.name: {name: one.growth(name) for name in QUANTITIES} for one in watched}
    return {
        "minutes": round(minutes, 1),
        "rounds": rounds,
        "runs": 2 * rounds,
        "disturbances": figures.count,
        "grown": growth,
        "allowed": ALLOWED,
        "flat": all(is_flat(growth[one][name], ALLOWED[name]) for one in growth for name in QUANTITIES),
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/soak.json")
    asked = parser.parse_args()

    def tell(found: dict[str, Any]) -> None:
        if asked.write and found["rounds"] >= FEWEST:
            write_result("soak", found, command=f"python -m tests.reliability.soak --minutes {asked.minutes:g}")

    imported()
    with fourth_backend(), tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), minutes=asked.minutes, seed=asked.seed, told=tell)
    print(json.dumps(found, indent=2))
    sys.exit(not found["flat"])


if __name__ == "__main__":
    main()
