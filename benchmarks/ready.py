"""What ready scenarios cost, and what comes out of them.

``python benchmarks/ready.py cifar_small text_spam`` runs each as a user would, audits the run and writes
``benchmarks/results/ready.json`` and ``docs/results/ready.md``; what is not run stays as it was. What is told of time
are seconds of processors of all processes together, which a busy machine lengthens less than the clock.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

import trustml
from trustml.auditing.result import SEVERITIES
from trustml.auditing.run_audit import audit_run
from trustml.compare.table import fact_of
from trustml.models.tasks import facts_of
from trustml.record.store import RunDirectory
from trustml.scenario.read import from_plain

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "ready.json"
PAGE = HERE.parent / "docs" / "results" / "ready.md"
_HEAD = """# What ready scenarios cost, and what comes out

Made by `python benchmarks/ready.py NAME ...` from runs of the ready scenarios: in three frameworks, plain and private,
explained, attacked and audited, as `TRUSTML_DATA=<folder> trustml run NAME` does it. *Seconds* are of processors, of
all processes together. Two workers of one thread go on side by side, so that two cores which nothing else keeps busy
take about half of them by the clock. Others kept this machine busy, which lengthens them too: they bound from above.
*Always the same answer* is the score of who always gives the largest class, or the mean. *At risk* are models that an
attack on membership tells apart from guessing, by the attacks that need no shadow models. Ready scenarios that are not
here were not measured in this form.
"""


def processor_seconds() -> float:
    """Of all processes that this one started and that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(name: str, runs: Path, *, minutes: float | None) -> dict[str, Any]:
    """Run a scenario, or go on with it, and audit the run, in processes of their own."""
    note, before, began = runs / f"{Path(name).stem}.part.json", processor_seconds(), datetime.datetime.now()
    nothing = {"processor_seconds": 0, "seconds": 0, "parts": 0, "load": [round(os.getloadavg()[0], 1)]}
    spent: dict[str, Any] = json.loads(note.read_text()) if note.is_file() else nothing
    what = ["--resume", spent["run"]] if "run" in spent else [name]
    command = [sys.executable, "-m", "trustml.cli", "run", *what, "--runs", str(runs), "--json"]
    there = set(runs.glob(f"{Path(name).stem}-*"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            told, _ = process.communicate(timeout=minutes and 60 * minutes)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate()
    begun = [Path(spent["run"])] if "run" in spent else [*set(runs.glob(f"{Path(name).stem}-*")) - there]
    if len(begun) != 1:  # those of other calls are not taken for this one's
        raise SystemExit(f"{name}: {len(begun)} runs were begun, and not one: {told.splitlines()[-1:]}")
    (path,) = begun
    if process.returncode == 0:
        audit = [sys.executable, "-m", "trustml.cli", "audit", str(path)]
        subprocess.run(audit, stdout=subprocess.DEVNULL, check=True)
    spent |= {
        "processor_seconds": spent["processor_seconds"] + round(processor_seconds() - before),
        "seconds": spent["seconds"] + round((datetime.datetime.now() - began).total_seconds()),
        "parts": spent["parts"] + 1,
        "load": [spent["load"][0], round(os.getloadavg()[0], 1)],
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
    }
    if process.returncode:
        note.write_text(json.dumps(spent | {"run": str(path)}))
        raise SystemExit(f"{name}: {told.splitlines()[-1:]}; call this again with the same --runs to go on")
    note.unlink(missing_ok=True)
    spent.pop("run", None)
    return spent | facts_of_run(path)


def facts_of_run(path: Path) -> dict[str, Any]:
    """What a run shows."""
    run = trustml.load(path)
    table, scenario = run.measures(), from_plain(run.manifest.scenario)
    score = facts_of(scenario.task).score
    scores = table[(table.measure == score) & (table.kind == "train") & (table.subject == "held-out")]
    severities = [finding.severity for finding in audit_run(RunDirectory(path)).findings]
    games = table[(table.kind == "game") & (table.measure == "audited_epsilon")]
    return {
        "description": scenario.description,
        "score": score,
        "constant": 0.0 if score == "r2" else float(fact_of(scores, "majority", default=0.0).iloc[0]),
        "models": [model_facts(table, row) for row in scores.itertuples()],
        "methods": sorted(set(table.method[(table.kind == "explain") & table.value.notna()]) - {"", "RandomControl"}),
        "games": {row.backend: row.verdict for row in games.itertuples()},
        "findings": {severity: severities.count(severity) for severity in SEVERITIES if severity in severities},
        "jobs": len(run.manifest.jobs),
    }


def model_facts(table: pd.DataFrame, row: Any) -> dict[str, Any]:
    """A model's figures."""
    own = table[table.job == row.job]
    epsilon, attacks = own[own.measure == "epsilon"], own[own.measure == "membership_auc"]
    at_risk = own[(own.measure == "membership_auc_at_least") & (own.verdict == "above guessing")]
    return {
        "regime": row.regime,
        "backend": row.backend,
        "value": row.value,
        "interval": [row.low, row.high],
        "epsilon": float(epsilon.value.iloc[0]) if len(epsilon) else None,
        "largest_auc": float(attacks.value.max()) if len(attacks) else None,
        "at_risk_by": sorted(at_risk.method),
    }


def page(results: dict[str, Any]) -> str:
    """Write the tables."""
    lines = [
        _HEAD,
        "| | seconds | jobs | explained by | the private step's games | findings of the audit |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in results.items():
        found = ", ".join(f"{count} {severity}" for severity, count in one["findings"].items())
        verdicts = list(one["games"].values())
        games = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
        methods = ", ".join(one["methods"])
        lines.append(f"| `{name}` | {one['processor_seconds']} | {one['jobs']} | {methods} | {games} | {found} |")
    lines += [
        "",
        "| scenario, held-out score | always the same answer | regime | epsilon | torch | jax | tensorflow "
        "| largest AUC of an attack; at risk |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in results.items():
        for regime in dict.fromkeys(model["regime"] for model in one["models"]):
            models = [model for model in one["models"] if model["regime"] == regime]
            lines.append(f"| {name}, {one['score']} | {one['constant']:.3f} | {regime} | {_figures(models)} |")
    times = [
        f"- `{name}`: {one['date']}, {one['machine']}, {one['seconds']} s by the clock at a load of "
        f"{one['load'][0]} to {one['load'][1]}{_parts(one)}."
        for name, one in results.items()
    ]
    return "\n".join([*lines, "", *times]) + "\n"


def _figures(models: list[dict[str, Any]]) -> str:
    by = {model["backend"]: model for model in models}
    epsilon = models[0]["epsilon"]
    scores = [f"{by[name]['value']:.3f}" if name in by else "" for name in ("torch", "jax", "tensorflow")]
    aucs = [model["largest_auc"] for model in models if model["largest_auc"] is not None]
    risks = sum(bool(model["at_risk_by"]) for model in models)
    attacked = f"{max(aucs):.3f}; {risks} of {len(aucs)}" if aucs else ""
    return " | ".join(["-" if epsilon is None else f"{epsilon:.2f}", *scores, attacked])


def _parts(one: dict[str, Any]) -> str:
    parts = one.get("parts", 1)
    return f", in {parts} parts: what was interrupted and done again counts twice" if parts > 1 else ""


def main() -> None:
    """Run those that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--runs", type=Path, help="keep the runs there, and go on with one that was interrupted")
    parser.add_argument("--minutes", type=float, help="interrupt a run then; what it took counts when it goes on")
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    if asked.minutes and not asked.runs:
        parser.error("--minutes interrupts a run, which goes on only from a folder that is kept: name one by --runs")
    results = json.loads(asked.output.read_text()) if asked.output.is_file() else {}
    with tempfile.TemporaryDirectory() as own:
        for name in asked.names:
            results[name] = measured(name, asked.runs or Path(own), minutes=asked.minutes)
            asked.output.write_text(json.dumps(results, indent=2) + "\n")
            if asked.output == RESULTS:
                PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
