"""Make the stored runs anew: ``python -m tests.records.make [NAME ...]`` in the main environment, minutes.

``frameworks`` needs the tensorflow environment too. What is made takes the place of ``tests/records/runs/<NAME>-*``:
whole run directories, ``private/`` with them, since measures are computed from it; the examples are scikit-learn's
digits, so nothing of them is secret. What would tell of the machine that made them is taken off: its processor, memory
and system, what jobs printed, and any path. Arrays are compressed, and hashes follow.

After this, ``python -m tests.records.golden`` writes what is read from them, and the difference is to be looked at.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from msgspec.structs import replace

import trustml
from trustml.auditing.result import encode_audit
from trustml.auditing.run_audit import audit_run
from trustml.compare.rows import write_measures
from trustml.models.layers import Architecture, Conv2D, Dense, Flatten, ReLU
from trustml.models.zoo import mlp
from trustml.record.files import encode_arrays, write_atomic
from trustml.record.store import ALL_EVENTS, AUDIT, EVENTS, LOCK, RunDirectory
from trustml.scenario.attacks import Attacks, Canaries, Game, MembershipInference
from trustml.scenario.federated import DPFedAvg, FedAvg
from trustml.scenario.methods import FeatureAblation, IntegratedGradients, Saliency
from trustml.scenario.optimizers import SGD
from trustml.scenario.partition import IID, Dirichlet, Everyone, PoissonCohort
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.sources import BreastCancer, Digits
from trustml.scenario.spec import Execution, Explanations, Scenario

RUNS = Path(__file__).resolve().parent / "runs"
DENSE = Architecture(layers=(Flatten(), Dense(units=10)))
_ONE_THREAD = Execution(threads=1)
_LOCAL = {"rounds": 3, "batch_size": 8, "client_optimizer": SGD(learning_rate=0.1)}

FRAMEWORKS = Scenario(
    name="frameworks",
    data=Digits(test_fraction=0.5),
    model=Architecture(
        layers=(Conv2D(filters=4, stride=(2, 2), padding=((1, 1), (1, 1))), ReLU(), Flatten(), Dense(units=10)),
    ),
    training=(
        Plain(epochs=1, batch_size=64, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        DPSGD(noise_multiplier=2.0, epochs=2, batch_size=64),
        FedAvg(partition=IID(clients=4), rounds=2, batch_size=32),
    ),
    explanations=Explanations(examples=12),
    execution=_ONE_THREAD,
)
"""Every framework, every kind of regime, explained by every library."""

ATTACKED = Scenario(
    name="attacked",
    data=Digits(test_fraction=0.5),
    model=Architecture(layers=(Flatten(), *mlp([32], classes=10).layers)),
    training=(
        Plain(name="Overfitted", epochs=40, batch_size=32, optimizer=SGD(learning_rate=0.1, momentum=0.9)),
        DPSGD(epsilon=3.0, epochs=4, batch_size=64),
    ),
    explanations=Explanations(methods=()),
    attacks=Attacks(
        membership=MembershipInference(shadow_models=8),
        canaries=(Canaries(kind="dirac gradient", count=200),),
        games=(Game(trials=400), Game(trials=400, fault="no clipping")),
    ),
    backends=("jax",),
    seeds=(0, 1),
    execution=_ONE_THREAD,
)
"""Every kind of attack; one of the games has a mistake planted."""

FEDERATED = Scenario(
    name="federated",
    data=Digits(),
    model=DENSE,
    backends=("jax",),
    training=(
        Plain(epochs=1, batch_size=64),
        DPSGD(noise_multiplier=2.0, epochs=1, batch_size=256),
        FedAvg(
            partition=Dirichlet(clients=12, alpha=0.3), cohort=Everyone(dropout=0.25), target_accuracy=0.01, **_LOCAL
        ),
        DPFedAvg(
            partition=IID(clients=200),
            cohort=PoissonCohort(clients=100),
            noise_multiplier=2.0,
            target_accuracy=1.0,
            **_LOCAL,
        ),
    ),
    explanations=Explanations(methods=()),
    execution=_ONE_THREAD,
)
"""Clients, with and without privacy for each of them, beside central training."""

EVIDENCE = Scenario(
    name="evidence",
    data=Digits(test_fraction=0.8),
    model=DENSE,
    backends=("torch",),
    training=(DPSGD(noise_multiplier=2.0, steps=5, batch_size=64),),
    explanations=Explanations(examples=4, methods=()),
    attacks=Attacks(membership=MembershipInference(shadow_models=0)),
    execution=_ONE_THREAD,
)
"""One private model, attacked without shadow models and audited: small enough to be verified again and again."""

PRIVATE = Scenario(
    name="private",
    data=Digits(test_fraction=0.8),
    model=DENSE,
    backends=("jax",),
    training=(Plain(epochs=1, batch_size=64), DPSGD(noise_multiplier=2.0, epochs=2, batch_size=64)),
    explanations=Explanations(methods=()),
    execution=_ONE_THREAD,
)
"""A private model beside a plain one."""

TWICE = Scenario(
    name="twice",
    data=Digits(test_fraction=0.8),
    model=DENSE,
    backends=("jax",),
    training=(DPSGD(noise_multiplier=2.0, epochs=2, batch_size=64),),
    seeds=(0, 1),
    explanations=Explanations(examples=3, methods=(Saliency(),)),
    execution=_ONE_THREAD,
)
"""Two private models of the same data, explained."""

STUDY = Scenario(
    name="study",
    data=BreastCancer(),
    model=mlp([8], classes=2),
    training=(
        Plain(epochs=10, batch_size=32, optimizer=SGD(learning_rate=0.05, momentum=0.9)),
        DPSGD(noise_multiplier=4.0, epochs=5, batch_size=64, optimizer=SGD(learning_rate=0.3)),
        Plain(name="Stopped", epochs=10, batch_size=32, stop_at="DPSGD"),
        Plain(name="Random", epochs=3, batch_size=32, random_labels=True),
    ),
    backends=("jax",),
    seeds=(0, 1, 2),
    explanations=Explanations(
        examples=16,
        scope="own",
        methods=(IntegratedGradients(n_steps=8), FeatureAblation()),
        timing=False,
    ),
    execution=_ONE_THREAD,
)
"""Regimes over three seeds, whose explanations are compared."""

SCENARIOS = {one.name: one for one in (FRAMEWORKS, ATTACKED, FEDERATED, EVIDENCE, PRIVATE, TWICE, STUDY)}
_NEUTRAL = {"machine": "x86_64", "processor": "a processor", "cores": "2", "memory_gib": "8.0", "system": "Linux"}
_STEP = 64
"""Logits of reference models are rounded to 1/64: they are most of an attacked run, and hardly compress otherwise."""


def main(names: list[str]) -> None:
    """Make the runs of these names, or all."""
    RUNS.mkdir(exist_ok=True)
    for name in names or SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            run = make(name, Path(folder))
            make_neutral(run.directory)
            for old in RUNS.glob(f"{name}-*"):
                shutil.rmtree(old)
            shutil.copytree(run.path, RUNS / run.id)


def make(name: str, folder: Path) -> trustml.Run:
    """Run the scenario of this name, and do what belongs to its record."""
    run = trustml.run(SCENARIOS[name], out=folder)
    if run.status != "success":
        raise SystemExit(f"{name}: {[(job.id, job.reason) for job in run.manifest.jobs if job.reason]}")
    if name == ATTACKED.name:
        for path in run.path.glob("private/attacks/shadow.*.npz"):
            with np.load(path, allow_pickle=False) as arrays:
                np.savez(path, **{**arrays, "logits": np.round(arrays["logits"] * _STEP) / _STEP})
        write_measures(run.directory)
    if name == EVIDENCE.name:
        (run.path / AUDIT).write_bytes(encode_audit(audit_run(run.directory)))
    return run


def make_neutral(run: RunDirectory) -> None:
    """Take off what tells of the machine, and compress what only maps into memory faster."""
    (run.path / LOCK).unlink(missing_ok=True)
    shutil.rmtree(run.path / "private/logs", ignore_errors=True)
    for path in (run.path / "private").rglob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:  # plans, which ledgers name by hash, stay as they are
            write_atomic(path, encode_arrays(dict(arrays)), private=True)
    for name in (EVENTS, ALL_EVENTS):
        content = (run.path / name).read_bytes()
        (run.path / name).write_bytes(content.replace(str(run.path.parent).encode(), b"runs"))
    manifest = run.manifest()
    run.write_manifest(replace(manifest, hardware=_NEUTRAL))
    for path in run.path.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if found := [word for word in machine_words() if word.encode() in content]:
            raise SystemExit(f"{path}: names {found}")


def machine_words() -> tuple[str, ...]:
    """Words that no stored file may hold: folders, host and user of this machine."""
    folders = (str(Path(__file__).resolve().parents[2]), tempfile.gettempdir(), str(Path.home()), sys.prefix)
    return tuple({word for word in (*folders, os.uname().nodename) if len(word) > 3})


if __name__ == "__main__":
    main(sys.argv[1:])
