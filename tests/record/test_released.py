"""Whoever has a run directory without ``private/`` has functions of released things, and what the statement names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import trustml
from tests import WHOLE
from tests.conftest import made_once, measured_once
from tests.record.walking import parts_of, public_files
from tests.records import unasked_second_opinion
from trustml.measures.measure import MEASURES
from trustml.models.layers import Architecture, Dense, Flatten
from trustml.models.zoo import mlp
from trustml.plan.job import decode_job, promises_privacy
from trustml.record.released import RELEASED, why_released
from trustml.report.privacy.released import released_markdown
from trustml.scenario.attacks import Attacks, Canaries, Game, MembershipInference
from trustml.scenario.spec import Execution, Explanations, Probes, Scenario

pytestmark = [pytest.mark.torch, pytest.mark.jax]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "released.md"


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> trustml.Run:
    """A private, federated, attacked run, with a plain model beside it. Only to be read."""
    scenario = Scenario(
        name="released",
        data=trustml.Digits(test_fraction=0.2),  # few enough that they are looked at in training
        model=Architecture(layers=(Flatten(), *mlp([8], classes=10).layers)),
        training=(
            trustml.DPSGD(noise_multiplier=2.0, epochs=6, batch_size=64),
            trustml.DPFedAvg(partition=trustml.IID(clients=40), noise_multiplier=2.0, rounds=5, batch_size=16),
            trustml.FedAvg(partition=trustml.IID(clients=4), rounds=2, batch_size=32),
        ),
        backends=("jax",),
        explanations=Explanations(
            examples=6,
            scope="own",
            methods=(
                trustml.IntegratedGradients(n_steps=4),
                *((trustml.GradientShap(background=trustml.Background(rows="uniform", count=4)),) if WHOLE else ()),
            ),
            probes=Probes(robustness=True, randomisation=True, examples=2, n_perturbations=2),
            timing=False,
        ),
        attacks=Attacks(
            membership=MembershipInference(shadow_models=4),
            canaries=(Canaries(kind="dirac gradient", count=20),),
            games=(Game(trials=100),) if WHOLE else (),
        ),
        execution=Execution(threads=1),
    )

    def make(folder: Path) -> None:
        with unasked_second_opinion():
            run = trustml.run(scenario, out=folder)
        assert run.status == "success", [(r.id, r.reason) for r in run.manifest.jobs if r.status != "ok"]

    return made_once(tmp_path_factory, "released", make)


@pytest.fixture(scope="module")
def of_torch(tmp_path_factory) -> trustml.Run:
    """A private run by another library, which chooses among ways to clip; in short it is a stored one."""
    if not WHOLE:
        return measured_once(tmp_path_factory, "frameworks")
    scenario = Scenario(
        name="released_torch",
        data=trustml.Digits(test_fraction=0.8),
        model=Architecture(layers=(Flatten(), *mlp([8], classes=10).layers)),
        training=(trustml.DPSGD(noise_multiplier=2.0, epochs=2, batch_size=64),),
        backends=("torch",),
        explanations=Explanations(examples=4, methods=(trustml.Saliency(),), timing=False),
        execution=Execution(threads=1),
    )
    with unasked_second_opinion():
        run = trustml.run(scenario, out=tmp_path_factory.mktemp("torch"))
    assert run.status == "success", [(r.id, r.reason) for r in run.manifest.jobs if r.status != "ok"]
    return run


def promises(run: Path, file: str) -> bool:
    job = run / Path(file).parent / "job.json"
    return file.startswith("jobs/") and promises_privacy(decode_job(job.read_bytes()))


def test_of_every_part_of_every_file_it_is_known_why_it_is_released(released, of_torch):
    for run in (released.path, of_torch.path):
        files = public_files(run)
        unknown = [(file, part) for file in files for part in parts_of(run / file) if why_released(file, part) is None]
        assert not unknown
    run = released.path
    kinds = {file.rsplit("/", 1)[-1] for file in public_files(run)}
    assert kinds >= {
        "manifest.json", "events.jsonl", "measures.parquet", "privacy.json", "curves.json", "heldout.npz", "job.json",
        "result.json", "ledger.jsonl", "weights.safetensors", "predictions.npz", "attributions.npz", "probes.npz",
        "history.npz",
    }  # fmt: skip


def test_scores_of_a_private_training_are_published_at_its_end_and_its_statement_names_them(released):
    name = "train.jax.DPSGD.s0"
    found = released.directory.arrays(f"jobs/{name}/history.npz")
    assert found["steps"].tolist()[0] == 0 and len(found["steps"]) > 2
    scored = released.measures().query(f"measure == 'accuracy' and job == '{name}'").value.iloc[0]
    assert found["accuracy"][-1] == pytest.approx(scored)
    named = {one.name: one.coverage for one in next(s for s in released.privacy() if s.model == name).releases}
    assert named["scores in training"] == "epsilon"


def test_weights_that_a_run_starts_from_are_no_public_random_numbers():
    drawn, given = (why_released("weights/initial.s0.safetensors", "0.kernel", started=s) for s in (False, True))
    assert drawn.reason == "public random numbers"
    assert (given.reason, given.named) == ("named", "starting weights")  # as the statement lists them


def test_every_kind_of_attack_came_to_figures(released):
    table = released.measures().dropna(subset="value")
    jobs = {job.kind: job.id for job in released.manifest.jobs}
    for kind in ("canary", "game") if WHOLE else ("canary",):
        assert {"audited_epsilon", "claimed_epsilon", "ceiling_all_correct"} <= set(
            table[table.job == jobs[kind]].measure
        )
    methods = set(table[table.measure == "membership_auc"].method)
    assert {"loss", "learned", "lira-online", "lira-offline", "rmia-1"} <= methods


def test_what_is_new_is_not_known(released, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(released.path, run, ignore=shutil.ignore_patterns("private"))
    job = run / "jobs" / "train.jax.DPSGD.s0"
    np.savez(job / "norms.npz", norms=np.ones(3))
    np.savez(job / "predictions.npz", test_logits=np.ones(3), train_logits=np.ones(3))
    (run / "batches.txt").write_text("3 1 4")
    with (run / "events.jsonl").open("a") as events:
        events.write('{"event":"step","time":1,"step":3}\n')
    manifest = json.loads((run / "manifest.json").read_bytes())
    manifest["jobs"][0]["result"]["largest_norm"] = 3.1
    (run / "manifest.json").write_text(json.dumps(manifest))
    found = {(f, p) for f in public_files(run) for p in parts_of(run / f) if why_released(f, p) is None}
    assert found == {
        ("jobs/train.jax.DPSGD.s0/norms.npz", "norms"),
        ("jobs/train.jax.DPSGD.s0/predictions.npz", "train_logits"),
        ("batches.txt", "(unknown bytes)"),
        ("events.jsonl", "step:event"),
        ("events.jsonl", "step:time"),
        ("events.jsonl", "step:step"),
        ("manifest.json", "jobs.#.result.largest_norm"),
    }


def test_what_no_private_job_may_leave_is_not_there(released):
    run = released.path
    parts = {(file, part): why_released(file, part) for file in public_files(run) for part in parts_of(run / file)}
    plain = {file for (file, _), known in parts.items() if known.plain_only}
    assert plain and not [file for file in plain if promises(run, file)]


def test_what_follows_the_data_is_named_in_the_statements(released):
    run = released.path
    parts = [why_released(file, part) for file in public_files(run) for part in parts_of(run / file)]
    needed = {known.named for known in parts if known.named}
    statements = released.privacy()
    assert len(statements) == 2
    listed = {one["name"] for statement in statements for one in _plain(statement)["releases"]}
    assert needed <= listed
    for statement in map(_plain, statements):
        coverage = {one["name"]: one["coverage"] for one in statement["releases"]}
        for name in needed & set(coverage):
            assert coverage[name] in ("disclosed", "not covered"), name
            assert any(line.startswith(f"{name}: ") for line in statement["not_covered"]), name
        assert coverage["final weights"] == coverage["attributions"] == "epsilon"
        assert {"explained inputs", "probes of explanations", "results of attacks", "progress events"} <= set(coverage)


def test_an_audit_of_a_run_needs_nothing_private(released, tmp_path):
    from trustml.auditing.run_audit import audit_run
    from trustml.record.store import RunDirectory

    copy = tmp_path / released.path.name
    shutil.copytree(released.path, copy, ignore=shutil.ignore_patterns("private"))
    assert audit_run(RunDirectory(copy)) == audit_run(RunDirectory(released.path))


def test_times_of_private_steps_cannot_be_read_outside_private(released):
    """Every sequence of numbers of about as many as there are steps is held against their times."""
    run = released.path
    hidden = {path.stem: np.load(path)["seconds"] for path in (run / "private" / "timings").glob("*.npz")}
    assert {len(seconds) for seconds in hidden.values()} >= {135}
    public = list(sequences(run))
    assert public
    for job, seconds in hidden.items():
        if len(seconds) < 20:  # so few numbers follow some sequence or other by chance
            continue
        assert follows(np.cumsum(seconds) + 1e9, seconds) > 0.99, "the search itself must see what would tell"
        assert not [name for name, found in public if follows(found, seconds) > 0.8], job
    for line in (run / "events.jsonl").read_bytes().splitlines():
        event = json.loads(line)
        assert event["event"] in ("run", "job-start", "job-end", "done")
        assert all(isinstance(event[name], int) for name in ("time", "seconds") if name in event)
    steps = [json.loads(line)["event"] for line in (run / "private" / "events.jsonl").read_bytes().splitlines()]
    assert "step" in steps and "stage" in steps


def sequences(run: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every sequence of numbers that anybody could read outside ``private/``."""
    for file in public_files(run):
        path = run / file
        match path.suffix:
            case ".npz":
                for name, array in np.load(path).items():
                    if array.dtype.kind in "fiu" and array.ndim and array.size:
                        yield f"{file}:{name}", array.reshape(len(array), -1)[:, 0].astype(float)
            case ".jsonl":
                lines = [json.loads(line) for line in path.read_bytes().splitlines()]
                jobs = {line.get("job", "") for line in lines}
                for name in {name for line in lines for name in line}:
                    for job in jobs:
                        of_job = [line.get(name) for line in lines if line.get("job", "") == job]
                        yield f"{file}:{job}:{name}", _numbers(of_job)
            case ".json":
                yield from ((f"{file}:{name}", found) for name, found in _lists(json.loads(path.read_bytes()), ""))
            case ".parquet":
                table = pd.read_parquet(path)
                for key, rows in table.groupby(["job", "measure"]):
                    yield f"{file}:{key}", rows.value.to_numpy(float)


