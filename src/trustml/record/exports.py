"""Exported models of a run: what travels inside such a file, and the record of how it was made and asked.

::

    runs/<id>/exports/<model>.<target>/
      model.<ending>     what was exported, a file or a folder
      export.json        how, and what it was asked in a fresh process of its own runtime
      answers.npz        what it answered, and what the model that was audited answers there
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from trustml.data.preparation import Preparation
from trustml.errors import RecordError
from trustml.models.exported import STATEMENT, Quantised
from trustml.models.layers import Architecture
from trustml.models.tasks import Task
from trustml.privacy.statement import PrivacyStatement
from trustml.record.files import UNREADABLE, plain_bytes, sha256
from trustml.record.store import RunDirectory
from trustml.scenario.spec import BackendName

EXPORTS = "exports"
WRITTEN = "written.json"
MEMBERS = "train"
"""Name of the question about training examples, which the file alone is asked."""
Layout: TypeAlias = Literal["channels last", "channels first"]
Calibration: TypeAlias = Literal["", "made", "given", "explained"]
"""Whose values say how values are rounded: nobody's; random ones; a file that was named; the held-out examples that
the run explains, and so discloses."""


class ExportedStatement(msgspec.Struct, frozen=True, kw_only=True):
    """What travels inside an exported model, as JSON.

    Parameters
    ----------
    format : int
    run, model : str
        Run and train job of the model.
    weights : str
        SHA-256 of the file of its canonical weights.
    task : Task
    input_shape : tuple of int
        Of one example, channels last, as the run has it.
    layout : {"channels last", "channels first"}
        How the exported model takes images.
    preparation : Preparation
        What must be done to inputs first.
    class_names, feature_names : tuple of str
    quantised : {"", "dynamic", "int8"}
    calibration : {"", "made", "given", "explained"}
    privacy : PrivacyStatement, optional
        None of a model that was trained without privacy: no epsilon covers it.
    """

    format: int = 1
    run: str
    model: str
    weights: str
    task: Task
    input_shape: tuple[int, ...]
    layout: Layout
    preparation: Preparation
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    quantised: Quantised = ""
    calibration: Calibration = ""
    privacy: PrivacyStatement | None = None


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the processes of an export are asked; ``request.json`` in their folder, weights and inputs beside it.

    Parameters
    ----------
    backend, target, file : str
        Framework that writes, what it writes, and the name of that in the folder.
    architecture : Architecture
    input_shape : tuple of int
    task : Task
    quantised : {"", "dynamic", "int8"}
    statement : str
    """

    backend: BackendName
    target: str
    file: str
    architecture: Architecture
    input_shape: tuple[int, ...]
    task: Task
    quantised: Quantised = ""
    statement: str


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What the process that writes a file tells of it; ``written.json`` beside it.

    Parameters
    ----------
    versions : dict
        Packages in its environment.
    without_gradient : dict
        As in :class:`ExportRecord`.
    """

    versions: dict[str, str] = {}
    without_gradient: dict[str, str] = {}


class ExportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How a model was exported.

    Parameters
    ----------
    format : int
    model, target, backend : str
        Train job, target, and the framework that wrote the file.
    quantised, calibration : str
        As in :class:`ExportedStatement`.
    file : str
        Name of file or folder beside the record.
    digest : str
        SHA-256 of the file; of a folder, of its files.
    size : int
        Bytes.
    statement : str
        SHA-256 of the statement that was read back out of it; empty where none was found.
    statement_kept : bool
        Whether that is the statement that was put in.
    versions : dict
        Packages that wrote it and that answered, in their environments.
    explained, held_out : int
        Examples it was asked; no held-out ones beyond the explained where ``private/`` was not at hand.
    attributions : {"input gradients", "occlusion", ""}
        How it was explained beside the model; empty where inputs are token ids.
    without_gradient : dict
        Layers, name to kind, for which its exporter had no rule, where the file would carry its own gradient.
    first_call : float
        Seconds from opening the file to the first answer.
    attacked : bool
        Whether it was asked what its model was trained on, too, as the scenario wants models attacked.
    """

    format: int = 1
    model: str
    target: str
    backend: BackendName
    quantised: Quantised = ""
    calibration: Calibration = ""
    file: str
    digest: str
    size: int
    statement: str
    statement_kept: bool
    versions: dict[str, str]
    explained: int
    held_out: int
    attributions: Literal["input gradients", "occlusion", ""]
    without_gradient: dict[str, str] = {}
    first_call: float
    attacked: bool = False

    @property
    def title(self) -> str:
        """Target, and how it was rounded."""
        return f"{self.target} ({self.quantised})" if self.quantised else self.target

    @property
    def name(self) -> str:
        """Name of its folder."""
        return export_name(self.model, self.target, self.quantised)


def export_name(model: str, target: str, quantised: Quantised) -> str:
    """Name of the folder of an export."""
    return ".".join([model, target, *([quantised] if quantised else [])])


def members_answers(name: str) -> str:
    """File of what an exported file answers on training examples, which is secret."""
    return f"private/exports/{name}.npz"


def statement_text(statement: ExportedStatement) -> str:
    """Write a statement as it travels."""
    return msgspec.json.encode(statement, order="deterministic").decode()


def statement_digest(text: str) -> str:
    """SHA-256 of a statement as it travels; of nothing, nothing."""
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def content_of(path: Path) -> list[Path]:
    """Files of what was exported, and the statement that lies beside a file which can hold none."""
    found = [one for one in (path, path.with_name(f"{path.name}.{STATEMENT}")) if one.is_file()]
    return found + sorted(one for one in path.rglob("*") if one.is_file())


def digest_of(path: Path) -> str:
    """SHA-256 of a file; of a folder, of what ``sha256sum`` prints for its files, in the order of their names."""
    if path.is_file():
        return sha256(path)
    files = sorted(one for one in path.rglob("*") if one.is_file())
    lines = "".join(f"{sha256(one)}  {one.relative_to(path).as_posix()}\n" for one in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def read_exports(run: RunDirectory) -> Iterator[ExportRecord]:
    """Records of all exports of a run, by name.

    Raises
    ------
    RecordError
        If one cannot be read.
    """
    for path in sorted(run.file(EXPORTS).glob("*/export.json")):
        try:
            record = msgspec.json.decode(plain_bytes(path), type=ExportRecord)
        except UNREADABLE as error:
            raise RecordError(f"{path}: cannot be read ({error}); export it again") from None
        if record.name != path.parent.name:
            raise RecordError(f"{path}: is the record of {record.name}; export it again")
        yield record
