"""A run that was interrupted and then damaged is refused in one line, or gone on with as if nothing were."""

from __future__ import annotations

import hashlib
import json
import random
import shutil

import msgspec
import numpy as np
import pytest

import trustml
from tests import WHOLE
from trustml.cli.main import _main
from trustml.errors import PrivacyError, RecordError, TrustmlError
from trustml.launch.intact import NEXT_JOB
from trustml.launch.prepare import prepare_run
from trustml.launch.resume import prepare_resume
from trustml.plan.attack_files import events_file
from trustml.plan.job import checkpoint_file, encode_job
from trustml.plan.mechanism import check_draws, make_charge
from trustml.privacy.ledger import charge, read_ledger
from trustml.record.checkpoint import Checkpoint, Checkpoints
from trustml.record.files import read_arrays
from trustml.record.store import RunDirectory
from trustml.scenario.federated import DPFedAvg
from trustml.scenario.partition import IID
from trustml.scenario.regimes import DPSGD, Plain
from trustml.scenario.spec import Explanations

CASES = 3000 if WHOLE else 40
SEED = random.randrange(10**6) if WHOLE else 0
NUMBERS = tuple(name for name in trustml.plan.job.Mechanism.__struct_fields__ if name not in (
    "attempt", "start_step", "steps", "largest_participation",
))  # fmt: skip


def trained_for(run: RunDirectory, steps: int) -> None:
    """Leave what private trainings leave that were killed after so many steps."""
    for job in private_jobs(run).values():
        mechanism, steps_of = job.mechanism, min(steps, job.mechanism.steps)
        plan = hashlib.sha256(run.file(job.plan).read_bytes()).hexdigest()
        most = 1 if mechanism.sampling == "shuffle" else None
        end = 0
        for first in range(0, steps_of, mechanism.steps_per_charge):
            end = min(first + mechanism.steps_per_charge, mechanism.steps)
            entry = make_charge(mechanism, first=first, end=end, plan=plan, data=job.data_fingerprint, block=most)
            charge(run.job_folder(job.id) / "ledger.jsonl", entry)
        done = mechanism.start_step + steps_of
        if isinstance(job.regime, DPSGD):
            saved = Checkpoint(step=done, weights={"1.kernel": np.zeros((2, 2), np.float32)})
            Checkpoints(run.file(checkpoint_file(job)), seconds=0).write(saved)
        told = run.file(events_file(job.id))
        told.parent.mkdir(parents=True, exist_ok=True)
        with told.open("ab") as stream:
            line = {"time": 1.0, "event": "step", "step": done, "steps": 99, "attempt": mechanism.attempt}
            stream.write(msgspec.json.encode(line) + b"\n")


def private_jobs(run: RunDirectory):
    jobs = (run.job(record.id) for record in run.manifest().jobs)
    return {job.id: job for job in jobs if job.mechanism is not None}


def charges_of(run: RunDirectory, job: str):
    return read_ledger(run.job_folder(job) / "ledger.jsonl")


@pytest.fixture(scope="module")
def interrupted(tiny, tmp_path_factory):
    """Killed in its second attempt, with three private models."""
    few = {"noise_multiplier": 2.0, "batch_size": 64}
    scenario = msgspec.structs.replace(
        tiny,
        backends=("jax",),
        training=(
            Plain(epochs=1, batch_size=64),
            DPSGD(epochs=4, **few),
            DPSGD(name="Shuffled", sampling="shuffle", epochs=4, **few),
            DPFedAvg(partition=IID(clients=40), rounds=6, noise_multiplier=2.0, batch_size=16),
        ),
        explanations=Explanations(methods=()),
    )
    run = prepare_run(scenario, root=tmp_path_factory.mktemp("damaged"))
    trained_for(run, 5)
    prepare_resume(run, allow_overrun=True)
    trained_for(run, 4)
    return run


@pytest.fixture
def copy(interrupted, tmp_path):
    folder = tmp_path / interrupted.path.name
    shutil.copytree(interrupted.path, folder)
    return RunDirectory(folder)


