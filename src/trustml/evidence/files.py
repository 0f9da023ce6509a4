"""Whether every file is the one that the list, the manifest and the signature name, and can be read without harm."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path

import msgspec

from trustml.data.npy import DAMAGED, ObjectsError, read_header, read_npz_members
from trustml.data.parquet import why_not_a_table
from trustml.errors import RecordError, TrustmlError
from trustml.evidence.bundle import (
    INDEX,
    LEFT_OUT_DATA,
    BundleIndex,
    LeftOut,
    names_of,
    promised_files,
    root_digest,
    signature_in,
)
from trustml.evidence.checks import Check, Outcome, as_written, says_no_more
from trustml.evidence.names import why_not_a_name
from trustml.evidence.signing import SignatureCheck
from trustml.plan.job import ExplainJob, Job, TrainJob, decode_job
from trustml.record.files import UNREADABLE, plain_bytes, sha256
from trustml.record.schema import JobRecord, Manifest, WorkerResult
from trustml.record.store import HELDOUT, MANIFEST, RunDirectory, is_run_name
from trustml.scenario.methods import RandomControl
from trustml.scenario.read import from_plain
from trustml.scenario.spec import Scenario

_MOST_UNPACKED = 4 * 2**30
_MOST_ROWS = 2_000_000


def index_checks(run: RunDirectory, index: BundleIndex, names: list[str]) -> list[Check]:
    """Compare the files of an unpacked bundle with its list."""
    checks: list[Check] = _layout_checks(plain_bytes(run.path / INDEX), index, names)
    listed = {file.name: file for file in index.files}
    for name in sorted(set(names) - listed.keys() - {INDEX, signature_in(names)}):
        checks.append(_check(name, "differs", f"is in the bundle, and not in {INDEX}"))
    for name, file in sorted(listed.items()):
        path = run.path / name
        if name not in names:
            checks.append(_check(name, "differs", f"is in {INDEX}, and not in the bundle"))
        elif path.stat().st_size != file.size or sha256(path) != file.sha256:
            checks.append(_check(name, "differs", f"is not the file of {INDEX}: its SHA-256 differs"))
        else:
            checks.append(_check(name, "ok", f"SHA-256 as in {INDEX}"))
    if len(listed) != len(index.files):
        checks.append(_check(INDEX, "differs", "names a file twice"))
    if root_digest({file.name: file.sha256 for file in index.files}) != index.root:
        checks.append(_check(INDEX, "differs", "its root is not the digest of its list"))
    return checks


def _layout_checks(content: bytes, index: BundleIndex, names: list[str]) -> list[Check]:
    """Hold list and archive against the form in which a bundle has them."""
    problems = []
    if not as_written(content) or not says_no_more(
        msgspec.json.decode(content), msgspec.json.decode(msgspec.json.encode(index))
    ):
        problems.append("is not as trustml writes it: something was edited by hand")
    listed = [file.name for file in index.files]
    if listed != sorted(listed):
        problems.append("does not name its files in their order")
    if names != sorted(names):
        problems.append("the archive does not hold its files in their order")
    if index.left_out not in ((), (LeftOut(name=HELDOUT, sha256=_left_digest(index), reason=LEFT_OUT_DATA),)):
        problems.append(f"says that other files were left out than {HELDOUT}")
    if {HELDOUT} & {one.name for one in index.left_out} & set(names):
        problems.append(f"says that {HELDOUT} was left out, and it was not")
    return [_check(INDEX, "differs", problem) for problem in problems]


def _left_digest(index: BundleIndex) -> str:
    return index.left_out[0].sha256 if index.left_out else ""


def listed_checks(manifest: Manifest, names: list[str], index: BundleIndex) -> list[Check]:
    """Hold the files of a bundle against what `trustml bundle` packs of such a run: none more and none less."""
    try:
        promised = promised_files(manifest)
    except RecordError:
        return []  # told with the manifest
    needed, optional = names_of(manifest, promised)
    present = set(names) - {INDEX, signature_in(names)}
    strange, gone = sorted(present - needed - optional), sorted(needed - present - promised.keys())
    checks = [_check(name, "differs", "is none of the files that a bundle of this run holds") for name in strange]
    checks += [_check(name, "differs", "belongs into the bundle, and is not there") for name in gone]
    checks += [
        _check(one.name, "differs", f"was left out by another SHA-256 in {INDEX} than in the manifest")
        for one in index.left_out
        if promised.get(one.name) != one.sha256
    ]
    return checks


def signed_checks(run: RunDirectory, index: BundleIndex, names: list[str], signature: SignatureCheck) -> list[Check]:
    """Compare the files with what was signed."""
    checks = []
    present = set(names) - {signature_in(names)}
    for name in sorted(present | signature.digests.keys()):
        if name not in present:
            message = "was signed, and is not in the bundle"
        elif name not in signature.digests:
            message = "is in the bundle, and was not signed"
        elif sha256(run.path / name) != signature.digests[name]:
            message = "is not the file that was signed"
        else:
            continue
        checks.append(Check(area="signature", subject=name, outcome="differs", message=message))
    return checks


def manifest_checks(run: RunDirectory, manifest: Manifest, left_out: dict[str, str]) -> list[Check]:
    """Compare every artifact with its hash in the manifest."""
    if not as_written(plain_bytes(run.path / MANIFEST)):
        checks = [_check(MANIFEST, "differs", "is not as trustml writes it: something was edited by hand")]
    else:
        checks = [_check(MANIFEST, "ok", f"as trustml writes it; {len(manifest.jobs)} jobs")]
    if problem := _name_problem(manifest):
        checks.append(_check(MANIFEST, "differs", problem))
    try:
        promised = promised_files(manifest)
    except RecordError as error:
        return [*checks, _check(MANIFEST, "differs", str(error))]
    for name, expected in sorted(promised.items()):
        path = run.path / name
        if path.is_symlink() or not path.resolve().is_relative_to(run.path.resolve()):
            checks.append(_check(name, "differs", "is or lies behind a link"))
        elif path.is_file():
            same = sha256(path) == expected
            message = "SHA-256 as in the manifest" if same else "is not the file of the manifest: its SHA-256 differs"
            checks.append(_check(name, "ok" if same else "differs", message))
        elif name in left_out:
            checks.append(_check(name, "not recomputed", f"left out of the bundle ({left_out[name]})"))
        else:
            checks.append(_check(name, "differs", "is gone"))
    return checks


def job_checks(run: RunDirectory, manifest: Manifest) -> tuple[list[Check], dict[str, Job]]:
    """Compare every job.json and result.json with the manifest; give the jobs that could be read."""
    checks: list[Check] = []
    jobs: dict[str, Job] = {}
    plain = msgspec.json.decode(plain_bytes(run.path / MANIFEST))
    told = {job["id"]: job.get("result") for job in plain.get("jobs", ())}
    for record in manifest.jobs:
        if reason := why_not_a_name(f"jobs/{record.id}/job.json"):
            checks.append(_of_job(record, "differs", f"its identifier {reason}"))
            continue
        folder = run.path / "jobs" / record.id
        try:
            content = plain_bytes(folder / "job.json")
            job = decode_job(content)
        except UNREADABLE as error:
            checks.append(_of_job(record, "differs", f"job.json cannot be read ({error})"))
            continue
        jobs[record.id] = job
        problems = _job_problems(record, job, manifest)
        # Over the bytes and not the job: a later trustml has more fields, and would encode it otherwise.
        if hashlib.sha256(msgspec.json.format(content, indent=-1)).hexdigest() != record.digest:
            problems.append("job.json asks for something else than the manifest's digest says")
        if not as_written(content):
            problems.append("job.json is not as trustml writes it")
        problems += _result_problems(record, folder, told=told.get(record.id))
        if problems:
            checks.append(_of_job(record, "differs", "; ".join(problems)))
        else:
            checks.append(_of_job(record, "ok", "job.json and result.json as in the manifest"))
    return checks, jobs


def unsafe_files(run: RunDirectory, names: list[str]) -> list[Check]:
    """Name the arrays and tables that would take more memory than they may, or hold objects; by their headers."""
    checks = []
    for name in names:
        path = run.path / name
        reason = ""
        if not path.is_file():
            continue
        if name.endswith(".npz"):
            reason = _why_not_arrays(path)
        elif name.endswith(".parquet"):
            reason = _why_not_a_table(path)
        if reason:
            checks.append(_check(name, "differs", f"is not read, nor is anything computed from this run: {reason}"))
    return checks


def _job_problems(record: JobRecord, job: Job, manifest: Manifest) -> list[str]:
    problems = []
    if (job.id, job.backend) != (record.id, record.backend):
        problems.append(f"job.json is of {job.id} in {job.backend}")
    if msgspec.to_builtins(job).get("kind") != record.kind:
        problems.append(f"job.json is no {record.kind} job")
    if isinstance(job, TrainJob):
        if (job.regime.title, job.seed) != (record.regime, record.seed):
            problems.append(f"job.json trains {job.regime.title} with seed {job.seed}")
        if not _in_scenario(job, manifest):
            problems.append("its regime is not that of the scenario in the manifest")
        wanted = {"weights.safetensors", "predictions.npz"} | ({"ledger.jsonl"} if job.mechanism is not None else set())
        if record.status == "ok" and (gone := sorted(wanted - record.artifacts.keys())):
            problems.append(f"the manifest says it is done, and names no {', '.join(gone)}")
    if isinstance(job, ExplainJob):
        if record.status == "ok" and "attributions.npz" not in record.artifacts:
            problems.append("the manifest says it is done, and names no attributions.npz")
        if not _in_scenario(job, manifest):
            problems.append("its methods or probes are not those of the scenario in the manifest")
    return problems


def _in_scenario(job: TrainJob | ExplainJob, manifest: Manifest) -> bool:
    scenario = _scenario_of(manifest)
    if scenario is None or job.model != scenario.model:
        return False
    if isinstance(job, TrainJob):
        return job.regime in scenario.training and job.seed in scenario.seeds
    wanted = scenario.explanations
    methods = [method for method in job.methods if not isinstance(method, RandomControl)]
    asked = (wanted.target, wanted.probes, wanted.timing)
    return (job.target, job.probes, job.timing) == asked and all(method in wanted.methods for method in methods)


def _scenario_of(manifest: Manifest) -> Scenario | None:
    """Read the scenario of a manifest; None where it is none."""
    try:
        return from_plain(msgspec.json.decode(msgspec.json.encode(manifest.scenario)))
    except (TrustmlError, msgspec.MsgspecError, TypeError):
        return None


def _name_problem(manifest: Manifest) -> str:
    """Tell where the run's identifier is not of its scenario, or its times are none; empty where all is well."""
    scenario = _scenario_of(manifest)
    if scenario is None or not is_run_name(manifest.run, scenario.name):
        return "its scenario is not the one that its identifier names"
    try:
        for stamp in (manifest.created, manifest.ended or manifest.created):
            datetime.datetime.fromisoformat(stamp)
    except ValueError:
        return "says it was made or ended at what is no time"
    return ""


