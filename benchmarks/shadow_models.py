"""What 64 shadow models of the digits MLP cost, all in one JAX program and one after another in torch.

``python benchmarks/shadow_models.py``. Every engine trains the same models (starts, members, batches) and ends with
their logits over all examples. Every measurement is a process of its own, under the environment of a worker and
without any cache of compiled programs; engines take turns. Torch is given what is fastest for it here: one thread or
all, and by hand the implementation of SGD, each tried on some steps before the clock starts. Writes
``benchmarks/results/shadow_models.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from trustml.backends.contract import Model
from trustml.backends.shadows import ShadowModels, ShadowSettings
from trustml.models.zoo import mlp
from trustml.plan.job import ShadowJob
from trustml.plan.switches import switch_variables
from trustml.scenario.optimizers import SGD
from trustml.scenario.regimes import Plain
from trustml.scenario.spec import Execution
from trustml.worker.shadow_plans import draw_models
from trustml.worker.shadows import learning_rates

HERE = Path(__file__).resolve().parent
ENGINES = ("trustml jax", "trustml jax, one core", "trustml torch", "torch by hand")
REGIME = Plain(epochs=20, batch_size=32, optimizer=SGD(learning_rate=0.05, momentum=0.9))
TRAINED = 1257  # of scikit-learn's 1797 digits: the training set of scenarios with a test fraction of 0.3
TRIED = 200


def drawn(hidden: int, count: int) -> tuple[ShadowJob, np.ndarray, np.ndarray, np.ndarray, ShadowModels, float]:
    """Job, inputs, labels, members, models, and the seconds of drawing the models."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    inputs, labels = (digits.data / 16).astype(np.float32), digits.target.astype(np.int64)
    generator = np.random.default_rng(0)
    members = np.zeros((count, len(labels)), bool)
    for row in members:
        row[generator.permutation(len(labels))[:TRAINED]] = True
    job = ShadowJob(
        id="shadow.jax.Plain",
        backend="jax",
        model=mlp([hidden], classes=10),
        input_shape=(64,),
        execution=Execution(),
        regime=REGIME,
        seed=0,
        data="",
        members="",
        output="",
    )
    start = time.perf_counter()
    models = draw_models(job, inputs, labels, members=members, owners=None)
    return job, inputs, labels, members, models, time.perf_counter() - start


def in_jax(job: ShadowJob, inputs: np.ndarray, models: ShadowModels, *, cores: int) -> tuple[np.ndarray, dict]:
    """All models in one program."""
    if cores:
        os.sched_setaffinity(0, set(list(os.sched_getaffinity(0))[:cores]))
    from trustml.backends.jax import BACKEND

    BACKEND.open_device("cpu", 0)
    settings = ShadowSettings(
        architecture=job.model,
        inputs=inputs,
        regime=REGIME,
        rates=learning_rates(job, steps=models.rows.shape[1]),
    )
    start, used = time.perf_counter(), time.process_time()
    trainer = BACKEND.shadows(settings)
    trainer.compile(models)
    compiled = time.perf_counter()
    logits = trainer.train(models, done=lambda count: None)
    end = time.perf_counter()
    times = {"compile": compiled - start, "train": end - compiled, "processor": time.process_time() - used}
    return logits, {**times, "at_once": trainer.at_once}


def in_torch(job: ShadowJob, inputs: np.ndarray, models: ShadowModels, *, by_hand: bool) -> tuple[np.ndarray, dict]:
    """One model after another, in the way that is fastest here."""
    import torch

    ways = {
        f"{name}, {threads} thread{'s' if threads > 1 else ''}": (threads, train)
        for threads in sorted({1, len(os.sched_getaffinity(0))})
        for name, train in (_by_hand(inputs) if by_hand else _by_trainer(job, inputs)).items()
    }
    tried = dict.fromkeys(ways, float("inf"))
    few = replace(models, rows=models.rows[:, :TRIED])
    for _ in range(3):  # in turns, so that what disturbs one disturbs all
        for name, (threads, train) in ways.items():
            torch.set_num_threads(threads)
            start = time.perf_counter()
            train(few, 0)
            tried[name] = min(tried[name], time.perf_counter() - start)
    best = min(tried, key=tried.__getitem__)
    threads, train = ways[best]
    torch.set_num_threads(threads)
    start, used = time.perf_counter(), time.process_time()
    logits = np.stack([train(models, number) for number in range(len(models))])
    end = time.perf_counter()
    return logits, {"train": end - start, "processor": time.process_time() - used, "way": best, "tried": tried}


def _by_trainer(job: ShadowJob, inputs: np.ndarray) -> dict[str, Callable]:
    """The plain trainer of the torch backend, as the worker drives it."""
    from trustml.backends.torch import BACKEND

    def train(models: ShadowModels, number: int) -> np.ndarray:
        weights = {name: array[number] for name, array in models.weights.items()}
        model = Model(architecture=job.model, input_shape=(64,), weights=weights)
        trainer = BACKEND.plain(model, REGIME, 0)
        for batch in models.rows[number]:
            chosen = batch[batch >= 0]
            trainer.step(inputs[chosen], models.labels[number][chosen], learning_rate=REGIME.optimizer.learning_rate)
        trained = Model(architecture=job.model, input_shape=(64,), weights=trainer.weights())
        return BACKEND.network(trained).logits(inputs)

    return {"backend": train}


