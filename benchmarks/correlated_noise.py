"""Private training with noise that is correlated over steps beside DP-SGD, at equal epsilon, on MNIST and Adult.

``python benchmarks/correlated_noise.py rates`` chooses a learning rate for each mechanism and epsilon: of powers of
two, the one after which a network that plain numpy trains is best on the *training* rows, with weights and
noise that no run uses. No epsilon covers that choice, which all mechanisms are given alike.
``python benchmarks/correlated_noise.py runs --seeds 3`` then trains what is still missing through ``trustml.run`` on
JAX, seed after seed. Both write ``benchmarks/results/correlated_noise.json`` as they go, and the page
``docs/results/correlated_noise.md``; ``held-out`` looks at what other rates give on held-out rows, and ``page`` only
writes the page.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import itertools
import json
import math
import os
import platform
import resource
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from scipy import stats

import trustml
from correlated_noise_rates import accuracy_on, best_rate, clipped_sum, flat, held_out_lines
from trustml.data.batches import BatchPlan, batches_in_turn, cyclic_poisson_batches, poisson_batches
from trustml.data.dataset import Dataset
from trustml.data.datasets import load_dataset
from trustml.models.layers import Architecture, Flatten
from trustml.models.weights import initial_weights
from trustml.models.zoo import mlp
from trustml.plan.cycles import groups_of
from trustml.plan.mechanism import plan_mechanism
from trustml.privacy.noise_strategy import NoiseStrategy, NoiseStream, noise_matrix, noise_strategy
from trustml.scenario.attacks import Attacks
from trustml.scenario.federated import BandedMatrix, BufferedToeplitz, IndependentNoise, NoiseMechanism, TreeAggregation
from trustml.scenario.optimizers import SGD
from trustml.scenario.read import read_scenario
from trustml.scenario.ready import find_scenario
from trustml.scenario.regimes import DPSGD, Sampling
from trustml.scenario.spec import Execution, Explanations, Scenario

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "correlated_noise.json"
PAGE = HERE.parent / "docs" / "results" / "correlated_noise.md"
EPSILONS = (1.0, 4.0, 16.0)
EPOCHS, DELTA = 10, 1e-5
MECHANISMS: dict[str, NoiseMechanism] = {
    "amplified": IndependentNoise(),
    "in turn": IndependentNoise(),
    "tree": TreeAggregation(),
    "banded": BandedMatrix(),
    "BLT": BufferedToeplitz(),
    "amplified banded": BandedMatrix(),
}
SAMPLINGS: dict[str, Sampling] = {"amplified": "poisson", "amplified banded": "cyclic poisson"}
"""Of all others batches come in turn."""
BASELINES = ("in turn", "amplified")
"""What the others are compared with: DP-SGD on batches in a fixed order, and on secret Poisson batches."""
_WORDS = {"in turn": "batches in a fixed order", "amplified": "secret Poisson batches"}
_HEAD = """# Correlated noise beside DP-SGD at equal epsilon

Made by `TRUSTML_DATA=<folder> python benchmarks/correlated_noise.py rates`, then `... runs`. An MLP of 32 hidden units
is trained on JAX through `trustml.run`, {epochs} epochs, clipping norm 1, plain SGD, delta {delta:g}: on the first
10,000 images of MNIST in batches of 250 (400 steps; accuracy on the 10,000 test images) and on Adult's 32,561 training
rows in batches of 1,000 (330 steps; accuracy on its 16,281 test rows, of which 0.764 have the larger class).
Trainings of a seed begin with the same weights; batches and noise are each one's own. Differences are means over
seeds with the 90 % interval of Student's t over paired differences, each for itself: of twenty that are nought, two are
expected to lie outside. Learning rates are powers of two, chosen for each mechanism and epsilon by the accuracy on
training rows of a network that plain numpy trained; no epsilon covers that choice.

- *amplified*: DP-SGD with independent noise on secret Poisson batches. Its epsilon rests on their secrecy.
- *in turn*: DP-SGD with independent noise on batches in one fixed order, which may be public. Nothing is amplified.
- *tree*, *banded* (16 bands), *BLT* (4 buffers): batches as *in turn*, with [correlated noise](../privacy_noise.md).
  Nothing is amplified here either.
