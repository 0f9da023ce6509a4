"""A file that somebody has, held against the model of a run that it is said to be."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.deployment.export import answers_in, questions_of, record_of, run_in, statement_of
from trustml.deployment.targets import TARGETS, environment_of
from trustml.deployment.trained import training_of
from trustml.errors import UsageError
from trustml.measures.deployed import HeldAgainst, file_rows
from trustml.measures.evidence import Evidence
from trustml.models.deployed_files import refuse_deployed_file
from trustml.record.exports import ExportedStatement, ExportRequest, Layout, content_of, statement_text
from trustml.record.files import UNREADABLE, encode_arrays, read_arrays, write_atomic
from trustml.record.schema import task_of
from trustml.record.store import PRIVATE_DATA, RunDirectory

Labelled: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def hold_against(
    path: Path, run: RunDirectory, model: str, *, tell: Callable[[str], None] = lambda line: None
) -> HeldAgainst:
    """Ask a file what the model was asked that it is said to be: by whoever holds the run, or its bundle unpacked.

    The file is opened in a fresh process of its runtime that has left the network, and nothing is written to the run.

    Parameters
    ----------
    path : Path
        Of a file, or of the folder of a SavedModel.
    run : RunDirectory
    model : str
        Train job.
    tell : callable
        Gets a line before the work.

    Raises
    ------
    UsageError
        If there is no such file or model, the file cannot be opened, or its inputs are of another shape.
    EnvironmentMissingError
        If what opens it is not installed.
    """
    refuse_deployed_file(path)
    target = _target_of(path)
    wanted = TARGETS[target]
    environment = environment_of(wanted)
    manifest = run.manifest()
    record, job, weights = training_of(run, manifest, model)
    expected = statement_of(run, manifest, record, job, wanted, ("", ""))
    request = ExportRequest(
        backend=wanted.backend,
        target=target,
        file=wanted.file,
        architecture=job.model,
        input_shape=job.input_shape,
        task=task_of(manifest),
        statement=statement_text(expected),
    )
    with tempfile.TemporaryDirectory(prefix="trustml-against-") as place:
        folder = Path(place)
        shutil.copyfile(weights, folder / "weights.safetensors")
        _copy(path, folder / wanted.file)
        write_atomic(folder / "request.json", msgspec.json.encode(request))
        write_atomic(folder / "questions.npz", encode_arrays(questions_of(run)))
        write_atomic(folder / "versions.json", b"{}")
        tell(f"asking {path.name} in {wanted.runtime}, beside {model}")
        run_in(folder, "trustml.worker.deployed", environment, offline=True)
        inside = _inside(read_arrays(folder / "answers.npz")["statement"].tobytes())
        if inside is not None:
            expected = msgspec.structs.replace(expected, quantised=inside.quantised, calibration=inside.calibration)
        exported = record_of(request, folder, record, expected)
        answers = answers_in(run, folder, task=request.task)
    return HeldAgainst(
        run=manifest.run,
        model=record.id,
        exported=exported,
        rows=tuple(file_rows(Evidence(run), exported, record, answers)),
        inside=inside,
        expected=expected,
    )


def examples_of(run: RunDirectory, *, layout: Layout) -> tuple[Labelled, Labelled] | None:
    """Training and held-out examples of a run as a file takes them; None where its data are not at hand."""
    if not run.file(PRIVATE_DATA).is_file():
        return None
    found = run.mapped(PRIVATE_DATA, names=["train_inputs", "train_labels", "test_inputs", "test_labels"])
    pairs = []
    for part in ("train", "test"):
        inputs = np.asarray(found[f"{part}_inputs"], np.float32)
        moved = np.moveaxis(inputs, -1, 1) if layout == "channels first" and inputs.ndim == 4 else inputs
        pairs.append((moved, np.asarray(found[f"{part}_labels"])))
    return pairs[0], pairs[1]


def _target_of(path: Path) -> str:
    """Target of a file by the ending of its name; a folder is that of the target which is one."""
    ending = "" if path.is_dir() else path.suffix
    found = [name for name, one in TARGETS.items() if Path(one.file).suffix == ending]
    if len(found) != 1:
        endings = ", ".join(Path(one.file).suffix or "the folder of a SavedModel" for one in TARGETS.values())
        raise UsageError(f"{path}: is no exported model by its name; name one of {endings}")
    return found[0]


def _copy(path: Path, goal: Path) -> None:
    """Copy a file with what lies beside it for it, or a folder; links in it are not followed."""
    if path.is_dir():
        if any(one.is_symlink() for one in path.rglob("*")):
            raise UsageError(f"{path}: holds links; name a folder without")
        shutil.copytree(path, goal)
        return
    for one in content_of(path):
        shutil.copyfile(one, goal.with_name(goal.name + one.name.removeprefix(path.name)))


def _inside(content: bytes) -> ExportedStatement | None:
    """Read the statement that a file carries; a stranger's may be anything."""
    try:
        return msgspec.json.decode(content, type=ExportedStatement)
    except UNREADABLE:
        return None