def _result_problems(record: JobRecord, folder: Path, *, told: object) -> list[str]:
    """Hold ``result.json`` against the manifest's record, and against what is `told` there as plain JSON."""
    if record.result is None:
        return []
    try:
        content = plain_bytes(folder / "result.json")
        result = msgspec.json.decode(content, type=WorkerResult)
    except FileNotFoundError:
        return ["result.json is gone"]
    except UNREADABLE as error:
        return [f"result.json cannot be read ({error})"]
    if result != record.result or not says_no_more(msgspec.json.decode(content), told):
        return ["result.json is not the result in the manifest"]
    return [] if as_written(content) else ["result.json is not as trustml writes it"]


def _why_not_arrays(path: Path) -> str:
    """Add up what the headers announce, before anything of that size is made."""
    total = 0
    try:
        for _, archive, entry in read_npz_members(path):
            with archive.open(entry) as stream:
                read_header(stream, entry)
            total += entry.file_size
    except ObjectsError as error:
        return str(error)
    except DAMAGED as error:
        return f"not a readable .npz file ({error})"
    return f"{total} bytes are more than {_MOST_UNPACKED}" if total > _MOST_UNPACKED else ""


def _why_not_a_table(path: Path) -> str:
    import pyarrow as pa

    try:
        with path.open("rb") as stream:
            return why_not_a_table(stream, most_rows=_MOST_ROWS, most_bytes=_MOST_UNPACKED)
    except (pa.ArrowException, *DAMAGED) as error:
        return f"not a readable Parquet file ({error})"


def _of_job(record: JobRecord, outcome: Outcome, message: str) -> Check:
    return Check(area="jobs", subject=record.id, outcome=outcome, message=message)


def _check(name: str, outcome: Outcome, message: str) -> Check:
    return Check(area="files", subject=name, outcome=outcome, message=message)