def _by_hand(inputs: np.ndarray) -> dict[str, Callable]:
    """The smallest loop in torch: tensors made once, batches as slices of an order."""
    import torch
    from torch import nn
    from torch.nn import functional

    everything = torch.from_numpy(inputs)

    def train_with(**implementation: bool) -> Callable:
        def train(models: ShadowModels, number: int) -> np.ndarray:
            hidden = models.weights["0.kernel"].shape[2]
            module = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))
            with torch.no_grad():
                for name, array in models.weights.items():
                    layer, part = name.split(".")
                    given = torch.from_numpy(array[number])
                    if part == "kernel":
                        module[int(layer)].weight.copy_(given.T)
                    else:
                        module[int(layer)].bias.copy_(given)
            labels = torch.from_numpy(models.labels[number])
            batches = [torch.from_numpy(batch[batch >= 0].astype(np.int64)) for batch in models.rows[number]]
            optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9, **implementation)
            for batch in batches:
                optimizer.zero_grad()
                functional.cross_entropy(module(everything[batch]), labels[batch]).backward()
                optimizer.step()
            with torch.no_grad():
                return module(everything).numpy()

        return train

    return {
        "default": train_with(),
        "fused": train_with(fused=True),
        "foreach": train_with(foreach=True),
        "for loop": train_with(foreach=False),
    }


def run_engine(name: str, hidden: int, count: int) -> None:
    """Measure once, in this process, and print what came of it."""
    job, inputs, labels, members, models, draw = drawn(hidden, count)
    start = time.perf_counter()
    if name.startswith("trustml jax"):
        import jax

        import trustml.backends.jax.shadows  # noqa: F401

        jax.devices("cpu")
        imported = time.perf_counter() - start
        logits, found = in_jax(job, inputs, models, cores=1 if "one core" in name else 0)
    else:
        import torch  # noqa: F401

        imported = time.perf_counter() - start
        logits, found = in_torch(job, inputs, models, by_hand="hand" in name)
    right = logits.argmax(axis=2) == labels
    checks = {"members": float(right[members].mean()), "others": float(right[~members].mean())}
    found |= {"import": imported, "draw": draw, "accuracy": checks, "logit": float(np.abs(logits).mean())}
    found["total"] = draw + found.get("compile", 0.0) + found["train"]
    print(json.dumps(found), flush=True)


def measure(name: str, hidden: int, count: int) -> dict:
    """Measure once in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--engine", name, "--hidden", str(hidden), "--models", str(count)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("JAX_")},
            **switch_variables(Execution()),
            "PYTHONPATH": str(HERE.parent / "src"),
        },
    )
    return json.loads(done.stdout.splitlines()[-1])


def summary(runs: list[dict]) -> dict:
    """Medians and quartiles in seconds."""
    found = {}
    for part in ("total", "draw", "compile", "train", "processor", "import"):
        if part in runs[0]:
            low, middle, high = np.quantile([run[part] for run in runs], [0.25, 0.5, 0.75]).tolist()
            found[part] = {"median": middle, "low": low, "high": high}
    ways = sorted({run["way"] for run in runs if "way" in run})
    return {**found, "n": len(runs), "ways": ways, "accuracy": runs[0]["accuracy"], "logit": runs[0]["logit"]}


def table(results: dict[str, dict[str, dict]]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| model | engine | all, s | quartiles | of it compiling, s | jax is faster by | accuracy in, out |",
        "|---|---|---|---|---|---|---|",
    ]
    for workload, engines in results.items():
        base = engines["trustml jax"]["total"]["median"]
        for name, one in engines.items():
            total, compiling = one["total"], one.get("compile", {}).get("median")
            lines.append(
                f"| {workload} | {name}{' (' + ' or '.join(one['ways']) + ')' if one['ways'] else ''} | "
                f"{total['median']:.2f} | {total['low']:.2f}-{total['high']:.2f} | "
                f"{'' if compiling is None else f'{compiling:.2f}'} | {total['median'] / base:.1f} | "
                f"{one['accuracy']['members']:.4f}, {one['accuracy']['others']:.4f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=ENGINES, help="measure this one once, in this process")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", default=str(HERE / "results" / "shadow_models"))
    asked = parser.parse_args()
    if asked.engine:
        run_engine(asked.engine, asked.hidden[0], asked.models)
        return
    results = {}
    for hidden in asked.hidden:
        runs: dict[str, list[dict]] = {name: [] for name in ENGINES}
        for turn in range(asked.repetitions):
            for name in ENGINES if turn % 2 else reversed(ENGINES):
                runs[name].append(measure(name, hidden, asked.models))
        workload = f"64-{hidden}-10"
        results[workload] = {name: summary(found) for name, found in runs.items()}
        print(table({workload: results[workload]}), flush=True)
    machine = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("jax", "jaxlib", "torch", "numpy")},
    }
    setting = {"models": asked.models, "trained on": TRAINED, "epochs": REGIME.epochs, "batch": REGIME.batch_size}
    out = Path(asked.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "setting": setting, "seconds": results}
    out.with_suffix(".json").write_text(json.dumps(content, indent=2) + "\n")
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    out.with_suffix(".md").write_text(
        f"# {asked.models} shadow models of the digits MLP\n\nMade by `python benchmarks/shadow_models.py`. Each model "
        f"has {TRAINED} of 1,797 digits, {REGIME.epochs} epochs and batches of {REGIME.batch_size},\nby SGD with "
        f"momentum; then it gives logits of all digits. {asked.repetitions} repetitions in processes of their own, "
        "engines in\nturns; medians and quartiles. Drawing and compiling are in it, imports are not. Torch runs in the "
        f"fastest of the ways\nthat were tried.\n\n{table(results)}\n\nOn: {about}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
