"""Export of a trained model: written by its target's own exporter, asked in a fresh process, and put on record."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.compare.rows import renew_rows, write_measures
from trustml.compare.table import read_statements
from trustml.data.dataset import Floats, LabelArray
from trustml.data.near_rows import are_among, tolerances
from trustml.deployment.targets import TARGETS, Target, environment_of
from trustml.deployment.trained import training_of
from trustml.errors import RecordError, TrustmlError, UsageError
from trustml.launch.environments import Environment
from trustml.launch.module_process import run_module
from trustml.models.answers import recorded
from trustml.models.exported import Quantised
from trustml.models.native import native_of
from trustml.models.tasks import Task
from trustml.models.token_layers import Embedding
from trustml.models.token_space import table_of_tokens
from trustml.plan.job import TrainJob
from trustml.record.exports import (
    EXPORTS,
    MEMBERS,
    WRITTEN,
    Calibration,
    ExportedStatement,
    ExportRecord,
    ExportRequest,
    Written,
    content_of,
    digest_of,
    members_answers,
    statement_digest,
    statement_text,
)
from trustml.record.files import encode_arrays, read_arrays, sha256, write_atomic
from trustml.record.schema import FORMAT, JobRecord, Manifest, task_of
from trustml.record.store import HELDOUT, PRIVATE_DATA, RunDirectory
from trustml.scenario.read import from_plain

_TIMEOUT = 900.0
_NOT_TOLD = ("drawn_logits", f"{MEMBERS}_logits")
_ANOTHER_ACCESS = "would be another access to private data, which no epsilon of the run covers"
_MADE = 256
"""Random inputs by whose values is rounded."""


def export_model(
    run: RunDirectory,
    model: str,
    *,
    target: str,
    quantised: Quantised = "",
    calibration: Calibration | Path = "",
    tell: Callable[[str], None] = lambda line: None,
) -> ExportRecord:
    """Export one model of a run, and put beside it how far the file agrees with the model that was audited.

    Parameters
    ----------
    run : RunDirectory
    model : str
        Train job, of whichever framework.
    target : str
        A name of :data:`trustml.deployment.targets.TARGETS`.
    quantised : {"", "dynamic", "int8"}
    calibration : {"", "made", "explained"} or Path
        For ``int8``: random inputs (the default), the held-out examples that the run explains and discloses, or a
        ``.npz`` of public ``inputs``. Never training examples: values that follow from them would be another access
        to private data, which no epsilon of the run covers.
    tell : callable
        Gets a line before the work.

    Returns
    -------
    ExportRecord
        Its files lie in ``exports/`` of the run; the table of measures has its rows.

    Raises
    ------
    UsageError
        If there is no such model or target, or the target has no such form of it.
    EnvironmentMissingError
        If what writes or runs it is not installed.
    """
    wanted = _target(target, quantised)
    calibration = calibration_of(calibration)
    with run.lock():
        manifest = run.manifest()
        record, job, weights = training_of(run, manifest, model)
        if native_of(job.model) is not None:
            raise UsageError(f"{model}: is a network of own code; load its {weights.name} into it, and export that")
        environment = environment_of(wanted)
        rounded = quantised, _kind(quantised, calibration)
        _renew_earlier(run, manifest)
        statement = statement_of(run, manifest, record, job, wanted, rounded)
        request = ExportRequest(
            backend=wanted.backend,
            target=target,
            file=wanted.file,
            architecture=job.model,
            input_shape=job.input_shape,
            task=task_of(manifest),
            quantised=quantised,
            statement=statement_text(statement),
        )
        values = _values(run, job, calibration) if quantised == "int8" else None
        with tempfile.TemporaryDirectory(prefix="trustml-export-") as place:
            folder = Path(place)
            shutil.copyfile(weights, folder / "weights.safetensors")
            tell(f"writing {wanted.title} in {wanted.backend}, then asking it in {wanted.asked_in}")
            asked = questions_of(run) | _members(run, manifest, job)
            _write_and_ask(request, folder, environment, values=values, questions=asked)
            exported = record_of(request, folder, record, statement)
            _keep(run, folder, exported, task=request.task)
        _renew(run)
        return exported


def _renew_earlier(run: RunDirectory, manifest: Manifest) -> None:
    """Measure a run of an earlier format anew, or the statement inside a file would be that of an earlier version."""
    if manifest.format != FORMAT:
        write_measures(run)
        run.remove_audit()


def _renew(run: RunDirectory) -> None:
    """Make all rows on exported files anew."""
    renew_rows(run, family="deployed", files=_files(run))
    renew_rows(run, family="deployed attacks", files={})
    run.remove_audit()


def _write_and_ask(
    request: ExportRequest,
    folder: Path,
    environment: Environment,
    *,
    values: Floats | None,
    questions: dict[str, npt.NDArray[Any]],
) -> None:
    """Write the file in one process, and ask it in another that has never seen anything else."""
    write_atomic(folder / "request.json", msgspec.json.encode(request))
    if values is not None:
        write_atomic(folder / "calibration.npz", encode_arrays({"inputs": values}))
    run_in(folder, "trustml.worker.exporting", environment)
    write_atomic(folder / "questions.npz", encode_arrays(questions))
    run_in(folder, "trustml.worker.deployed", environment)
    _refuse_unrounded(folder, request)


def _refuse_unrounded(folder: Path, request: ExportRequest) -> None:
    """Refuse a file that would say it is rounded, where its exporter rounded nothing of this network."""
    if request.quantised and not bool(read_arrays(folder / "answers.npz")["rounded"]):
        raise UsageError(
            f"{request.target}: its exporter rounded nothing of this network as {request.quantised}, such as weights "
            "that are few; choose another way of rounding, or none"
        )


def calibration_of(text: str | Path) -> Calibration | Path:
    """Read whose values a file is rounded by: a word, or a ``.npz`` file.

    Raises
    ------
    UsageError
        If it is neither.
    """
    known: tuple[Calibration, ...] = ("", "made", "explained")
    if text in known:
        return known[known.index(text)]
    if text in ("train", "training"):
        raise UsageError(
            f"calibrate: training examples {_ANOTHER_ACCESS}; choose made, explained, or a file of public inputs"
        )
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"calibrate: {str(text)!r} is no file, nor one of made and explained; name one of them")
    return path


def _target(name: str, quantised: Quantised) -> Target:
    wanted = TARGETS.get(name)
    if wanted is None:
        raise UsageError(f"{name}: is no target; choose one of {', '.join(TARGETS)}")
    if quantised and quantised not in wanted.quantised:
        ways = ", ".join(wanted.quantised) or "none"
        raise UsageError(f"{name}: cannot be rounded as {quantised}; its ways are: {ways}")
    return wanted


def statement_of(
    run: RunDirectory,
    manifest: Manifest,
    record: JobRecord,
    job: TrainJob,
    wanted: Target,
    rounded: tuple[Quantised, Calibration],
) -> ExportedStatement:
    """Write what travels inside the file of a model."""
    return ExportedStatement(
        run=manifest.run,
        model=record.id,
        weights=record.artifacts["weights.safetensors"],
        task=task_of(manifest),
        input_shape=job.input_shape,
        layout=wanted.layout,
        preparation=manifest.data.preparation,
        class_names=manifest.data.class_names,
        feature_names=manifest.data.feature_names,
        quantised=rounded[0],
        calibration=rounded[1],
        privacy=next((one for one in read_statements(run) if one.model == record.id), None),
    )


def _kind(quantised: Quantised, calibration: Calibration | Path) -> Calibration:
    if quantised != "int8":
        if calibration:
            raise UsageError("calibration: says how values are rounded, and none are; leave it out, or give int8")
        return ""
    return "given" if isinstance(calibration, Path) else calibration or "made"


def _values(run: RunDirectory, job: TrainJob, calibration: Calibration | Path) -> Floats:
    """Inputs by whose values is rounded."""
    if isinstance(calibration, Path):
        given = read_arrays(calibration).get("inputs")
        if given is None or given.shape[1:] != job.input_shape or not len(given) or given.dtype.kind not in "biuf":
            raise UsageError(f"{calibration}: holds no `inputs` of shape (n, {', '.join(map(str, job.input_shape))})")
        inputs: Floats = given.astype(np.float32)
        _refuse_own_examples(run, inputs, calibration)
        return inputs
    if calibration == "explained":
        inputs = run.arrays(HELDOUT)["inputs"].astype(np.float32)
        if not len(inputs):
            raise UsageError("calibration: the run explains no examples; leave it out, or name a file of public inputs")
        return inputs
    drawn = np.random.default_rng(0)
    images = len(job.input_shape) == 3
    table = table_of_tokens(job.model)
    layer = next((one.layer for one in job.model.nodes if one.name == table), None)
    if isinstance(layer, Embedding):
        return drawn.integers(0, layer.vocabulary, size=(_MADE, *job.input_shape)).astype(np.float32)
    made = drawn.uniform(size=(_MADE, *job.input_shape)) if images else drawn.normal(size=(_MADE, *job.input_shape))
    return made.astype(np.float32)


def _refuse_own_examples(run: RunDirectory, given: Floats, path: Path) -> None:
    """Refuse a file, said to be public, of training examples, or of held-out ones that the run does not disclose."""
    if not run.file(PRIVATE_DATA).is_file():
        return
    stored = run.mapped(PRIVATE_DATA, names=["train_inputs", "test_inputs"])
    apart = tolerances(stored["train_inputs"])
    trained = are_among(given, stored["train_inputs"], apart)
    if trained.any():
        raise UsageError(
            f"{path}: {trained.sum()} of its inputs are training examples, which {_ANOTHER_ACCESS}; take them out"
        )
    told = are_among(given, run.arrays(HELDOUT)["inputs"], apart)
    held_out = are_among(given, stored["test_inputs"], apart) & ~told
    if held_out.any():
        raise UsageError(
            f"{path}: {held_out.sum()} of its inputs are held-out examples that the run does not disclose; take them "
            "out, or choose explained"
        )


def questions_of(run: RunDirectory) -> dict[str, npt.NDArray[Any]]:
    """Inputs that file and model are asked: explained ones, and all held-out ones where the data are at hand."""
    found = {}
    inputs = run.arrays(HELDOUT)["inputs"]
    if len(inputs):
        found["explained"] = inputs
    if run.file(PRIVATE_DATA).is_file():
        found["held_out"] = np.asarray(run.mapped(PRIVATE_DATA, names=["test_inputs"])["test_inputs"])
    if not found:
        raise UsageError(
            f"{run.path.name}: has neither explained examples nor its data at hand, and nothing to ask a file; export "
            "where the run was made"
        )
    return found


def _members(run: RunDirectory, manifest: Manifest, job: TrainJob) -> dict[str, npt.NDArray[Any]]:
    """Inputs that a model was trained on, where the scenario wants it attacked and they are at hand."""
    attacks = from_plain(manifest.scenario).attacks.membership
    if attacks is None or not job.scores or not run.file(PRIVATE_DATA).is_file():
        return {}
    return {MEMBERS: np.asarray(run.mapped(PRIVATE_DATA, names=["train_inputs"])["train_inputs"])}


def run_in(
    folder: Path, module: str, environment: Environment, *, offline: bool = False, what: str = "export: its process"
) -> None:
    """Run one of our modules on a folder; its problem is raised, one of the process itself as that of `what`."""
    problem = run_module(module, str(folder), environment=environment, folder=folder, timeout=_TIMEOUT, offline=offline)
    said = folder / "problem.txt"
    if said.is_file():
        raise UsageError(said.read_text(encoding="utf-8", errors="replace"))
    if problem:
        raise TrustmlError(f"{what} {problem}")


def record_of(request: ExportRequest, folder: Path, record: JobRecord, statement: ExportedStatement) -> ExportRecord:
    """Record of the file in a folder, from what it answered there."""
    answers = read_arrays(folder / "answers.npz")
    text = answers["statement"].tobytes().decode(errors="replace")
    files = content_of(folder / request.file)
    written = msgspec.json.decode((folder / WRITTEN).read_bytes(), type=Written)
    how: dict[str, Literal["input gradients", "occlusion"]] = {
        "file.input_gradients": "input gradients",
        "file.occlusion": "occlusion",
    }
    return ExportRecord(
        model=record.id,
        target=request.target,
        backend=request.backend,
        quantised=statement.quantised,
        calibration=statement.calibration,
        file=request.file,
        digest=digest_of(folder / request.file),
        size=sum(path.stat().st_size for path in files),
        statement=statement_digest(text),
        statement_kept=text == request.statement,
        versions=written.versions,
        explained=len(answers.get("file.explained_logits", ())),
        held_out=len(answers.get("file.held_out_logits", ())),
        attributions=next((word for name, word in how.items() if name in answers), ""),
        without_gradient=written.without_gradient,
        first_call=float(answers["first_call"]),
        attacked=f"file.{MEMBERS}_logits" in answers,
    )


def _keep(run: RunDirectory, folder: Path, exported: ExportRecord, *, task: Task) -> None:
    """Move what was exported into the run, in the place of an earlier one."""
    place = run.file(f"{EXPORTS}/{exported.name}")
    if place.is_symlink():
        raise RecordError(f"{place}: is a link; remove it")
    shutil.rmtree(place, ignore_errors=True)
    for path in content_of(folder / exported.file):
        goal = place / path.relative_to(folder)
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, goal)
    members = f"file.{MEMBERS}_logits"
    found = read_arrays(folder / "answers.npz")
    if members in found:
        secret = run.file(members_answers(exported.name))
        secret.parent.mkdir(mode=0o700, exist_ok=True)
        labels = run.mapped(PRIVATE_DATA, names=["train_labels"])["train_labels"]
        write_atomic(secret, encode_arrays({members: recorded(task, found[members], labels)}), private=True)
    write_atomic(place / "answers.npz", encode_arrays(answers_in(run, folder, task=task)))
    write_atomic(place / "export.json", msgspec.json.format(msgspec.json.encode(exported), indent=2) + b"\n")


def answers_in(run: RunDirectory, folder: Path, *, task: Task) -> dict[str, npt.NDArray[Any]]:
    """What file and model answered, as the record keeps it."""
    found = {name: array for name, array in read_arrays(folder / "answers.npz").items() if "." in name}
    # Of drawn inputs there are no labels, and what is answered on training examples is secret.
    found = {name: array for name, array in found.items() if name.partition(".")[2] not in _NOT_TOLD}
    for name, array in found.items():
        if name.endswith("_logits"):  # of next tokens two numbers a step remain, as of the model's own
            found[name] = recorded(task, array, _labels(run, held_out=name.endswith("held_out_logits")))
    return found


def _labels(run: RunDirectory, *, held_out: bool) -> LabelArray:
    """Labels of what a file was asked."""
    arrays = run.arrays(HELDOUT)
    found: LabelArray = arrays["test_labels"] if held_out else arrays["targets"]
    return found


def _files(run: RunDirectory) -> dict[str, str]:
    """Every file of every export, with its SHA-256."""
    found = sorted(path for path in run.file(EXPORTS).rglob("*") if path.is_file())
    return {path.relative_to(run.path).as_posix(): sha256(path) for path in found}
