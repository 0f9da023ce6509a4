"""Data sets that a function of the user's gives. Its code runs in a process of its own, when a run is prepared."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from trustml.data.dataset import Dataset, Examples
from trustml.data.gathering import gathered, require_finite
from trustml.data.module_worker import ANSWER, BY, INPUTS, LABELS, REQUEST, Answer, Request
from trustml.data.preparation import Preparation
from trustml.data.splits import encode_and_split
from trustml.errors import DataError
from trustml.models.tasks import DEFAULT_TASK, Task
from trustml.processes import module_command
from trustml.scenario.sources import Module

_NAMED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, kw_only=True)
class _Given:
    inputs: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    by: npt.NDArray[Any] | None
    code: str


def load_module(source: Module, task: Task = DEFAULT_TASK) -> Dataset:
    """Ask the function for examples, and split them.

    Raises
    ------
    DataError
        If it cannot be found, fails, or gives no examples.
    """
    where = f"data.function {source.function}"
    if not _NAMED.fullmatch(source.function):
        raise DataError(f"data.function: {source.function!r} names no function; write module:function")
    asked = [source.arguments, *([] if source.test_arguments is None else [source.test_arguments])]
    given = [_ask(source, arguments, where) for arguments in asked]
    if len({one.inputs.shape[1:] for one in given}) > 1:
        raise DataError(f"{where}: held-out inputs {given[1].inputs.shape[1:]} differ from {given[0].inputs.shape[1:]}")
    by = [one.by for one in given if one.by is not None]
    if source.split in ("by group", "by time") and len(by) < len(given):
        raise DataError(f"{where}: gives nothing to split by; give it as the third value")
    labels = np.concatenate([one.labels for one in given])
    encoded, rows = encode_and_split(
        labels, source, task, where=where,
        held=len(given[1].labels) if len(given) > 1 else 0,
        by=np.concatenate(by) if source.split in ("by group", "by time") else None,
    )  # fmt: skip
    parts = [one.inputs for one in given]
    for part in parts:
        require_finite(part, where)
    images = parts[0].ndim > 2 and all(part.dtype == np.uint8 for part in parts)
    train, test = (
        Examples(
            inputs=gathered(parts, side, divisor=255.0 if images else 1.0, where=where), labels=encoded.values[side]
        )
        for side in rows
    )
    told = ("inputs are images of bytes: they were scaled to [0, 1] by 1/255",) if images else ()
    found = Dataset(
        train=train, test=test, class_names=encoded.names, task=task,
        preparation=Preparation(scaling="given code", categories="none", classes="of the data", code=given[0].code),
        warnings=(*told, *encoded.warnings),
    )  # fmt: skip
    columns = range(found.input_shape[0]) if len(found.input_shape) == 1 else ()
    return replace(found, feature_names=tuple(f"feature {i}" for i in columns), feature_groups=tuple(columns))


def _ask(source: Module, arguments: dict[str, str | int | float | bool], where: str) -> _Given:
    """Call the function in a process of its own, and map what it gives."""
    if not Path(source.folder).is_dir():
        raise DataError(f"data.folder: {source.folder} is no folder; name the one that holds the module")
    with tempfile.TemporaryDirectory(prefix="trustml-") as name:
        folder = Path(name)
        request = Request(function=source.function, folder=str(Path(source.folder).resolve()), arguments=arguments)
        (folder / REQUEST).write_bytes(msgspec.json.encode(request))
        command = module_command(Path(sys.executable), "trustml.data.module_worker", str(folder))
        done = subprocess.run(command.arguments, pass_fds=command.inherited, check=False, stdout=2)
        if not (folder / ANSWER).is_file():
            raise DataError(f"{where}: its process ended with exit code {done.returncode} and gave nothing; fix it")
        answer = msgspec.json.decode((folder / ANSWER).read_bytes(), type=Answer)
        if answer.problem:
            raise DataError(f"{where}: {answer.problem}; fix it")
        if not 2 <= len(answer.shape) <= 4 or 0 in answer.shape:
            raise DataError(
                f"{where}: gave inputs of shape {answer.shape}; give (n, features), (n, steps, channels) or "
                "(n, height, width, channels), with n and all sides above 0"
            )
        inputs = np.memmap(folder / INPUTS, np.dtype(answer.dtype), "r", shape=answer.shape)  # outlives its name
        return _Given(
            inputs=inputs,
            labels=np.load(folder / LABELS, allow_pickle=False),
            by=_times_or_groups(np.load(folder / BY, allow_pickle=False), source, where) if answer.split_by else None,
            code=answer.code,
        )


def _times_or_groups(by: npt.NDArray[Any], source: Module, where: str) -> npt.NDArray[Any]:
    if source.split != "by time":
        return by
    if by.ndim != 1 or by.dtype.kind not in "biuf":
        raise DataError(f"{where}: gave {by.dtype} to split by, no time; give numbers")
    return by.astype(np.float64)
