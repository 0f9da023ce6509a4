"""A file that somebody has, held against the model of a run that it is said to be."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.deployment.export import answers_in, questions_of, record_of, run_in, statement_of
from trustml.deployment.targets import TARGETS, Target, environment_of
from trustml.deployment.trained import training_of
from trustml.errors import UsageError
from trustml.launch.environments import Environment
from trustml.measures.deployed import HeldAgainst, file_rows, relative_gap
from trustml.measures.evidence import Evidence
from trustml.models.deployed_files import ENDINGS, refuse_deployed_file, target_of_file
from trustml.models.layers import Architecture
from trustml.models.token_layers import Embedding
from trustml.models.token_space import table_of_tokens
from trustml.record.exports import (
    WRITTEN,
    ExportedStatement,
    ExportRequest,
    Layout,
    Written,
    content_of,
    statement_text,
)
from trustml.record.files import UNREADABLE, encode_arrays, read_arrays, write_atomic
from trustml.record.schema import task_of
from trustml.record.store import PRIVATE_DATA, RunDirectory

_DRAWN = 512
_GIVEN = "given"
"""Folder of the copy, whose name may be any."""
_MOST_BYTES = 4 << 30
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
    target = _target_of(path)
    refuse_deployed_file(path)
    wanted = TARGETS[target]
    environment = environment_of(wanted)
    manifest = run.manifest()
    record, job, weights = training_of(run, manifest, model)
    expected = statement_of(run, manifest, record, job, wanted, ("", ""))
    request = ExportRequest(
        backend=wanted.backend,
        target=target,
        file=f"{_GIVEN}/{path.resolve().name or wanted.file}",  # of a folder that is named `..`, its own
        architecture=job.model,
        input_shape=job.input_shape,
        task=task_of(manifest),
        statement=statement_text(expected),
    )
    with tempfile.TemporaryDirectory(prefix="trustml-against-") as place:
        folder = Path(place)
        shutil.copyfile(weights, folder / "weights.safetensors")
        _copy(path, folder / request.file)
        write_atomic(folder / "request.json", msgspec.json.encode(request))
        asked = questions_of(run)
        drawn = drawn_inputs(next(iter(asked.values())), job.model)
        write_atomic(folder / "questions.npz", encode_arrays({**asked, "drawn": drawn}))
        write_atomic(folder / WRITTEN, msgspec.json.encode(Written()))
        tell(f"asking {path.resolve().name} in {wanted.asked_in}, beside {model}")
        _ask(path, folder, request, environment)
        found = read_arrays(folder / "answers.npz")
        inside, rounded = read_statement(found["statement"].tobytes()), bool(found["rounded"])
        if inside is not None and is_rounded_as_said(inside, wanted, rounded=rounded):
            expected = msgspec.structs.replace(expected, quantised=inside.quantised, calibration=inside.calibration)
        exported = record_of(request, folder, record, expected)
        answers = answers_in(run, folder, task=request.task)
    return HeldAgainst(
        run=manifest.run,
        model=record.id,
        exported=exported,
        rows=tuple(file_rows(Evidence(run), exported, record, answers)),
        drawn_gap=relative_gap(found["file.drawn_logits"], found["model.drawn_logits"]),
        rounded=rounded,
        inside=inside,
        expected=expected,
    )


def _ask(path: Path, folder: Path, request: ExportRequest, environment: Environment) -> None:
    """Ask the copy of a file; what is wrong is said of the file itself."""
    what = f"{path}: may be damaged, name another; its process in {TARGETS[request.target].asked_in}"
    try:
        run_in(folder, "trustml.worker.deployed", environment, offline=True, what=what)
    except UsageError as error:
        raise UsageError(str(error).replace(str(folder / request.file), str(path))) from None


def is_rounded_as_said(inside: ExportedStatement, wanted: Target, *, rounded: bool) -> bool:
    """Whether a file that says how it is rounded is taken for such: not on its word alone, but by its numbers."""
    return rounded and inside.quantised in wanted.quantised


def drawn_inputs(asked: npt.NDArray[Any], architecture: Architecture) -> npt.NDArray[np.float32]:
    """Inputs that no data have: half of them in the range of those that are asked, half in one five times as wide.

    A file that answers right on all data may answer otherwise elsewhere. Of tokens any are drawn.
    """
    random = np.random.default_rng()  # whoever wrote the file must not know them
    shape = (_DRAWN, *asked.shape[1:])
    table = table_of_tokens(architecture)
    layer = next((one.layer for one in architecture.nodes if one.name == table), None)
    if isinstance(layer, Embedding):
        return random.integers(0, layer.vocabulary, size=shape).astype(np.float32)
    low, high = float(asked.min()), float(asked.max())
    middle, reach = (low + high) / 2, max((high - low) / 2, 1e-3)
    wide = np.where(np.arange(_DRAWN) % 2, 5.0, 1.0).reshape(-1, *[1] * (asked.ndim - 1))
    return (middle + wide * reach * random.uniform(-1, 1, size=shape)).astype(np.float32)


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
    found = target_of_file(path)
    if not found:
        raise UsageError(
            f"{path}: is no exported model by its name; name one of {', '.join(ENDINGS)}, or the folder of a "
            "SavedModel or of TensorFlow.js"
        )
    return found


def _copy(path: Path, goal: Path) -> None:
    """Copy a file with what lies beside it for it, or a folder; plain files alone, and no more than can be meant."""
    whole = path.is_dir()
    parts = [one for one in path.rglob("*") if not stat.S_ISDIR(one.lstat().st_mode)] if whole else content_of(path)
    if path.is_symlink() or any(not stat.S_ISREG(one.lstat().st_mode) for one in parts):
        raise UsageError(f"{path}: is or holds what is no plain file, such as a link; name a file or folder without")
    if sum(one.lstat().st_size for one in parts) > _MOST_BYTES:
        raise UsageError(f"{path}: is larger than {_MOST_BYTES >> 30} GiB; name another")
    goal.parent.mkdir()
    if whole:
        shutil.copytree(path, goal, symlinks=True)
        return
    for one in parts:
        shutil.copyfile(one, goal.with_name(goal.name + one.name.removeprefix(path.name)), follow_symlinks=False)


def read_statement(content: bytes) -> ExportedStatement | None:
    """Read the statement that a file carries; a stranger's may be anything."""
    try:
        return msgspec.json.decode(content, type=ExportedStatement)
    except UNREADABLE:
        return None