def places(value, path=()):
    """All places in plain data."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def damaged_value(generator: random.Random, value) -> None:
    """Change one place in plain data."""
    *path, key = generator.choice(list(places(value)))
    for name in path:
        value = value[name]
    old, how = value[key], generator.choice(["gone", "number", "other", "other type"])
    if how == "gone":
        del value[key]
    elif how == "number" and isinstance(old, int | float):
        value[key] = generator.choice([0, -1, old + 1, old * 10, old / 10, 1e308, 10**30, not old])
    elif isinstance(old, str) and how != "other type":
        value[key] = generator.choice(["", f"{old}x", "ok", "pending", "../../up", old[::-1], "\0"])
    else:
        value[key] = generator.choice([None, [], {}, "x", -1, [[]], True, 1.5])


def damaged_lines(generator: random.Random, lines: list[bytes]) -> list[bytes]:
    """Change, lose, move or repeat lines."""
    place, other = generator.randrange(len(lines)), generator.randrange(len(lines))
    match generator.choice(["field", "gone", "moved", "twice", "cut"]):
        case "field":
            value = json.loads(lines[place])
            damaged_value(generator, value)
            lines[place] = json.dumps(value).encode()
        case "gone":
            del lines[place]
        case "moved":
            lines[place], lines[other] = lines[other], lines[place]
        case "twice":
            lines.insert(place, lines[place])
        case "cut":
            del lines[place:]
    return lines


def damage(run: RunDirectory, generator: random.Random) -> str:
    """Damage one file; say which and how."""
    files = sorted(path for path in run.path.rglob("*") if path.is_file() and path.name != ".lock")
    path = generator.choice([one for one in files if one.suffix in (".json", ".jsonl")] * 2 + files)
    content = path.read_bytes()
    how = generator.choice(["structure", "gone", "cut", "bit", "empty", "folder", "exchanged", "longer"])
    if how == "structure" and path.suffix == ".jsonl":
        path.write_bytes(b"".join(line + b"\n" for line in damaged_lines(generator, content.split(b"\n")[:-1])))
    elif how == "structure" and path.suffix == ".json" and len(content) > 4:
        value = json.loads(content)
        damaged_value(generator, value)
        path.write_text(json.dumps(value, indent=2))
    elif how == "gone":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "exchanged":
        other = generator.choice([one for one in files if one.suffix == path.suffix])
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
    elif how == "bit":
        place = generator.randrange(len(content))
        flipped = content[place] ^ (1 << generator.randrange(8))
        path.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
    elif how != "structure":
        cut = {"empty": b"", "longer": content + b"\x07"}.get(how, content[: generator.randrange(len(content) + 1)])
        path.write_bytes(cut)
    return f"{path.relative_to(run.path)} {how}"


def check_goes_on(before: RunDirectory, run: RunDirectory, told: str) -> None:
    """All that was charged still is, and what comes next is new and of the same mechanism."""
    assert private_jobs(run).keys() == private_jobs(before).keys(), told
    for name, job in private_jobs(run).items():
        was, spent = private_jobs(before)[name], charges_of(before, name)
        assert charges_of(run, name) == spent, told
        assert job.regime == was.regime, told
        assert all(getattr(job.mechanism, one) == getattr(was.mechanism, one) for one in NUMBERS), told
        assert job.mechanism.attempt == 1 + max(entry.attempt for entry in spent), told
        plan = run.file(job.plan)
        assert hashlib.sha256(plan.read_bytes()).hexdigest() not in {entry.plan for entry in spent}, told
        if isinstance(job.regime, DPSGD):
            sizes = np.diff(read_arrays(plan)["offsets"])
            check_draws(job.mechanism, sizes, examples=job.mechanism.examples, name=told)
            assert job.mechanism.start_step + len(sizes) == job.mechanism.total_steps, told


def test_a_damaged_run_is_refused_in_one_line_or_goes_on_with_all_that_was_charged(interrupted, tmp_path):
    refused = 0
    for case in range(CASES):
        folder = tmp_path / "run"
        shutil.copytree(interrupted.path, folder)
        told = f"{SEED} {case}: {damage(RunDirectory(folder), random.Random(f'{SEED} {case}'))}"
        try:
            prepare_resume(RunDirectory(folder), allow_overrun=True)
        except TrustmlError as error:
            assert str(error) and "\n" not in str(error), told
            refused += 1
        except Exception as error:
            raise AssertionError(told) from error
        else:
            check_goes_on(interrupted, RunDirectory(folder), told)
        shutil.rmtree(folder)
    assert CASES / 5 < refused < CASES


@pytest.mark.parametrize(
    ("job", "left"), [("DPSGD", 0), ("DPSGD", 1), ("DPSGD", -1), ("Shuffled", 1), ("DPFedAvg", 0), ("DPFedAvg", -1)]
)
def test_a_ledger_that_lost_its_last_lines_is_refused(copy, job, left):
    path = copy.path / f"jobs/train.jax.{job}.s0/ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:left]))
    with pytest.raises(RecordError, match="charges are missing; epsilon cannot be stated, start a new run"):
        prepare_resume(copy, allow_overrun=True)


def test_a_ledger_that_is_gone_is_refused_by_its_checkpoint_and_its_progress(copy):
    for job in private_jobs(copy):
        (copy.job_folder(job) / "ledger.jsonl").unlink()
    with pytest.raises(RecordError, match="attempt 2 was planned, and those charged end with 0"):
        prepare_resume(copy, allow_overrun=True)


def test_a_job_that_is_not_that_of_the_manifest_is_refused(copy):
    job = private_jobs(copy)["train.jax.DPSGD.s0"]
    weaker = msgspec.structs.replace(job.mechanism, sample_rate=job.mechanism.sample_rate / 2)
    (copy.job_folder(job.id) / "job.json").write_bytes(encode_job(msgspec.structs.replace(job, mechanism=weaker)))
    with pytest.raises(RecordError, match=r"job\.json: is not the job that manifest\.json asks for"):
        prepare_resume(copy, allow_overrun=True)


def test_a_job_that_left_the_manifest_is_missed(copy):
    manifest = copy.manifest()
    copy.write_manifest(msgspec.structs.replace(manifest, jobs=manifest.jobs[:-1]))
    with pytest.raises(RecordError, match=r"is of no job in manifest\.json"):
        prepare_resume(copy, allow_overrun=True)


@pytest.mark.parametrize("written", [False, True], ids=["before the manifest", "after the manifest"])
def test_a_resume_that_is_killed_while_planning_can_be_resumed(interrupted, copy, monkeypatch, written):
    write = RunDirectory.write_manifest

    def killed(self, manifest):
        if written:
            write(self, manifest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_resume(copy, allow_overrun=True)
    assert len(list(copy.path.glob(f"jobs/*/{NEXT_JOB}"))) == 3
    prepare_resume(copy, allow_overrun=True)
    assert not list(copy.path.glob(f"jobs/*/{NEXT_JOB}"))
    check_goes_on(interrupted, copy, "")


def test_a_resume_removes_what_a_killed_writer_left_and_an_audit_of_what_the_run_was(interrupted, copy):
    left = [
        copy.path / name for name in (".trustml-half-written.a1b2c3d4", "private/plans/.trustml-half-written.________")
    ]
    audited = [copy.path / name for name in ("audit.json", "audit.html", "model_card.md")]
    for path in (*left, *audited):
        path.write_bytes(b"{")
    prepare_resume(copy, allow_overrun=True)
    assert not any(path.exists() for path in (*left, *audited))
    check_goes_on(interrupted, copy, "")


def test_batches_of_a_larger_rate_are_not_taken_for_those_charged():
    def mechanism(sampling):
        return trustml.plan.job.Mechanism(
            noise_multiplier=1.0, clipping_norm=1.0, sample_rate=0.1, expected_batch_size=30, examples=300,
            sampling=sampling, secret_sampling=True, largest_participation=50, total_steps=50, steps=50,
        )  # fmt: skip

    sizes = np.random.default_rng(0).binomial(300, 0.1, size=(2000, 50))
    for drawn in sizes:
        check_draws(mechanism("poisson"), drawn, examples=300, name="job")
    check_draws(mechanism("fixed"), np.full(50, 30), examples=300, name="job")
    for sampling, wrong in (("poisson", sizes[0] + 8), ("fixed", np.array([30, 31]))):
        with pytest.raises(PrivacyError, match=r"larger than those of rate 0\.1 that it is charged for"):
            check_draws(mechanism(sampling), wrong, examples=300, name="job")


def test_the_command_refuses_in_one_line(copy, capsys):
    (copy.job_folder("train.jax.DPSGD.s0") / "ledger.jsonl").unlink()
    assert _main(["run", "--resume", str(copy.path), "--allow-overrun"]) == 2
    told = capsys.readouterr()
    assert "charges are missing; epsilon cannot be stated, start a new run" in " ".join(told.err.split())
    assert "Traceback" not in told.err