- *amplified banded*: banded noise on [cyclic Poisson batches](../privacy_noise.md#banded-noise-with-amplification)
  (Choquette-Choo et al., NeurIPS 2023), which are secret; bands as trustml chooses them, up to 16.

The epsilon of both amplified ones speaks of adding or removing an example, that of the others of zeroing one out;
either moves a step's sum by the clipping norm at most.
"""
_EXPECTED = """Root mean square error of the running sums of noisy gradients, over that of *amplified*; the noise
multiplier; the learning rate; of *amplified banded* the bands. The tree's multiplier pays for its nodes, so it is no
measure of its noise."""
_TUNING = 1_000_003
"""Seeds what learning rates are chosen with; no run has it."""

_LOOKED_AT, _LOOKING = ("mnist", 16.0), (11, 12, 13)  # of what other rates are looked at, by which seeds


@dataclass(frozen=True, kw_only=True)
class Task:
    """A ready scenario's data, cut to what an hour allows, and a network."""

    scenario: str
    model: Architecture
    first: int | None
    batch_size: int


TASKS = {
    "mnist": Task(
        scenario="audit_mnist",
        model=Architecture(layers=(Flatten(), *mlp([32], classes=10).layers)),
        first=10_000,
        batch_size=250,
    ),
    "adult": Task(scenario="adult", model=mlp([32], classes=2), first=None, batch_size=1000),
}


def regime_of(task: Task, mechanism: str, *, epsilon: float, rate: float = 1.0) -> DPSGD:
    """One side of the comparison."""
    return DPSGD(
        name=mechanism.replace(" ", "_"),
        epsilon=epsilon,
        delta=DELTA,
        epochs=EPOCHS,
        batch_size=task.batch_size,
        sampling=SAMPLINGS.get(mechanism, "in turn"),
        mechanism=MECHANISMS[mechanism],
        optimizer=SGD(learning_rate=rate),
    )


def scenario_of(task: Task) -> Scenario:
    """The ready scenario with our network, and nothing but training."""
    whole = read_scenario(find_scenario(task.scenario))
    data = whole.data
    if task.first is not None:
        folder = Path(data.images).parent
        data = replace(
            data,
            first=task.first,
            test_images=str(folder / "t10k-images-idx3-ubyte.gz"),
            test_labels=str(folder / "t10k-labels-idx1-ubyte.gz"),
        )
    return replace(
        whole,
        name="correlated",
        data=data,
        model=task.model,
        explanations=Explanations(methods=()),
        attacks=Attacks(),
        backends=("jax",),
        execution=Execution(threads=1, compilation_cache="user"),
        chosen_from_data=("training",),
    )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A private training in plain numpy, to choose a learning rate with."""

    task: Task
    data: Dataset
    regime: DPSGD

    def plan(self, seed: int = _TUNING) -> BatchPlan:
        """Batches by the regime's rule."""
        examples, size, generator = len(self.data.train), self.task.batch_size, np.random.default_rng(seed)
        steps = self.regime.total_steps(examples)
        if self.regime.sampling == "cyclic poisson":
            groups = groups_of(self.regime, examples)
            rate = groups * size / examples
            return cyclic_poisson_batches(examples, groups=groups, steps=steps, sample_rate=rate, generator=generator)
        if self.regime.sampling == "poisson":
            return poisson_batches(examples, steps=steps, sample_rate=size / examples, generator=generator)
        return batches_in_turn(examples, steps=steps, batch_size=size, generator=generator)

    def facts(self) -> dict[str, float]:
        """Noise as the product calibrates it, and what running sums then carry, in clipping norms."""
        examples, plan = len(self.data.train), self.plan()
        mechanism = plan_mechanism(self.regime, field="regime", examples=examples, plan=plan)
        sums, noise = np.cumsum(noise_matrix(self.strategy()), axis=0), mechanism.noise_multiplier
        groups = {"bands": mechanism.separation} if self.regime.sampling == "cyclic poisson" else {}
        return {"noise": noise, "error": noise * float(np.sqrt((sums**2).sum() / len(plan))), **groups}

    def strategy(self) -> NoiseStrategy:
        """Noise of all steps."""
        examples = len(self.data.train)
        cyclic = self.regime.sampling == "cyclic poisson"
        separation = groups_of(self.regime, examples) if cyclic else math.ceil(examples / self.task.batch_size)
        steps = self.regime.total_steps(examples)
        return noise_strategy(self.regime.mechanism, steps=steps, separation=separation)

    def accuracy(self, rate: float, noise: float) -> float:
        """Accuracy on the training rows after the last step."""
        return accuracy_on(self.data.train, self.trained(rate, noise, seed=_TUNING))

    def trained(self, rate: float, noise: float, *, seed: int) -> list[np.ndarray]:
        """Weights after the last step; a seed is that of batches, start and noise."""
        inputs, labels, plan = flat(self.data.train), self.data.train.labels, self.plan(seed)
        drawn = initial_weights(
            self.task.model, self.data.input_shape, generator=np.random.default_rng([seed, 1])
        )  # a kernel and a bias a layer, in the order of the layers
        weights = [np.array(array, np.float32) for array in drawn.values()]
        stream = NoiseStream(self.strategy(), sum(array.size for array in weights))
        generator = np.random.default_rng([seed, 2])
        for batch in plan:
            fresh = generator.standard_normal(sum(array.size for array in weights), np.float32)
            noisy = clipped_sum(weights, inputs[batch], labels[batch]) + np.float32(noise) * stream.take(fresh)
            start = 0
            for array in weights:
                part = noisy[start : start + array.size].reshape(array.shape)
                array -= np.float32(rate / self.task.batch_size) * part
                start += array.size
        return weights


def choose_rates(results: dict[str, Any]) -> None:
    """Fill in noise and learning rates that are missing."""
    for name, task in TASKS.items():
        data = load_dataset(scenario_of(task).data)
        for mechanism in MECHANISMS:
            rate = 1.0
            for epsilon in EPSILONS:
                found = results["plans"].setdefault(f"{name} {mechanism} {epsilon:g}", {})
                if not found:
                    trial = Trial(task=task, data=data, regime=regime_of(task, mechanism, epsilon=epsilon))
                    found |= trial.facts()
                    best = best_rate(functools.partial(trial.accuracy, noise=found["noise"]), rate)
                    found |= {"rate": best, "examples": len(data.train)}
                    write(results)
                    print(name, mechanism, epsilon, found, flush=True)
                rate = found["rate"]  # about that of the next epsilon


def look_held_out(results: dict[str, Any]) -> None:
    """See what other rates would have given on held-out rows, where the choice mattered most."""
    task, name, epsilon = TASKS[_LOOKED_AT[0]], *_LOOKED_AT
    data = load_dataset(scenario_of(task).data)
    found: dict[str, list[dict[str, float]]] = {}
    for mechanism in ("amplified", "amplified banded"):
        trial = Trial(task=task, data=data, regime=regime_of(task, mechanism, epsilon=epsilon))
        plan = results["plans"][f"{name} {mechanism} {epsilon:g}"]
        for rate in (plan["rate"] / 2, plan["rate"]):
            trained = [trial.trained(rate, plan["noise"], seed=seed) for seed in _LOOKING]
            rows = {"train": data.train, "test": data.test}
            means = {which: float(np.mean([accuracy_on(one, w) for w in trained])) for which, one in rows.items()}
            found.setdefault(mechanism, []).append({"rate": rate, **means})
    results["held_out"] = found
    write(results)


def train(results: dict[str, Any], *, name: str, epsilon: float, seeds: range) -> None:
    """Train what is missing for an epsilon, each mechanism with each seed."""
    missing = [m for m in MECHANISMS if any(key(name, m, epsilon, seed) not in results["runs"] for seed in seeds)]
    left = tuple(s for s in seeds if any(key(name, m, epsilon, s) not in results["runs"] for m in missing))
    if not left:
        return
    task = TASKS[name]
    rates = {mechanism: results["plans"][f"{name} {mechanism} {epsilon:g}"]["rate"] for mechanism in missing}
    regimes = tuple(regime_of(task, m, epsilon=epsilon, rate=rates[m]) for m in missing)
    began = processor_seconds()
    with tempfile.TemporaryDirectory() as folder:
        table = trustml.run(replace(scenario_of(task), training=regimes, seeds=left), out=folder).measures()
    for (mechanism, regime), seed in itertools.product(zip(missing, regimes, strict=True), left):
        own = table[(table.regime == regime.title) & (table.seed == seed)].set_index("measure").value
        figures = {measure: float(own[measure]) for measure in ("accuracy", "log_loss", "epsilon")}
        if not all(map(math.isfinite, figures.values())):
            raise SystemExit(f"{name}, {regime.title}, seed {seed}: a training failed")
        results["runs"][key(name, mechanism, epsilon, seed)] = figures
    results["processor_seconds"] += round(processor_seconds() - began)
    results |= where()
    write(results)
    print(name, epsilon, left, f"{processor_seconds() - began:.0f} s", flush=True)


def seeds_of(results: dict[str, Any], name: str, epsilon: float) -> list[int]:
    """Seeds with which every mechanism was trained."""
    seeds = sorted({int(one.split()[-1]) for one in results["runs"]})
    return [seed for seed in seeds if all(key(name, m, epsilon, seed) in results["runs"] for m in MECHANISMS)]


def cells_of(results: dict[str, Any]) -> list[tuple[str, float]]:
    """Data and epsilons of which there is an interval to tell."""
    return [cell for cell in itertools.product(TASKS, EPSILONS) if len(seeds_of(results, *cell)) > 1]


def of_seeds(results: dict[str, Any], name: str, mechanism: str, epsilon: float, measure: str) -> np.ndarray:
    """A figure of each seed, in their order."""
    seeds = seeds_of(results, name, epsilon)
    return np.array([results["runs"][key(name, mechanism, epsilon, seed)][measure] for seed in seeds])


def difference_of(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Mean of the paired differences, and its 90 % interval by Student's t."""
    differences = ours - theirs
    reach = float(stats.t.ppf(0.95, len(ours) - 1) * differences.std(ddof=1) / math.sqrt(len(ours)))
    mean = float(differences.mean())
    return mean, mean - reach, mean + reach


def page(results: dict[str, Any]) -> str:
    """Write the tables, and in words only what they say."""
    plans, titles, cells = results["plans"], list(MECHANISMS), cells_of(results)
    lines = [_HEAD.format(epochs=EPOCHS, delta=DELTA), "## Held-out accuracy, mean over seeds", ""]
    lines += [_row("data, epsilon", *titles, "seeds"), "|---" * (2 + len(titles)) + "|"]
    for name, epsilon in cells:
        means = [f"{of_seeds(results, name, m, epsilon, 'accuracy').mean():.4f}" for m in titles]
        lines.append(_row(f"{name}, {epsilon:g}", *means, str(len(seeds_of(results, name, epsilon)))))
    for baseline in BASELINES:
        others = [m for m in titles if m not in BASELINES] + [b for b in BASELINES if b != baseline]
        lines += ["", f"## Less that of DP-SGD, {_WORDS[baseline]}", ""]
        lines += [_row("data, epsilon", *others), "|---" * (1 + len(others)) + "|"]
        told: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
        for name, epsilon in cells:
            theirs, row = of_seeds(results, name, baseline, epsilon, "accuracy"), []
            for mechanism in others:
                mean, low, high = difference_of(of_seeds(results, name, mechanism, epsilon, "accuracy"), theirs)
                row.append(f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]")
                verdict = "better" if low > 0 else "worse" if high < 0 else "not told apart"
                told[verdict].append(f"{mechanism} on {name} at {epsilon:g}")
            lines.append(_row(f"{name}, {epsilon:g}", *row))
        lines += ["", *(f"- *{verdict}*: {', '.join(which) or 'none'}." for verdict, which in told.items())]
    lines += ["", "## What was to be expected", "", _EXPECTED, ""]
    lines += [_row("data, epsilon", *titles), "|---" * (1 + len(titles)) + "|"]
    for name, epsilon in cells:
        found = [plans[f"{name} {m} {epsilon:g}"] for m in titles]
        amplified = found[0]["error"]
        row = [
            f"{one['error'] / amplified:.2f}; {one['noise']:.2f}; {one['rate']:g}"
            + (f"; {one['bands']}" if "bands" in one else "")
            for one in found
        ]
        lines.append(_row(f"{name}, {epsilon:g}", *row))
    if "held_out" in results:
        name, epsilon = _LOOKED_AT
        chosen = {mechanism: plans[f"{name} {mechanism} {epsilon:g}"]["rate"] for mechanism in results["held_out"]}
        looked = f"On {name} at {epsilon:g}, plain numpy with {len(_LOOKING)} other seeds"
        lines += held_out_lines(results["held_out"], chosen, where=looked)
    lines += ["", f"{len(results['runs'])} trainings, {results['processor_seconds']} seconds of processor; "
              f"{results['date']}, {results['machine']}."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _row(*fields: str) -> str:
    return f"| {' | '.join(fields)} |"


def key(name: str, mechanism: str, epsilon: float, seed: int) -> str:
    """Name a training."""
    return f"{name} {mechanism} {epsilon:g} {seed}"


def processor_seconds() -> float:
    """Of this process and of those it started that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def where() -> dict[str, str]:
    """Where and when."""
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, jax {version('jax')}"
    return {"machine": machine, "date": datetime.date.today().isoformat()}


def write(results: dict[str, Any]) -> None:
    """Write the results whole, or not at all."""
    beside = RESULTS.with_suffix(".tmp")
    beside.write_text(json.dumps(results, indent=1) + "\n")
    beside.replace(RESULTS)


def main() -> None:
    """Choose rates, train, or write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("rates", "runs", "held-out", "page"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--together", type=int, default=2, help="seeds of one run")
    parser.add_argument("--most", type=float, default=math.inf, help="begin nothing after so many processor seconds")
    asked = parser.parse_args()
    results = {"plans": {}, "runs": {}, "processor_seconds": 0}
    if RESULTS.is_file():
        results = json.loads(RESULTS.read_text())
    if asked.what == "rates":
        choose_rates(results)
    elif asked.what == "held-out":
        look_held_out(results)
    elif asked.what == "runs":
        for first, name, epsilon in itertools.product(range(0, asked.seeds, asked.together), TASKS, EPSILONS):
            if processor_seconds() < asked.most:
                last = min(asked.seeds, first + asked.together)
                train(results, name=name, epsilon=epsilon, seeds=range(first, last))
    if cells_of(results):
        PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