def follows(found: np.ndarray, seconds: np.ndarray) -> float:
    """Largest rank correlation of the numbers, or of their differences, with the times of the steps after the first.

    By ranks, since one step that the machine held up correlates with whatever has one large number in that place.
    """
    best = 0.0
    wanted = stats.rankdata(seconds[1:])
    for candidate in (found, np.diff(found)):
        for shift in range(3):
            part = candidate[shift : shift + len(wanted)]
            if len(part) == len(wanted) and np.isfinite(part).all() and part.std() > 0:
                best = max(best, abs(float(np.corrcoef(stats.rankdata(part), wanted)[0, 1])))
    return best


def _numbers(values: list[Any]) -> np.ndarray:
    kept = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return np.array(kept, float)


def _lists(content: Any, name: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _lists(value, f"{name}.{key}")
    elif isinstance(content, list):
        yield name, _numbers(content)
        for value in content:
            yield from _lists(value, f"{name}.#")


def _plain(statement: Any) -> dict[str, Any]:
    import msgspec

    return statement if isinstance(statement, dict) else msgspec.to_builtins(statement)


@pytest.mark.parametrize(
    ("changed", "attributions", "probes"),
    [
        ({"methods": {"baseline": {"kind": "HeldOutExample"}}}, "disclosed", "disclosed"),
        ({"methods": {"baseline": {"kind": "TrainingExample"}}}, "not covered", "not covered"),
        ({"methods": {"baseline": {"kind": "PublicExample", "path": "p.npz"}}}, "epsilon", "epsilon"),
        ({"probes": {"baseline": {"kind": "Mean"}}}, "epsilon", "not covered"),
    ],
)
def test_the_statement_says_whose_rows_explanations_show(released, tmp_path, changed, attributions, probes):
    from trustml.measures.evidence import Evidence
    from trustml.measures.releases import releases_of
    from trustml.privacy.ledger import read_ledger
    from trustml.record.store import RunDirectory

    copy = tmp_path / released.path.name
    shutil.copytree(released.path, copy, ignore=shutil.ignore_patterns("private"))
    path = copy / "jobs" / "explain.jax.of.jax.DPSGD.s0" / "job.json"
    job = json.loads(path.read_bytes())
    job["methods"][0] |= changed.get("methods", {})
    job["probes"] |= changed.get("probes", {})
    path.write_text(json.dumps(job))
    evidence = Evidence(RunDirectory(copy))
    private = [job for _, job in evidence.trained() if job.mechanism is not None]
    assert private
    for job in private:
        charges = read_ledger(copy / "jobs" / job.id / "ledger.jsonl")
        coverage = {one.name: one.coverage for one in releases_of(evidence, job, job.regime, charges)}
        assert (coverage["attributions"], coverage["probes of explanations"]) == (attributions, probes)


def test_of_every_measure_it_is_known_why_it_is_released():
    assert not [name for name in MEASURES if why_released("measures.parquet", f"measure:{name}") is None]


def test_the_page_is_the_table():
    assert PAGE.read_text(encoding="utf-8") == released_markdown(), "python -m trustml.report.privacy.released"


def test_every_line_of_the_table_that_names_a_release_is_of_a_name():
    assert all((known.reason == "named") == bool(known.named) for known in RELEASED)


def test_a_training_row_can_be_solved_for_and_the_statement_then_says_that_no_epsilon_holds(tmp_path):
    scenario = Scenario(
        name="shown",
        data=trustml.BreastCancer(),
        model=Architecture(layers=(Dense(units=2),)),
        training=(trustml.DPSGD(noise_multiplier=1.0, epochs=1, batch_size=64),),
        backends=("jax",),
        explanations=Explanations(
            examples=2,
            methods=(trustml.IntegratedGradients(baseline=trustml.TrainingExample(seed=5)),),
            timing=False,
            probes=Probes(faithfulness=False),
            discloses=("training rows",),
        ),
        execution=Execution(threads=1),
    )
    with unasked_second_opinion():
        run = trustml.run(scenario, out=tmp_path)
    weights = run.weights("train.jax.DPSGD.s0")
    kernel = next(array for array in weights.values() if array.ndim == 2)
    heldout = run.heldout()
    attributions = run.attributions("train.jax.DPSGD.s0", backend="jax")
    solved = heldout["inputs"][0] - attributions[0] / kernel[:, heldout["targets"][0]]
    train = run.directory.arrays("private/data.npz")["train_inputs"]
    assert np.abs(train - solved).max(axis=1).min() < 1e-3, "the attack must work, or the refusal is for nothing"
    (statement,) = map(_plain, run.privacy())
    coverage = {one["name"]: one for one in statement["releases"]}
    assert coverage["attributions"]["coverage"] == "not covered"
    assert "no epsilon holds" in coverage["attributions"]["why"]
    assumption = next(one for one in statement["assumptions"] if one["name"] == "explanations show no training rows")
    assert assumption["status"] == "not met" and "IntegratedGradients" in assumption["why"]
    (row,) = run.measures().query("measure == 'epsilon'").itertuples()
    assert "no epsilon holds for the released explanations" in row.note
