"""What a federated round costs, by engine, side by side: ``python benchmarks/federated_rounds.py [--fedjax FOLDER]``.

Every engine runs in a process of its own; all processes of a workload live at the same time and take turns, some
rounds each, so that what disturbs the machine disturbs all. FedJAX needs JAX alone and is read from a folder made by
``pip install --no-deps --target FOLDER fedjax==0.0.17 dm-haiku==0.0.17 jmp==0.0.4 absl-py msgpack tabulate tqdm``.
Writes ``benchmarks/results/federated_rounds.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

from trustml.launch.environments import find_environment

HERE = Path(__file__).resolve().parent
ENGINES = {"trustml jax": "jax", "trustml torch": "torch", "trustml tensorflow": "tensorflow", "TFF": "tensorflow"}
WORKLOADS = ("cnn, 20 x 75", "cnn, 100 x 18", "mlp, 20 x 64")
TURNS, ROUNDS = 6, 15
WARM_UP = 5  # the torch backend chooses its number of threads in the first five rounds


class Engine:
    """One engine's process."""

    def __init__(self, name: str, workload: str, fedjax: str) -> None:
        python = find_environment(ENGINES.get(name, "jax")).require()
        paths = [str(HERE.parent / "src"), *([fedjax] if name == "FedJAX" else [])]
        self._process = subprocess.Popen(
            [python, str(HERE / "federated_engines.py"), name, workload],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # TFF leaves a child behind, which goes with its group
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        self.first = self._answer()[0]
        self.run(WARM_UP)

    def run(self, rounds: int) -> list[float]:
        """Seconds of each of so many rounds."""
        print(rounds, file=self._process.stdin, flush=True)
        return self._answer()

    def end(self) -> None:
        """End the process and all it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _answer(self) -> list[float]:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"an engine ended: {self._process.args}")
        return json.loads(line)


def measure(workload: str, names: list[str], fedjax: str) -> dict[str, dict[str, float]]:
    """Median and quartiles of a round in milliseconds, by engine."""
    engines = {name: Engine(name, workload, fedjax) for name in names}
    try:
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(TURNS):
            for name in names if turn % 2 else reversed(names):
                seconds[name] += engines[name].run(ROUNDS)
    finally:
        for engine in engines.values():
            engine.end()
    found = {}
    for name, times in seconds.items():
        low, middle, high = (1000 * np.quantile(times, [0.25, 0.5, 0.75])).tolist()
        found[name] = {"median": middle, "low": low, "high": high, "first": 1000 * engines[name].first, "n": len(times)}
    return found


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| workload | engine | round, ms | quartiles | against TFF | import to first round, s |",
        "|---|---|---|---|---|---|",
    ]
    for workload, engines in results.items():
        base = engines["TFF"]["median"]
        for name, one in engines.items():
            lines.append(
                f"| {workload} | {name} | {one['median']:.2f} | {one['low']:.2f}-{one['high']:.2f} | "
                f"{base / one['median']:.1f} times faster | {one['first'] / 1000:.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fedjax", default="", help="folder that holds FedJAX")
    parser.add_argument("--out", default=str(HERE / "results" / "federated_rounds"))
    asked = parser.parse_args()
    names = [*ENGINES, *(["FedJAX"] if asked.fedjax else [])]
    results = {}
    for workload in WORKLOADS:
        results[workload] = measure(workload, names, asked.fedjax)
        print(table({workload: results[workload]}), flush=True)
    machine = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("jax", "torch", "pfl")},
        "tensorflow-federated": "0.87.0",
    }
    out = Path(asked.out)
    out.with_suffix(".json").write_text(json.dumps({"machine": machine, "milliseconds": results}, indent=2) + "\n")
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    out.with_suffix(".md").write_text(
        "# A federated round, by engine\n\nMade by `python benchmarks/federated_rounds.py`. Clients x examples; "
        f"{TURNS * ROUNDS} rounds of\neach engine in turns of {ROUNDS}, processes side by side; medians and quartiles. "
        f'"TFF" is its fastest loop driven by hand with\ndata sets made once; the trustml rows take their batches anew '
        f"every round.\n\n{table(results)}\n\nOn: {about}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
